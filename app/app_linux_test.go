package app

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"aerie/proto"
)

func TestTakeEnvironment(t *testing.T) {
	names := []string{
		proto.EnvCookie, proto.EnvPool, proto.EnvGeneration, proto.EnvSocketDir, proto.EnvToken,
		proto.EnvSocket, proto.EnvHostAway, proto.EnvLog, proto.EnvAccessLog, "AERIE_OF_THE_FUTURE",
	}
	for _, name := range names {
		t.Setenv(name, "value of "+name)
	}
	t.Setenv("AERI", "kept")
	t.Setenv(proto.EnvPort, "kept")
	env := takeEnvironment()
	for _, name := range names {
		if env[name] != "value of "+name {
			t.Errorf("%s: %q", name, env[name])
		}
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still there: %q", name, v)
		}
	}
	if len(env) != len(names) || os.Getenv("AERI")+os.Getenv(proto.EnvPort) != "keptkept" {
		t.Errorf("took %v", env)
	}
}

// TestPluginEnvironment: what go-plugin reads is there only between set and
// unset.
func TestPluginEnvironment(t *testing.T) {
	t.Setenv("PLUGIN_MIN_PORT", "1")
	t.Setenv(proto.EnvCookie, "") // restored in the end
	env := takePluginEnvironment()
	if _, ok := os.LookupEnv("PLUGIN_MIN_PORT"); ok {
		t.Error("still there")
	}
	if err := env.set(); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PLUGIN_MIN_PORT") != "1" || os.Getenv(proto.EnvCookie) != proto.Handshake.MagicCookieValue {
		t.Error("not set")
	}
	env.unset()
	for _, name := range []string{"PLUGIN_MIN_PORT", proto.EnvCookie} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still there: %q", name, v)
		}
	}
}

// TestAlone: a program without a host serves on PORT, runs its hooks in order,
// and finishes the request in progress when it is told to stop.
func TestAlone(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		port := freePort(t)
		c := run(t, "hooks", "PORT="+port)
		first := dial(t, "tcp", "127.0.0.1:"+port)
		send(t, first, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := answerOf(t, bufio.NewReader(first)); body != first.LocalAddr().String()+"/who" {
			t.Errorf("%q", body)
		}
		conn := dial(t, "tcp", "127.0.0.1:"+port)
		send(t, conn, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
		c.await("start")
		c.await("request")
		c.signal(sig)
		if _, err := first.Read(make([]byte, 1)); err == nil { // the idle connection ends: it is stopping
			t.Error("an idle connection got an answer")
		}
		send(t, conn, "cd")
		if r, body := answerOf(t, bufio.NewReader(conn)); r.StatusCode != 200 || body != "abcd <nil>" {
			t.Errorf("%d %q", r.StatusCode, body)
		}
		if got := c.exits(0); !slices.Equal(got, []string{"end of request", "stop", "end <nil>"}) {
			t.Errorf("%q", got)
		}
	}
}

func TestStartHookEndsTheProgram(t *testing.T) {
	c := run(t, "bad start", "PORT="+freePort(t))
	if got := strings.Join(c.exits(1), "\n"); !strings.HasSuffix(got, "start hook: no database") {
		t.Errorf("%q", got)
	}
}

// TestOutOfProcess: the server on the host's socket answers only the host.
func TestOutOfProcess(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	token := strings.Repeat("t", 43)
	c := run(t, "hooks", proto.EnvSocket+"="+path, proto.EnvToken+"="+token)
	ask := func(target string, fields ...string) (int, string) {
		t.Helper()
		conn := dial(t, "unix", path)
		send(t, conn, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, strings.Join(fields, "")))
		r, body := answerOf(t, bufio.NewReader(conn))
		return r.StatusCode, body
	}
	field := func(value string) string { return proto.RecordHeader + ": " + value + "\r\n" }
	if status, body := ask("/base/who", field(record(token))); status != 200 || body != "192.0.2.1:7/who/base" {
		t.Errorf("%d %q", status, body)
	}
	for name, fields := range map[string][]string{
		"no record":   {},
		"wrong token": {field(record(strings.Repeat("x", 43)))},
		"no token":    {field(record(""))},
		"two records": {field(record(token)), field(record(token))},
		"nonsense":    {field("nonsense")},
	} {
		if status, body := ask("/base/who", fields...); status != 400 || strings.Contains(body, "/who/base") {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	if _, body := ask("/base/env", field(record(token))); strings.Contains(body, "AERIE_") {
		t.Errorf("a child of the application would see %q", body)
	}
	c.signal(syscall.SIGTERM)
	c.await("stop")
	c.exits(0)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestNotByHand: a program that somebody else than a host starts in-process says
// so.
func TestNotByHand(t *testing.T) {
	for _, env := range [][]string{
		{proto.EnvCookie + "=x"},
		{proto.EnvCookie + "=x", proto.EnvGeneration + "=1", proto.EnvHostAway + "=soon"},
		{proto.EnvCookie + "=x", proto.EnvGeneration + "=1", proto.EnvHostAway + "=1m"},
	} {
		c := run(t, "hosted", env...)
		if got := strings.Join(c.exits(1), "\n"); !strings.Contains(got, "AERIE_") && !strings.Contains(got, "token") {
			t.Errorf("%q", got)
		}
	}
}

// TestStopBeforeTheHostSaysAnything: the stop hook runs and the process ends.
func TestStopBeforeTheHostSaysAnything(t *testing.T) {
	c := run(t, "early stop")
	c.await("stop")
	c.exits(0)
}
