package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"
)

// askLimit is how long KillWarning waits for systemctl.
const askLimit = 2 * time.Second

// KillWarning says, if this process is the main or a control process of a systemd
// unit, what is wrong with a KillMode= that ends all processes of the unit with the
// main one. It returns "" if nothing is wrong or if it cannot be known. It asks
// systemctl, for 2 seconds at most.
func KillWarning(ctx context.Context) string {
	// A shell in somebody else's unit inherits INVOCATION_ID. Only a process that
	// systemd itself has started finds its own number in the other one.
	if os.Getenv("INVOCATION_ID") == "" || os.Getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(os.Getpid()) {
		return ""
	}
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "" // not to be known
	}
	unit, user := unitOf(string(cgroup))
	if unit == "" {
		return ""
	}
	return killWarning(unit, killMode(ctx, unit, user))
}

func killWarning(unit, mode string) string {
	if mode != "control-group" && mode != "mixed" {
		return ""
	}
	return fmt.Sprintf("%s has KillMode=%s: when the host ends or is killed, systemd ends all apps with it; set KillMode=process", unit, mode)
}

// killMode asks for a unit's KillMode=, "" if there is no answer.
func killMode(ctx context.Context, unit string, user bool) string {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	args := []string{"show", "--property=KillMode", "--value", "--", unit}
	if user {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.WaitDelay = askLimit
	out, err := cmd.Output()
	if err != nil {
		return "" // not to be known
	}
	return strings.TrimSpace(string(out))
}

// unitOf finds the service in /proc/PID/cgroup, and whether it is one of a user's
// service manager. A process may have moved to a group below that of its unit.
func unitOf(cgroup string) (unit string, user bool) {
	for line := range strings.Lines(cgroup) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		if controllers != "" && controllers != "name=systemd" {
			continue
		}
		managed := false
		for ; len(group) > 1; group = path.Dir(group) {
			switch name := path.Base(group); {
			case strings.HasSuffix(name, ".scope") && unit == "":
				return "", false // a login or a container: no unit started this process
			case strings.HasPrefix(name, "user@") && unit != "":
				managed = true
			case strings.HasSuffix(name, ".service") && unit == "":
				unit = name
			}
		}
		if unit != "" {
			return unit, managed
		}
	}
	return "", false
}
