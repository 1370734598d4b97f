package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// setting is one step of the way from the host's own privileges to those of the
// program. Its name is what the error is called by.
type setting struct {
	name  string
	apply func() error
}

// contain puts c in force for the calling thread, which must be locked to its
// goroutine: it is the thread that executes the program. Everything that needs
// privileges comes before they are given away.
func (c *Contain) contain() *failure {
	for _, s := range c.settings() {
		if err := s.apply(); err != nil {
			errno, _ := errors.AsType[syscall.Errno](err)
			return &failure{Op: "set", Path: s.name, Reason: err.Error(), Errno: errno}
		}
	}
	return nil
}

func (c *Contain) settings() []setting {
	var list []setting
	for _, r := range c.Rlimits {
		list = append(list, setting{r.Name, r.set})
	}
	if len(c.CPUs) > 0 {
		list = append(list, setting{"cpus", c.setCPUs})
	}
	list = append(list, setting{"umask", func() error { unix.Umask(int(c.Umask)); return nil }})
	if c.User != nil && !c.User.isOwn() {
		list = append(list, setting{"user", c.User.giveOutput})
	}
	if c.NoNewPrivs {
		list = append(list, setting{"no_new_privs", func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }})
	}
	if c.DropCapabilities {
		list = append(list, setting{"capabilities", c.dropBounding})
	}
	if c.User != nil && !c.User.isOwn() {
		list = append(list, setting{"groups", c.User.setGroups}, setting{"group", c.User.setGroup}, setting{"user", c.User.setUser})
	}
	if c.DropCapabilities {
		list = append(list, setting{"capabilities", dropRest})
	} else if c.ClearAmbient {
		list = append(list, setting{"capabilities", clearAmbient})
	}
	return list
}

// set puts the limit in force. Package syscall's function is used because it puts
// back the descriptor limit that the process was started with, unless that was
// changed through it.
func (r Rlimit) set() error {
	resource, ok := map[string]int{OpenFiles: unix.RLIMIT_NOFILE, CoreSize: unix.RLIMIT_CORE, LockedMemory: unix.RLIMIT_MEMLOCK}[r.Name]
	if !ok {
		return errors.New("no such limit")
	}
	err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: r.Value, Max: r.Value})
	var own syscall.Rlimit
	if errors.Is(err, syscall.EPERM) && syscall.Getrlimit(resource, &own) == nil {
		return fmt.Errorf("it is more than the host's own limit, %d, which only CAP_SYS_RESOURCE can exceed: %w", own.Max, err)
	}
	return err
}

// setCPUs bounds the calling thread to c.CPUs. The kernel leaves out those that
// are not there, which is an error here.
func (c *Contain) setCPUs() error {
	var want, got unix.CPUSet
	for _, n := range c.CPUs {
		want.Set(n)
		if !want.IsSet(n) {
			return fmt.Errorf("there is no CPU %d", n)
		}
	}
	if err := unix.SchedSetaffinity(0, &want); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: none of them is there
		return err
	}
	if err := unix.SchedGetaffinity(0, &got); err != nil {
		return err
	}
	for _, n := range c.CPUs {
		if !got.IsSet(n) {
			return fmt.Errorf("there is no CPU %d for the host", n)
		}
	}
	return nil
}

// giveOutput makes pipes that are the process's output the user's: programs that
// open /dev/stdout would be refused otherwise.
func (u *User) giveOutput() error {
	for fd := 1; fd <= 2; fd++ {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue
		}
		if err := unix.Fchown(fd, u.UID, u.GID); err != nil {
			return fmt.Errorf("give it its output: %w", err)
		}
	}
	return nil
}

func (u *User) setGroups() error { return switchError(u, syscall.Setgroups(u.Groups)) }
func (u *User) setGroup() error  { return switchError(u, syscall.Setresgid(u.GID, u.GID, u.GID)) }
func (u *User) setUser() error   { return switchError(u, syscall.Setresuid(u.UID, u.UID, u.UID)) }

// switchError says why the host may not become u, if that is the reason.
func switchError(u *User, err error) error {
	if errors.Is(err, syscall.EPERM) {
		if reason := MaySwitch(u); reason != nil {
			return fmt.Errorf("%w: %w", reason, err)
		}
	}
	if err != nil {
		return fmt.Errorf("user %d, group %d: %w", u.UID, u.GID, err)
	}
	return nil
}

// dropBounding empties the bounding set, so that no program that the process
// executes gains a capability. A process that may not do that gains none either
// if no_new_privs is set and it has none to begin with.
func (c *Contain) dropBounding() error {
	for bit := 0; ; bit++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no further one
		}
		if err == nil && in == 1 {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0)
		}
		if errors.Is(err, unix.EPERM) && c.NoNewPrivs {
			return nil
		}
		if err != nil {
			return fmt.Errorf("capability %d: %w", bit, err)
		}
	}
}

// dropRest gives away what the thread still has. A process of user 0 has none
// after execve either, because its bounding set is empty.
func dropRest() error {
	if err := clearAmbient(); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return nil
}

// clearAmbient empties the set that survives execve.
func clearAmbient() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient: %w", err)
	}
	return nil
}

// endWithParent has the kernel kill the process when its parent ends. The kernel
// forgets that when the process becomes another user.
func endWithParent() *failure {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return &failure{Op: "set", Path: "parent-death signal", Reason: err.Error(), Errno: errno}
	}
	return nil
}
