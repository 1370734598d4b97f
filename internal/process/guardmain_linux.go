package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"aerie/internal/cgroup"
)

// The guard's descriptors.
const (
	guardLines = 3 // "+" and a guarded process in JSON, and "-pid", one a line
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

// guarded is a process that ends with the host, as the guard is told of it.
type guarded struct {
	Pid     int
	Started uint64        // start time, so that a later process of that number is not taken for it
	Group   *cgroup.Group // nil if it has none
}

func (g guarded) line() (string, error) {
	b, err := json.Marshal(g)
	return "+" + string(b) + "\n", err
}

// readGroups reads until the host's end and returns the processes that it had
// running, by pid.
func readGroups(r io.Reader) (map[int]guarded, error) {
	groups := make(map[int]guarded)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var pid int
		var one guarded
		if text, ok := strings.CutPrefix(lines.Text(), "+"); ok && json.Unmarshal([]byte(text), &one) == nil && one.Pid > 1 {
			groups[one.Pid] = one
		} else if _, err := fmt.Sscanf(lines.Text(), "-%d", &pid); err == nil {
			delete(groups, pid)
		}
	}
	return groups, lines.Err()
}

// endGroups ends the process groups, politely for as long as grace, and then
// whatever is left in their control groups.
func endGroups(groups map[int]guarded, grace time.Duration) error {
	var errs []error
	all := slices.Collect(maps.Values(groups))
	for pid, one := range groups {
		// A group exists as long as it has a member, and so long its number is
		// nobody else's. If there is none left, the number may be a stranger's,
		// who has then started at another time.
		if now, err := startTime(pid); err == nil && now != one.Started {
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
	for _, one := range all {
		if one.Group != nil {
			errs = append(errs, one.Group.Clear(), one.Group.Remove())
		}
	}
	return errors.Join(errs...)
}

// signalGroup signals the group pid, and removes it if there is none any more.
func signalGroup(groups map[int]guarded, pid int, sig syscall.Signal) error {
	err := unix.Kill(-pid, sig)
	if errors.Is(err, unix.ESRCH) {
		delete(groups, pid)
		return nil
	}
	return err
}
