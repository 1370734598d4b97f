package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"aerie/internal/rawhttp"
)

// chain is a row of servers, each of which hands its connections to the next:
// what a pool that is recycled does, in one process.
type chain struct {
	t       testing.TB
	handler http.Handler

	mu      sync.Mutex // guards below
	current *Server
	number  int
	back    []string // what travelled with connections
}

// newChain returns a chain with its first server. Answers say in X-Generation
// which server gave them.
func newChain(t testing.TB, h http.Handler) *chain {
	c := &chain{t: t, handler: h}
	c.add()
	t.Cleanup(func() { closeServer(t, c.now()) })
	return c
}

func (c *chain) now() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// add puts a new server at the end and returns the one that was there.
func (c *chain) add() (old *Server) {
	s := NewServer(Options{Limits: testLimits, Logger: (&lines{}).logger(), HandBack: c.handBack})
	c.mu.Lock()
	c.number++
	generation := strconv.Itoa(c.number)
	c.mu.Unlock()
	s.SetTable(OneApplication(s.Bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Generation", generation)
		c.handler.ServeHTTP(w, r)
	})), s.opts.Logger))
	c.mu.Lock()
	defer c.mu.Unlock()
	old, c.current = c.current, s
	return old
}

// handBack gives the connection to the server at the end, as a descriptor of
// its own, which is what another process would have.
func (c *chain) handBack(conn *Conn, unread []byte) error {
	f, err := conn.Raw().(*net.TCPConn).File()
	if err != nil {
		return err
	}
	raw, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	c.mu.Lock()
	next := c.current
	c.back = append(c.back, string(unread))
	c.mu.Unlock()
	return next.ServeConn(raw, Source{Number: conn.Number(), Prefix: bytes.Clone(unread), Resumed: true})
}

// recycle adds a server and waits until the one before has nothing left.
func (c *chain) recycle() {
	c.t.Helper()
	c.drained(c.add())
}

func (c *chain) drained(old *Server) {
	c.t.Helper()
	old.Drain()
	c.finished(old)
}

func (c *chain) finished(old *Server) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := old.Wait(ctx); err != nil {
		c.t.Errorf("wait for a drained server: %v", err)
	}
	closeServer(c.t, old)
}

// connect is a client's connection to the server that is there now.
func (c *chain) connect() *rawhttp.Conn {
	c.t.Helper()
	l := listenTCP(c.t)
	client := dial(c.t, l.Addr().String())
	raw, err := l.Accept()
	if err := errors.Join(err, l.Close(), c.now().ServeConn(raw, Source{Number: 7})); err != nil {
		c.t.Fatal(err)
	}
	return client
}

// travelled is what has gone with connections so far.
func (c *chain) travelled() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.back...)
}

// expect reads an answer and compares the server it is from. It must not
// announce the end of the connection.
func expect(t testing.TB, c *rawhttp.Conn, method string, status, generation int) *rawhttp.Response {
	t.Helper()
	r := read(t, c, method, status)
	if got := r.Header.Value("X-Generation"); got != strconv.Itoa(generation) {
		t.Errorf("answer of server %q, want %d", got, generation)
	}
	if r.Close {
		t.Errorf("the answer announces the end of the connection")
	}
	return r
}

// get is a request that echo answers with its id.
func get(id int) string {
	return fmt.Sprintf("GET /id/%d HTTP/1.1\r\nHost: test\r\n\r\n", id)
}

// echo answers with the path and what it has read of the body.
func echo(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/304":
		w.WriteHeader(http.StatusNotModified)
		return
	case "/unread":
		fmt.Fprintf(w, "%s", r.URL.Path)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s", r.URL.Path, body)
}

