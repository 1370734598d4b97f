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

// LaunchMain is the launch shim, the main function of the verb "launch": it
// becomes the program that args name and returns only if it could not. args are
// what follows the verb.
func LaunchMain(args []string) int {
	flags := flag.NewFlagSet(launchVerb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	reportFD := flags.Int("report", 0, "")
	dir := flags.String("dir", "", "")
	endWithHost := flags.Bool("end-with-host", false, "")
	if err := flags.Parse(args); err != nil || *reportFD < 3 || flags.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "launch: this verb is for the host itself, which starts its worker processes by it")
		return 2
	}
	report := os.NewFile(uintptr(*reportFD), "launch report")
	if _, err := report.Write([]byte{hello}); err != nil {
		return 1 // the host is gone
	}
	var word [1]byte
	if _, err := io.ReadFull(report, word[:]); err != nil || word[0] != goOn {
		return 1 // the host is gone
	}
	if *endWithHost {
		// The host has asked for this when it forked, but the kernel keeps it
		// for each thread, and the one that executes the program decides.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return 1 // cannot be: the kernel refuses nothing but signals that there are not
		}
	}
	f := becomeProgram(flags.Args(), *dir, *reportFD)
	if err := json.NewEncoder(report).Encode(f); err != nil {
		fmt.Fprintf(os.Stderr, "launch: %s %q: %s\n", f.Op, f.Path, f.Reason)
	}
	return 127
}

// becomeProgram executes argv in dir, with the descriptors below firstPrivate.
// It returns only if that failed.
func becomeProgram(argv []string, dir string, firstPrivate int) failure {
	if err := os.Chdir(dir); err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return failure{Op: "enter folder", Path: dir, Reason: errno.Error(), Errno: errno}
	}
	path := argv[0]
	if err := closeOnExecFrom(firstPrivate); err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return failure{Op: "execute", Path: path, Reason: "close descriptors: " + err.Error(), Errno: errno}
	}
	env := os.Environ()
	deadline := time.Now().Add(busyWait)
	for {
		err := syscall.Exec(path, argv, env)
		if errors.Is(err, syscall.ETXTBSY) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond) // the writer is another process: there is nothing to wait on
			continue
		}
		errno, _ := errors.AsType[syscall.Errno](err)
		return failure{Op: "execute", Path: path, Reason: explain(path, errno), Errno: errno}
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
