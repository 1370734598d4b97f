package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"aerie/config"
	"aerie/internal/h1"
	"aerie/proto"
)

func TestDropUntrusted(t *testing.T) {
	own := []string{"Aerie-Record", "AERIE-X", "Aerie_record", "aerie_user"}
	proxies := []string{"Forwarded", "forwarded", "X-Real-Ip", "X_real_ip", "X-Forwarded-For", "x-forwarded-proto", "X_FORWARDED_HOST", "X-Forwarded_for"}
	others := []string{"Accept", "X-Forwarde", "X-Request-Id", "Aerial", "Aerierecord", "Xforwarded-For", "From", "Host-X"}
	all := slices.Concat(own, proxies, others)
	_, addr := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := json.Marshal(r.Header)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b) // the client says what is missing
	}))
	for _, trusted := range []bool{false, true} {
		h := http.Header{}
		for _, name := range all {
			h.Add(name, "x")
		}
		dropUntrusted(h, trusted)
		want := http.Header{}
		for _, name := range others {
			want.Add(name, "x")
		}
		for _, name := range proxies {
			if trusted {
				want.Add(name, "x")
			}
		}
		if !maps.EqualFunc(h, want, slices.Equal[[]string]) {
			t.Errorf("trusted %v: %v is left, want %v", trusted, h, want)
		}
	}
	c := dial(t, addr) // whatever spelling comes over the wire
	var wire strings.Builder
	for _, name := range slices.Concat(own, proxies) {
		wire.WriteString(name + ": x\r\n")
	}
	send(t, c, "GET / HTTP/1.1\r\nHost: test\r\nAccept: x\r\n"+wire.String()+"\r\n")
	if r := read(t, c, "GET", 200); string(r.Body) != `{"Accept":["x"]}` {
		t.Errorf("left of a client's header: %s", r.Body)
	}
}

// A trusted peer's fields come through; that is decided by the table that is in
// force, for every request.
func TestTrustedPeers(t *testing.T) {
	s := newServer(t, Options{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", OriginOf(r).Trusted)
	})
	table := func(trusted ...netip.Prefix) {
		s.SetTable(NewTable(TableOptions{Default: h, Logger: s.opts.Logger, Trusted: trusted}))
	}
	table()
	c := dial(t, open(t, s))
	ask := func(want string) {
		t.Helper()
		send(t, c, "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
		if r := read(t, c, "GET", 200); string(r.Body) != want {
			t.Errorf("%q, want %q", r.Body, want)
		}
	}
	ask(" false")
	table(netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"))
	ask("1.2.3.4 true")
	table(netip.MustParsePrefix("10.0.0.0/8"))
	ask(" false")
}

const token = "a-token-that-is-long-enough-for-everybody"

// relayTo starts a server that serves requests relayed with token on a unix
// socket, and returns its path.
func relayTo(t *testing.T, h http.HandlerFunc, log *lines) (*Server, string) {
	t.Helper()
	s := newServer(t, Options{Logger: log.logger(), Relayed: func(_ *Conn, h http.Header) (proto.Record, error) { return proto.TakeRecord(h, token) }})
	s.SetTable(OneApplication(s.Bounded(h), s.opts.Logger))
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(l, Source{Relay: true}); err != nil {
		t.Fatal(err)
	}
	return s, path
}

func TestRelayedRequestsNeedTheRecord(t *testing.T) {
	log := &lines{}
	_, path := relayTo(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "served ", r.Header)
	}, log)
	good := (&proto.Record{Token: token, Scheme: "http"}).String()
	bad := (&proto.Record{Token: token[1:], Scheme: "http"}).String()
	const name = proto.RecordHeader + ": "
	for _, test := range []struct {
		name, fields string
		status       int
	}{
		{"right", name + good + "\r\n", 200},
		{"none", "", 400},
		{"other spelling", "Aerie_Record: " + good + "\r\n", 400},
		{"two", name + good + "\r\n" + name + good + "\r\n", 400},
		{"a wrong one too", name + good + "\r\n" + name + bad + "\r\n", 400},
		{"wrong token", name + bad + "\r\n", 400},
		{"empty", name + "\r\n", 400},
		{"cut", name + good[:len(good)-3] + "\r\n", 400},
		{"in a trailer", "Transfer-Encoding: chunked\r\nTrailer: " + proto.RecordHeader + "\r\n", 400},
	} {
		c := dial(t, "unix:"+path)
		body := ""
		if strings.Contains(test.fields, "chunked") {
			body = "0\r\n" + name + good + "\r\n\r\n"
		}
		send(t, c, "POST / HTTP/1.1\r\nHost: test\r\n"+test.fields+"\r\n"+body)
		r := read(t, c, "POST", test.status)
		if r.Close != (test.status != 200) {
			t.Errorf("%s: close announced %v", test.name, r.Close)
		}
		if strings.Contains(string(r.Body), token[1:]) || strings.Contains(log.String(), token[1:]) {
			t.Errorf("%s: the token is in the page or the log", test.name)
		}
		if test.status == 200 && string(r.Body) != "served map[]" {
			t.Errorf("%s: %s", test.name, r.Body)
		}
	}
}