// shapes are first requests of all kinds, with what echo answers.
var shapes = []struct {
	name, method, wire, body string
	status                   int
}{
	{"get", "GET", get(1), "/id/1 ", 200},
	{"head", "HEAD", "HEAD /id/1 HTTP/1.1\r\nHost: test\r\n\r\n", "", 200},
	{"not modified", "GET", "GET /304 HTTP/1.1\r\nHost: test\r\n\r\n", "", 304},
	{"post", "POST", "POST /id/1 HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde", "/id/1 abcde", 200},
	{"post, body not read", "POST", "POST /unread HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde", "/unread", 200},
	{"chunked", "POST", "POST /id/1 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "/id/1 abcde", 200},
	{"chunked, body not read", "POST", "POST /unread HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", "/unread", 200},
	{"chunked with trailer", "POST", "POST /id/1 HTTP/1.1\r\nHost: test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-Sum: 1\r\n\r\n", "/id/1 abcde", 200},
	{"line feeds after a post", "POST", "POST /id/1 HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\na", "/id/1 a", 200},
}

// Whatever the first request is, and wherever the second one is cut, the answer
// to what had to be served here comes from here, and the rest from the next
// server: one connection, no byte lost. The first request and the first part of
// the second one come in one segment, so net/http has read ahead what it can.
func TestHandBackCarriesWhatWasReadAhead(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			second := get(2)
			for _, cut := range []int{0, 1, 2, 3, 4, 5, 16, len(second) - 1, len(second)} {
				c := newChain(t, http.HandlerFunc(echo))
				client := c.connect()
				send(t, client, shape.wire+second[:cut])
				if r := expect(t, client, shape.method, shape.status, 1); string(r.Body) != shape.body {
					t.Fatalf("cut at %d: body %q, want %q", cut, r.Body, shape.body)
				}
				generation, old := 2, c.add()
				if cut > maxUnread {
					generation = 1
				}
				old.Drain()
				if cut <= maxUnread {
					c.finished(old)
					if got := c.travelled(); len(got) != 1 || got[0] != second[:cut] {
						t.Errorf("cut at %d: %q travelled", cut, got)
					}
				}
				if cut < len(second) {
					send(t, client, second[cut:])
				}
				if r := expect(t, client, "GET", 200, generation); string(r.Body) != "/id/2 " {
					t.Errorf("cut at %d: second answer %q", cut, r.Body)
				}
				if cut > maxUnread {
					c.finished(old)
				}
				send(t, client, get(3))
				if r := expect(t, client, "GET", 200, 2); string(r.Body) != "/id/3 " {
					t.Errorf("cut at %d: third answer %q", cut, r.Body)
				}
			}
		})
	}
}

// A connection on which no request was made yet is handed back too, or a pool
// that is recycled often would collect silent connections that it cannot give
// away. With four bytes and more it is served.
func TestHandBackBeforeTheFirstRequest(t *testing.T) {
	request := get(1)
	for cut := range 6 {
		c := newChain(t, http.HandlerFunc(echo))
		client := c.connect()
		if cut > 0 {
			send(t, client, request[:cut])
			given := func() bool {
				conn := c.now().all()[0]
				conn.mu.Lock()
				defer conn.mu.Unlock()
				return conn.given == cut
			}
			eventually(t, "the bytes are net/http's", given)
		}
		if cut <= maxUnread {
			c.recycle()
			c.recycle() // and what it brought goes on
		} else {
			old := c.add()
			old.Drain()
			defer c.finished(old)
		}
		send(t, client, request[cut:])
		generation := 3
		if cut > maxUnread {
			generation = 1
		}
		if r := expect(t, client, "GET", 200, generation); string(r.Body) != "/id/1 " {
			t.Errorf("cut at %d: answer %q", cut, r.Body)
		}
		if got, want := c.travelled(), []string{request[:cut], request[:cut]}; cut <= maxUnread && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q travelled, want %q", got, want)
		}
	}
}

// A request in progress is answered, without a word of an end, and then the
// connection goes on; the byte that net/http reads in the background meanwhile,
// to notice a client that leaves, goes with it.
func TestHandBackAfterTheRequestInProgress(t *testing.T) {
	for _, ahead := range []string{"", "G", "GE", "GET"} {
		t.Run(strconv.Itoa(len(ahead)), func(t *testing.T) {
			entered, leave := make(chan *Conn), make(chan struct{})
			c := newChain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/id/1" {
					entered <- ConnOf(r.Context())
					<-leave
				}
				echo(w, r)
			}))
			client := c.connect()
			send(t, client, get(1))
			conn := <-entered
			if ahead != "" {
				send(t, client, ahead)
				eventually(t, "the byte is read in the background", func() bool {
					conn.mu.Lock()
					defer conn.mu.Unlock()
					return conn.tail[maxUnread-1] == 'G'
				})
			}
			old := c.add()
			old.Drain()
			close(leave)
			if r := expect(t, client, "GET", 200, 1); string(r.Body) != "/id/1 " {
				t.Errorf("first answer %q", r.Body)
			}
			c.finished(old)
			send(t, client, get(2)[len(ahead):])
			if r := expect(t, client, "GET", 200, 2); string(r.Body) != "/id/2 " {
				t.Errorf("second answer %q", r.Body)
			}
		})
	}
}

