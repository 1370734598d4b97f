package process

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The guard's descriptors.
const (
	guardLines = 3 // "+pid starttime" and "-pid", one a line
	guardReady = 4 // the guard says here that it is up
)

// guardPoll is how often the guard looks for what is left of a dead host's
// process groups: they are not its children, so nothing tells it.
const guardPoll = 20 * time.Millisecond

// GuardMain is the guard, the main function of the verb "guard": it waits for
// the end of the host that started it, and then ends the process groups that
// the host had registered and not taken back. args are what follows the verb.
func GuardMain(args []string) int {
	flags := flag.NewFlagSet(guardVerb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	grace := flags.Duration("grace", DefaultGrace, "")
	if err := flags.Parse(args); err != nil {
		fmt.Fprintln(os.Stderr, "guard: this verb is for the host itself")
		return 2
	}
	// Only the host's end is a reason to end.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ready := os.NewFile(guardReady, "ready")
	if _, err := ready.Write([]byte{hello}); err != nil {
		return 1 // the host is gone, or did not start this
	}
	if err := ready.Close(); err != nil {
		return 1
	}
	groups, err := readGroups(os.NewFile(guardLines, "lines"))
	endErr := endGroups(groups, *grace)
	if err := errors.Join(err, endErr); err != nil {
		return 1 // nobody is left who could read more
	}
	return 0
}

// readGroups reads until the host's end and returns the groups that it had
// running: the leader's pid and start time.
func readGroups(r io.Reader) (map[int]uint64, error) {
	groups := make(map[int]uint64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var pid int
		var started uint64
		if _, err := fmt.Sscanf(lines.Text(), "+%d %d", &pid, &started); err == nil && pid > 1 {
			groups[pid] = started
		} else if _, err := fmt.Sscanf(lines.Text(), "-%d", &pid); err == nil {
			delete(groups, pid)
		}
	}
	return groups, lines.Err()
}

// endGroups ends the groups, politely for as long as grace.
func endGroups(groups map[int]uint64, grace time.Duration) error {
	var errs []error
	for pid, started := range groups {
		// A group exists as long as it has a member, and so long its number is
		// nobody else's. If there is none left, the number may be a stranger's,
		// who has then started at another time.
		if now, err := startTime(pid); err == nil && now != started {
			delete(groups, pid)
			continue
		}
		errs = append(errs, signalGroup(groups, pid, unix.SIGTERM))
	}
	deadline := time.Now().Add(grace)
	for len(groups) > 0 && time.Now().Before(deadline) {
		time.Sleep(guardPoll)
		for pid := range groups {
			errs = append(errs, signalGroup(groups, pid, 0))
		}
	}
	for pid := range groups {
		errs = append(errs, signalGroup(groups, pid, unix.SIGKILL))
	}
	return errors.Join(errs...)
}

// signalGroup signals the group pid, and removes it if there is none any more.
func signalGroup(groups map[int]uint64, pid int, sig syscall.Signal) error {
	err := unix.Kill(-pid, sig)
	if errors.Is(err, unix.ESRCH) {
		delete(groups, pid)
		return nil
	}
	return err
}
