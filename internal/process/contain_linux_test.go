package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"aerie/internal/cgroup"
)

// nobody is a user that every system has.
const nobody = 65534

// needRoot skips a test that only root can run, but not under CI, which is root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("under CI the tests run as root")
	}
	usedMu.Lock()
	used["switch"] = true
	usedMu.Unlock()
	t.Skip("only root can start processes as somebody else")
}

// openDir is a folder that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "aerie")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openSpec is helperSpec with a program that everybody may execute.
func openSpec(t *testing.T, name string, args ...string) Spec {
	t.Helper()
	spec := helperSpec(t, name, args...)
	b, err := os.ReadFile(spec.Path)
	if err != nil {
		t.Fatal(err)
	}
	spec.Dir = openDir(t)
	spec.Path = filepath.Join(spec.Dir, "program")
	if err := os.WriteFile(spec.Path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return spec
}

// statusOf is what the kernel says of a process: the fields of /proc/PID/status.
func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func expectStatus(t *testing.T, pid int, want map[string]string) {
	t.Helper()
	got := statusOf(t, pid)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
}

const noCapabilities = "0000000000000000"

func TestContain(t *testing.T) {
	needRoot(t)
	none := map[string]string{"CapInh": noCapabilities, "CapPrm": noCapabilities, "CapEff": noCapabilities, "CapBnd": noCapabilities, "CapAmb": noCapabilities}
	own := statusOf(t, os.Getpid())
	for name, c := range map[string]struct {
		contain *Contain
		want    map[string]string
		caps    bool // none are left
	}{
		"another user": {
			&Contain{User: &User{UID: nobody, GID: 33, Groups: []int{7, 42}}, Umask: 0o027, NoNewPrivs: true, DropCapabilities: true},
			map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "33 33 33 33", "Groups": "7 42", "Umask": "0027", "NoNewPrivs": "1"}, true,
		},
		"another user, no groups": {
			&Contain{User: &User{UID: nobody, GID: nobody}, Umask: 0o077},
			map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "", "Umask": "0077", "NoNewPrivs": "0",
				"CapEff": noCapabilities, "CapPrm": noCapabilities, "CapBnd": own["CapBnd"]}, false,
		},
		"root without capabilities": {
			&Contain{Umask: 0o022, DropCapabilities: true},
			map[string]string{"Uid": "0 0 0 0", "Umask": "0022", "NoNewPrivs": "0"}, true,
		},
		"one CPU": {
			&Contain{Umask: 0o022, CPUs: []int{0}}, map[string]string{"Cpus_allowed_list": "0"}, false,
		},
		"as the host": {
			&Contain{Umask: 0o002},
			map[string]string{"Uid": own["Uid"], "Gid": own["Gid"], "Groups": own["Groups"], "Umask": "0002", "CapEff": own["CapEff"], "CapBnd": own["CapBnd"]}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := pipe(t)
			spec := openSpec(t, "block", "plain", "contained")
			spec.Stdout, spec.Contain = w, c.contain
			p := start(t, spec)
			readLine(t, r)
			expectStatus(t, p.Pid(), c.want)
			if c.caps {
				expectStatus(t, p.Pid(), none)
			}
		})
	}
}

func TestRlimits(t *testing.T) {
	needRoot(t)
	r, w := pipe(t)
	spec := openSpec(t, "block", "plain", "limited")
	spec.Stdout = w
	spec.Contain = &Contain{User: &User{UID: nobody, GID: nobody}, Rlimits: []Rlimit{{OpenFiles, 99}, {CoreSize, 0}, {LockedMemory, 4096}}}
	p := start(t, spec)
	readLine(t, r)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	limits := strings.Join(strings.Fields(string(b)), " ")
	for _, want := range []string{"Max open files 99 99 files", "Max core file size 0 0 bytes", "Max locked memory 4096 4096 bytes"} {
		if !strings.Contains(limits, want) {
			t.Errorf("the limits are not %q:\n%s", want, b)
		}
	}
}

// TestGroupFails: a process whose control group cannot be made, or entered, is not
// started.
func TestGroupFails(t *testing.T) {
	l := newLauncher(t)
	spec := helperSpec(t, "exit", "0")
	cause := errors.New("no group")
	spec.Contain = &Contain{Umask: 0o022, NewGroup: func() (*cgroup.Group, error) { return nil, cause }}
	if _, err := l.Start(t.Context(), spec); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	spec.Contain.NewGroup = func() (*cgroup.Group, error) {
		return &cgroup.Group{Dirs: map[string]string{"freezer": filepath.Join(t.TempDir(), "absent")}}, nil
	}
	if _, err := l.Start(t.Context(), spec); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "put process into its control group") {
		t.Errorf("got %v", err)
	}
}

// TestContainedEndsWithHost: the kernel forgets the parent-death signal of a
// process that becomes another user, so the shim has to ask for it afterwards.
func TestContainedEndsWithHost(t *testing.T) {
	needRoot(t)
	l := newLauncher(t)
	spec := openSpec(t, "block", "stubborn", "contained")
	r, w := pipe(t)
	spec.Stdout, spec.EndWithHost, spec.Contain = w, true, &Contain{User: &User{UID: nobody, GID: nobody}}
	p, err := l.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	readLine(t, r)
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/mem", p.Pid()), &st); err != nil || st.Uid != nobody {
		t.Errorf("/proc/PID/mem is user %d's, %v: the process is not an ordinary one of its user", st.Uid, err)
	}
	// The thread that forked is the parent to the kernel.
	l.system.forker.close()
	await(t, "the kernel to kill the process", p.Done())
	if got := p.Status(); got != "signal: killed" {
		t.Errorf("it ended with %q", got)
	}
	l.system.forker = forker{}
}