func TestHandBackAfterExpectContinue(t *testing.T) {
	for _, path := range []string{"/id/1", "/unread"} {
		c := newChain(t, http.HandlerFunc(echo))
		client := c.connect()
		send(t, client, "POST "+path+" HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		if path == "/unread" { // nobody knows whether the body will come
			if r := read(t, client, "POST", 200); !r.Close {
				t.Errorf("the answer does not announce the end of the connection")
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			c.recycle()
			if got := c.travelled(); len(got) != 0 {
				t.Errorf("%q travelled", got)
			}
			continue
		}
		if r, err := client.ReadInterim(); err != nil || r.Status != 100 {
			t.Fatalf("no 100 Continue: %v %v", r, err)
		}
		send(t, client, "abc")
		if r := expect(t, client, "POST", 200, 1); string(r.Body) != "/id/1 abc" {
			t.Errorf("answer %q", r.Body)
		}
		c.recycle()
		send(t, client, get(2))
		expect(t, client, "GET", 200, 2)
	}
}

// Empty lines behind the body of a POST are no part of the next request, be they
// read ahead, in the kernel, or both.
func TestHandBackSkipsEmptyLines(t *testing.T) {
	const post = "POST /id/1 HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\na"
	for _, cut := range [][3]string{{"", "\r\n", ""}, {"\r", "\n", ""}, {"\r\n", "", ""}, {"\r\n", "", "\r\n"}, {"\r\n", "\r", "\n"}, {"\n", "", ""}} {
		c := newChain(t, http.HandlerFunc(echo))
		client := c.connect()
		send(t, client, post+cut[0])
		expect(t, client, "POST", 200, 1)
		c.recycle()
		if cut[1] != "" {
			send(t, client, cut[1])
		}
		c.recycle()
		send(t, client, cut[2]+get(2))
		if r := expect(t, client, "GET", 200, 3); string(r.Body) != "/id/2 " {
			t.Errorf("%q: answer %q", cut, r.Body)
		}
	}
}

// A connection that cannot be handed back goes on, and ends with its next
// answer, which says so.
func TestHandBackThatFails(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		failed := make(chan struct{})
		s, addr := serve(t, Options{HandBack: func(*Conn, []byte) error {
			close(failed)
			return errors.New("nobody is there")
		}}, http.HandlerFunc(echo))
		client := dial(t, addr)
		if !fresh {
			send(t, client, get(1))
			if r := read(t, client, "GET", 200); r.Close {
				t.Error("an answer before the drain announces the end")
			}
		}
		eventually(t, "the connection is here", func() bool { return s.Stats().Connections == 1 })
		s.Drain()
		await(t, "the hand-back", failed)
		send(t, client, get(2))
		if r := read(t, client, "GET", 200); !r.Close || string(r.Body) != "/id/2 " {
			t.Errorf("fresh %v: close announced %v, body %q", fresh, r.Close, r.Body)
		}
		if err := client.ReadEOF(); err != nil {
			t.Error(err)
		}
		if err := s.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Without HandBack nothing is cut by Drain: the next answer is the last.
func TestDrainWithoutHandBack(t *testing.T) {
	s, addr := serve(t, Options{}, http.HandlerFunc(echo))
	client := dial(t, addr)
	send(t, client, get(1))
	read(t, client, "GET", 200)
	s.Drain()
	if err := client.Idle(20 * time.Millisecond); err != nil {
		t.Fatalf("an idle connection did not stay: %v", err)
	}
	send(t, client, get(2)+get(3))
	if r := read(t, client, "GET", 200); !r.Close || string(r.Body) != "/id/2 " {
		t.Errorf("close announced %v, body %q", r.Close, r.Body)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// An upgraded connection is nobody's but its handler's.
func TestHijackedIsNotHandedBack(t *testing.T) {
	taken := make(chan net.Conn, 1)
	c := newChain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		taken <- conn
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if err := rw.Flush(); err != nil {
			t.Error(err)
		}
	}))
	client := c.connect()
	send(t, client, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	if r, err := client.ReadHead("GET"); err != nil || r.Status != 101 {
		t.Fatalf("%v %v", r, err)
	}
	conn := <-taken
	s := c.add()
	eventually(t, "the handler has returned", s.gate.idle)
	s.Drain()
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(context.Background()) }()
	got := make([]byte, 4)
	send(t, client, "late")
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "late" {
		t.Fatalf("hijacked connection read %q, %v", got, err)
	}
	if _, err := conn.Write(got); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "late" {
		t.Fatalf("client read %q, %v", got, err)
	}
	if n := s.Stats().Connections; n != 1 {
		t.Errorf("%d connections, want the upgraded one", n)
	}
	select {
	case err := <-waited:
		t.Fatalf("Wait did not wait for the upgraded connection: %v", err)
	default:
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	closeServer(t, s)
	if got := c.travelled(); len(got) != 0 {
		t.Errorf("%q travelled", got)
	}
}

// Whatever the heartbeat had decided before, an upgraded connection is read by
// its handler alone.
func TestHijackedIsNotTimedOut(t *testing.T) {
	client, raw := net.Pipe()
	c := &Conn{raw: raw, server: newServer(t, Options{}), phase: phaseHijacked, expired: expiredBody}
	go func() { _, _ = client.Write([]byte("x")) }() // the read below tells
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// Generations that follow each other as fast as they can, under clients that
// see every lost, doubled, mixed or cut answer.
func TestHandBackUnderLoad(t *testing.T) {
	c := newChain(t, http.HandlerFunc(rawhttp.Answer))
	l := listenTCP(t)
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			if err := c.now().ServeConn(raw, Source{}); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	reported := make(chan *rawhttp.Report, 1)
	go func() {
		reported <- rawhttp.Load{Addr: l.Addr().String(), Conns: 8, Pause: time.Millisecond, Idle: 2 * time.Millisecond}.Run(ctx)
	}()
	rounds := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) || rounds < 100; rounds++ {
		c.recycle()
	}
	cancel()
	r := <-reported
	if err := errors.Join(r.Err(), l.Close()); err != nil {
		t.Error(err)
	}
	<-accepted
	t.Logf("%d rounds, %d hand-backs\n%v", rounds, len(c.travelled()), r)
	if r.Requests == 0 || len(c.travelled()) < rounds/10 {
		t.Errorf("%d requests, %d hand-backs in %d rounds: nothing was tested", r.Requests, len(c.travelled()), rounds)
	}
}

// Requests and recycles that race with each other, thousands of times.
func TestHandBackRaces(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cuts := make([]byte, 4+rng.IntN(16))
		for i := range cuts {
			cuts[i] = byte(rng.IntN(50)) | byte(rng.IntN(2)<<7)
		}
		cutAndRecycle(t, seed, cuts)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzHandBack(f *testing.F) {
	f.Add(uint64(1), []byte{40, 1, 1, 1, 200})
	f.Add(uint64(2), []byte{129, 130, 131, 132})
	f.Fuzz(cutAndRecycle)
}

// cutAndRecycle cuts a row of pipelined requests anywhere, recycles at any of
// the cuts, and wants every answer, in order, on one connection.
func cutAndRecycle(t *testing.T, seed uint64, cuts []byte) {
	rng := rand.New(rand.NewPCG(seed, 0))
	var wire strings.Builder
	var kinds []int
	for len(kinds) < 5 {
		k := rng.IntN(len(shapes))
		if len(kinds) > 0 && strings.Contains(shapes[k].wire, "chunked") {
			continue // the connection ends after a chunked request whose head was read ahead
		}
		kinds = append(kinds, k)
		wire.WriteString(shapes[k].wire)
	}
	c := newChain(t, http.HandlerFunc(echo))
	client := c.connect()
	sent := make(chan error, 1)
	go func() { sent <- c.feed(client, wire.String(), cuts) }()
	for i, k := range kinds {
		shape := shapes[k]
		if r := read(t, client, shape.method, shape.status); string(r.Body) != shape.body || r.Close {
			t.Errorf("answer %d: %q, want %q; close announced %v", i, r.Body, shape.body, r.Close)
		}
	}
	if err := errors.Join(<-sent, client.Idle(time.Millisecond), client.Close()); err != nil {
		t.Error(err)
	}
	closeServer(t, c.now())
}

// feed sends wire in pieces of the cuts' lengths; where a cut has its highest
// bit set a recycle begins.
func (c *chain) feed(client *rawhttp.Conn, wire string, cuts []byte) error {
	var draining []*Server
	for _, cut := range cuts[:min(len(cuts), 20)] {
		n := min(int(cut&0x7f), len(wire))
		if err := client.Send([]byte(wire[:n])); err != nil {
			return err
		}
		wire = wire[n:]
		if cut >= 0x80 {
			old := c.add()
			old.Drain()
			draining = append(draining, old)
		}
	}
	if err := client.Send([]byte(wire)); err != nil {
		return err
	}
	for _, old := range draining {
		c.finished(old)
	}
	return nil
}