// A server that no record can be shown to serves nobody on a relay connection.
func TestRelayedRequestsToAServerWithoutRecords(t *testing.T) {
	s := newServer(t, Options{})
	s.SetTable(OneApplication(http.HandlerFunc(echo), s.opts.Logger))
	l := listenTCP(t)
	if err := s.Listen(l, Source{Relay: true}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, l.Addr().String())
	send(t, c, get(1))
	read(t, c, "GET", 400)
}

// A relayed request is what it was when the relaying process got it.
func TestRelayedRequestsAreAdopted(t *testing.T) {
	var got *http.Request
	var origin Origin
	_, path := relayTo(t, func(w http.ResponseWriter, r *http.Request) { got, origin = r, OriginOf(r) }, &lines{})
	rec := proto.Record{
		Token: token, Hop: 1, Scheme: "http", Remote: netip.MustParseAddrPort("[2001:db8::1]:5000"),
		Local: netip.MustParseAddrPort("10.0.0.1:80"), Trusted: true, PathBase: "/shop",
	}
	c := dial(t, "unix:"+path)
	ask := func(rec proto.Record) {
		t.Helper()
		send(t, c, "GET /a%2Fb?c HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4\r\n"+proto.RecordHeader+": "+rec.String()+"\r\n\r\n")
		if r := read(t, c, "GET", 200); r.Close {
			t.Error("the connection ends")
		}
	}
	ask(rec)
	if got.RemoteAddr != "[2001:db8::1]:5000" || fmt.Sprint(got.Context().Value(http.LocalAddrContextKey)) != "10.0.0.1:80" || got.RequestURI != "/a%2Fb?c" {
		t.Errorf("remote %s, local %v, URI %s", got.RemoteAddr, got.Context().Value(http.LocalAddrContextKey), got.RequestURI)
	}
	if got.Header.Get("X-Forwarded-For") != "1.2.3.4" {
		t.Errorf("header %v", got.Header)
	}
	want := Origin{Conn: origin.Conn, Local: rec.Local, Remote: rec.Remote, Trusted: true, Relayed: true, Hop: 1, PathBase: "/shop"}
	if origin != want || origin.Conn == nil {
		t.Errorf("origin %+v, want %+v", origin, want)
	}
	ask(proto.Record{Token: token, Scheme: "http"}) // and the next one on the connection is another
	if origin.Trusted || origin.Hop != 0 || origin.Remote.IsValid() || origin.PathBase != "" {
		t.Errorf("origin %+v", origin)
	}
}

