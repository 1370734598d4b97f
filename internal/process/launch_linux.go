package process

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const launchVerb = "launch"

// busyWait bounds the wait for a program whose file is still open for writing:
// between fork and exec any process holds the descriptors of its parent, so a
// file that was just copied can be busy for an instant (golang/go#22315).
const busyWait = time.Second

// order is what the host tells the shim beside the program: JSON over the
// report connection, so that nothing of it shows in the list of processes.
type order struct {
	Dir         string
	EndWithHost bool
	Contain     *Contain
}

// LaunchMain is the launch shim, the main function of the verb "launch": it
// becomes the program that args name and returns only if it could not. args are
// what follows the verb.
func LaunchMain(args []string) int {
	// The parent-death signal, no_new_privs, capabilities and the affinity belong
	// to a thread, and the program gets those of the thread that executes it.
	runtime.LockOSThread()
	flags := flag.NewFlagSet(launchVerb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	reportFD := flags.Int("report", 0, "")
	if err := flags.Parse(args); err != nil || *reportFD < 3 || flags.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "launch: this verb is for the host itself, which starts its worker processes by it")
		return 2
	}
	report := os.NewFile(uintptr(*reportFD), "launch report")
	if _, err := report.Write([]byte{hello}); err != nil {
		return 1 // the host is gone
	}
	var o order
	if err := json.NewDecoder(report).Decode(&o); err != nil {
		return 1 // the host is gone
	}
	f := becomeProgram(flags.Args(), o, *reportFD)
	if f == nil {
		return 1 // the host is gone
	}
	if err := json.NewEncoder(report).Encode(f); err != nil {
		fmt.Fprintf(os.Stderr, "launch: %s %q: %s\n", f.Op, f.Path, f.Reason)
	}
	return 127
}

// becomeProgram executes argv as o says, with the descriptors below report. It
// returns only if that failed, nil if the host is gone.
func becomeProgram(argv []string, o order, report int) *failure {
	if o.Contain != nil {
		if f := o.Contain.contain(); f != nil {
			return f
		}
	}
	if o.EndWithHost {
		if f := endWithParent(); f != nil {
			return f
		}
		var b [1]byte
		if n, _, err := unix.Recvfrom(report, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err == nil && n == 0 {
			return nil // it has ended before the signal was asked for
		}
	}
	if err := os.Chdir(o.Dir); err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return &failure{Op: "enter folder", Path: o.Dir, Reason: explainFolder(o.Dir, errno), Errno: errno}
	}
	if err := closeOnExecFrom(report); err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return &failure{Op: "execute", Path: argv[0], Reason: "close descriptors: " + err.Error(), Errno: errno}
	}
	return execute(argv)
}

// execute replaces this process by the program argv[0]. It returns only if that
// failed.
func execute(argv []string) *failure {
	path, env := argv[0], os.Environ()
	deadline := time.Now().Add(busyWait)
	for {
		err := syscall.Exec(path, argv, env)
		if errors.Is(err, syscall.ETXTBSY) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond) // the writer is another process: there is nothing to wait on
			continue
		}
		errno, _ := errors.AsType[syscall.Errno](err)
		return &failure{Op: "execute", Path: path, Reason: explain(path, errno), Errno: errno}
	}
}

// closeOnExecFrom marks all descriptors from first on, so that the program does
// not get what the host itself was started with.
func closeOnExecFrom(first int) error {
	err := unix.CloseRange(uint(first), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) { // before Linux 5.9, 5.11
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for fd := first; uint64(fd) < limit.Cur; fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}
