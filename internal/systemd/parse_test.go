package systemd

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const pid = 42
	tests := map[string]struct {
		env  string
		want environment
		err  string
	}{
		"nothing":             {"", environment{}, ""},
		"sockets":             {"LISTEN_PID=42 LISTEN_FDS=2 LISTEN_FDNAMES=web:aerie-any-80", environment{names: []string{"web", "aerie-any-80"}}, ""},
		"one without a name":  {"LISTEN_PID=42 LISTEN_FDS=1", environment{names: []string{"unknown"}}, ""},
		"two without names":   {"LISTEN_PID=42 LISTEN_FDS=2", environment{names: []string{"unknown", "unknown"}}, ""},
		"an empty name":       {"LISTEN_PID=42 LISTEN_FDS=2 LISTEN_FDNAMES=a:", environment{names: []string{"a", "unknown"}}, ""},
		"no sockets":          {"LISTEN_PID=42 LISTEN_FDS=0 LISTEN_FDNAMES=", environment{}, ""},
		"somebody else's":     {"LISTEN_PID=41 LISTEN_FDS=1 LISTEN_FDNAMES=web", environment{}, ""},
		"nobody's":            {"LISTEN_FDS=1", environment{}, ""},
		"not a number":        {"LISTEN_PID=42 LISTEN_FDS=x", environment{}, `LISTEN_FDS="x"`},
		"below zero":          {"LISTEN_PID=42 LISTEN_FDS=-1", environment{}, `LISTEN_FDS="-1"`},
		"too few names":       {"LISTEN_PID=42 LISTEN_FDS=3 LISTEN_FDNAMES=a:b", environment{}, "2 names for LISTEN_FDS=3"},
		"path":                {"NOTIFY_SOCKET=/run/systemd/notify", environment{notify: "/run/systemd/notify"}, ""},
		"abstract":            {"NOTIFY_SOCKET=@notify", environment{notify: "@notify"}, ""},
		"neither":             {"NOTIFY_SOCKET=notify", environment{}, `NOTIFY_SOCKET="notify"`},
		"vsock":               {"NOTIFY_SOCKET=vsock:2:1234", environment{}, "NOTIFY_SOCKET="},
		"watchdog":            {"WATCHDOG_USEC=30000000 WATCHDOG_PID=42", environment{watchdog: 30 * time.Second}, ""},
		"everybody's":         {"WATCHDOG_USEC=1000", environment{watchdog: time.Millisecond}, ""},
		"another's watchdog":  {"WATCHDOG_USEC=1000 WATCHDOG_PID=41", environment{}, ""},
		"a watchdog at once":  {"WATCHDOG_USEC=0", environment{}, `WATCHDOG_USEC="0"`},
		"a watchdog too late": {"WATCHDOG_USEC=9223372036854775807", environment{}, "WATCHDOG_USEC="},
	}
	for name, test := range tests {
		env := map[string]string{}
		for kv := range strings.FieldsSeq(test.env) {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		got, err := parse(func(name string) string { return env[name] }, pid)
		if len(got.names) == 0 {
			got.names = nil
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want %q", name, err, test.err)
		}
	}
}

// A host that no service manager started has a Service that does nothing.
func TestNone(t *testing.T) {
	for _, s := range []*Service{nil, {}} {
		if s.Notified() || len(s.Sockets()) > 0 {
			t.Errorf("%+v has something", s)
		}
		for _, err := range []error{s.Notify("READY=1"), s.Reloading(), s.Forget("x")} {
			if err != nil {
				t.Error(err)
			}
		}
		s.Watch(t.Context(), nil, nil)
	}
}