// Relay carries a request and its client's facts from one server to another.
func TestRelay(t *testing.T) {
	behind, path := relayTo(t, func(w http.ResponseWriter, r *http.Request) {
		if !OriginOf(r).Relayed || OriginOf(r).Conn.Number() != 0 {
			t.Errorf("origin %+v", OriginOf(r))
		}
		w.Header().Set("X-Remote", r.RemoteAddr)
		echo(w, r)
	}, &lines{})
	up := &h1.Upstream{Dial: dialUnix(path), IdleTimeout: time.Minute}
	defer up.Close()
	_, addr := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Relay(up, w, r, NewRecord(r, token)); err != nil {
			FailExchange(w, r, err)
		}
	}))
	c := dial(t, addr)
	for _, shape := range shapes {
		send(t, c, shape.wire)
		r := read(t, c, shape.method, shape.status)
		if remote := r.Header.Value("X-Remote"); string(r.Body) != shape.body || remote != c.LocalAddr().String() || r.Close {
			t.Errorf("%s: %q of %s, want %q of %s; close announced %v", shape.name, r.Body, remote, shape.body, c.LocalAddr(), r.Close)
		}
	}
	if n := behind.Stats().Connections; n != 0 {
		t.Errorf("%d connections; those of relays do not count", n)
	}
	closeServer(t, behind)
	send(t, c, get(1))
	if r := read(t, c, "GET", 502); !strings.Contains(string(r.Body), "502.3 ") {
		t.Errorf("page %q", r.Body)
	}
}

// Requests for sites of others go to the host once, and only for connections
// that came from there.
func TestForeign(t *testing.T) {
	var got proto.Record
	host := newServer(t, Options{Relayed: func(_ *Conn, h http.Header) (proto.Record, error) {
		var err error
		got, err = proto.TakeRecord(h, token)
		return got, err
	}})
	host.SetTable(OneApplication(http.HandlerFunc(echo), host.opts.Logger))
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Listen(l, Source{Relay: true}); err != nil {
		t.Fatal(err)
	}
	up := &h1.Upstream{Dial: dialUnix(path), IdleTimeout: time.Minute}
	defer up.Close()
	relayed := func(_ *Conn, h http.Header) (proto.Record, error) { return proto.TakeRecord(h, token) }
	for _, test := range []struct {
		name   string
		up     *h1.Upstream
		from   Source
		status int
	}{
		{"handed over", up, Source{Number: 7}, 200},
		{"not handed over", up, Source{}, 421},
		{"no socket of the host", nil, Source{Number: 7}, 421},
		{"relayed already", up, Source{Number: 7, Relay: true}, 421},
	} {
		s := newServer(t, Options{Relayed: relayed})
		s.SetTable(NewTable(TableOptions{Default: Foreign(test.up, token), Logger: s.opts.Logger}))
		l := listenTCP(t)
		if err := s.Listen(l, test.from); err != nil {
			t.Fatal(err)
		}
		c := dial(t, l.Addr().String())
		send(t, c, "GET /id/1 HTTP/1.1\r\nHost: test\r\n"+proto.RecordHeader+": "+(&proto.Record{Token: token, Scheme: "http"}).String()+"\r\n\r\n")
		r := read(t, c, "GET", test.status)
		if r.Close != (test.status == 421) {
			t.Errorf("%s: close announced %v", test.name, r.Close)
		}
		if test.status == 200 && (got.Conn != 7 || got.Hop != 1 || string(r.Body) != "/id/1 ") {
			t.Errorf("%s: record %+v, body %q", test.name, got, r.Body)
		}
	}
}

func TestSettings(t *testing.T) {
	want := &Settings{
		Pool: "shop", Generation: 3, Version: 9, AccessLog: true, HostSocket: "/run/x",
		Sites: []Site{{Name: "s", Paths: []string{"/", "/shop"}, Limits: config.SiteLimits{MaxBody: 5, RateGrace: time.Second},
			Bindings: []config.Binding{{Text: "http://x:80", Host: "x", Port: 80, Listen: config.ListenIP, IP: netip.MustParseAddr("::1")}}}},
		Trusted:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Limits:      Limits{HeaderTimeout: time.Second, MaxHeadBytes: 1 << 14},
		Head:        HeadLimits{MaxHeaderCount: 5},
		Concurrency: Concurrency{MaxConcurrent: 5, StreamAfter: time.Minute},
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeSettings(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	newer := strings.Replace(string(b), `"Pool":`, `"MaxMagic":1,"Pool":`, 1)
	if _, err := DecodeSettings([]byte(newer)); err == nil || !strings.Contains(err.Error(), "MaxMagic") {
		t.Errorf("a setting that is not known: %v", err)
	}
}