// TestOutputIsTheUsers: a program may open /dev/stdout although the pipe behind
// it was made by root.
func TestOutputIsTheUsers(t *testing.T) {
	needRoot(t)
	r, w := pipe(t)
	spec := openSpec(t, "exit", "0")
	spec.Path, spec.Args = "/bin/sh", []string{"-c", "echo written >/dev/stdout; echo noted >/dev/stderr"}
	spec.Stdout, spec.Stderr, spec.Contain = w, w, &Contain{User: &User{UID: nobody, GID: nobody}, DropCapabilities: true}
	start(t, spec)
	w.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "written\nnoted\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestContainErrors(t *testing.T) {
	needRoot(t)
	stranger := &Contain{User: &User{UID: nobody, GID: nobody}}
	closed := filepath.Join(openDir(t), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(closed, "sub", "program")
	if err := os.WriteFile(inside, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(openDir(t), "program")
	if err := os.WriteFile(private, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, dir string
		want      string
		err       error
	}{
		"closed folder above the program": {inside, "/", fmt.Sprintf("execute %q: user 65534 may not enter %s", inside, closed), syscall.EACCES},
		"closed program":                  {private, "/", fmt.Sprintf("execute %q: user 65534 may not execute it (mode -rwx------)", private), syscall.EACCES},
		"CPU":                             {"", "", `set "cpus": there is no CPU 1000`, nil},
		"open files":                      {"", "", `set "open_files": `, syscall.EPERM},
		"closed working directory":        {"/bin/sh", filepath.Join(closed, "sub"), fmt.Sprintf("enter folder %q: user 65534 may not enter %s", filepath.Join(closed, "sub"), closed), syscall.EACCES},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Path: c.path, Dir: c.dir, Contain: stranger}
			switch name {
			case "CPU":
				spec = Spec{Path: "/bin/sh", Dir: "/", Contain: &Contain{CPUs: []int{0, 1000}}}
			case "open files":
				spec = Spec{Path: "/bin/sh", Dir: "/", Contain: &Contain{Rlimits: []Rlimit{{OpenFiles, 1 << 40}}}}
			}
			_, err := newLauncher(t).Start(t.Context(), spec)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestMaySwitch: a process that is not root is told what it lacks, by MaySwitch
// and, by name of the setting, when it tries.
func TestMaySwitch(t *testing.T) {
	needRoot(t)
	if err := MaySwitch(&User{UID: nobody, GID: nobody}); err != nil {
		t.Errorf("root: %v", err)
	}
	r, w := pipe(t)
	spec := openSpec(t, "switch")
	spec.Stdout, spec.Contain = w, &Contain{User: &User{UID: nobody, GID: nobody}}
	start(t, spec)
	const lacks = "the host, user 65534, may not start processes as another user: run it as root, or give it CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID"
	for _, want := range []string{lacks, lacks, `set "groups": ` + lacks + ": operation not permitted", "<nil>", "started"} {
		if got := readLine(t, r); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// helperSwitch is a host of user nobody. It says whether it may switch to
// another user, what happens if it tries, and the same for its own user.
func helperSwitch([]string) {
	l := &Launcher{}
	other, own := &User{UID: 33, GID: 33}, &User{UID: nobody, GID: nobody}
	fmt.Println(MaySwitch(other))
	fmt.Println(MaySwitch(&User{UID: nobody, GID: nobody, Groups: []int{33}})) // a group that it does not have
	exe, _ := os.Executable()
	spec := Spec{Path: exe, Args: []string{"helper", "exit", "0"}, Env: os.Environ(), Dir: "/", Contain: &Contain{User: other}}
	_, err := l.Start(context.Background(), spec)
	fmt.Println(err)
	fmt.Println(MaySwitch(own))
	spec.Contain.User, spec.Contain.DropCapabilities, spec.Contain.NoNewPrivs = own, true, true
	if _, err := l.Start(context.Background(), spec); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("started")
}

func TestRefuses(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	closed := filepath.Join(dir, "closed")
	for name, mode := range map[string]os.FileMode{"program": 0o755, "private": 0o700, "closed/x/program": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(closed, 0o750); err != nil {
		t.Fatal(err)
	}
	u := &User{UID: nobody, GID: 33, Groups: []int{42}}
	for name, want := range map[string]string{
		"program":          "<nil>",
		"private":          "user 65534 may not execute " + filepath.Join(dir, "private"),
		"closed/x/program": "user 65534 may not enter " + closed,
		"absent":           "<nil>",
	} {
		if got := fmt.Sprint(u.Refuses(filepath.Join(dir, name), true)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if err := u.Refuses(closed, false); err == nil {
		t.Error("a closed folder may be entered")
	}
	if err := os.Chown(closed, 0, 42); err != nil {
		t.Fatal(err)
	}
	if err := u.Refuses(filepath.Join(closed, "x", "program"), true); err != nil {
		t.Errorf("a folder of a group of the user: %v", err)
	}
	if unix.Geteuid() != 0 {
		t.Error("the process has become somebody else")
	}
}

func TestHideMemory(t *testing.T) {
	was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(was), 0, 0, 0)
	if err := HideMemory(); err != nil {
		t.Fatal(err)
	}
	if got, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || got != 0 {
		t.Errorf("dumpable is %d, %v", got, err)
	}
	r, w := pipe(t)
	spec := helperSpec(t, "dumpable")
	spec.Stdout = w
	start(t, spec)
	if got := readLine(t, r); got != "1" {
		t.Errorf("a child's is %s, want 1", got)
	}
}

// helperDumpable prints whether the process is dumpable.
func helperDumpable([]string) {
	n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(n)
}
