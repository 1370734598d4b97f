package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needed are the capabilities without which a host cannot have processes of
// other users: to become them, to give them their folder of sockets, to reach
// into that, and to end them.
func needed() map[string]int {
	return map[string]int{
		"CAP_SETUID": unix.CAP_SETUID, "CAP_SETGID": unix.CAP_SETGID, "CAP_CHOWN": unix.CAP_CHOWN,
		"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_KILL": unix.CAP_KILL,
	}
}

// MaySwitch says why this process may not start processes as u; nil if it may.
func MaySwitch(u *User) error {
	if u.isOwn() {
		return nil
	}
	effective, err := capabilities()
	if err != nil {
		return err
	}
	var lacks []string
	for name, bit := range needed() {
		if effective&(1<<bit) == 0 {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	slices.Sort(lacks)
	return fmt.Errorf("the host, user %d, may not start processes as another user: run it as root, or give it %s", os.Geteuid(), strings.Join(lacks, ", "))
}

// isOwn says whether u is who this process is already, with no group that it does
// not have.
func (u *User) isOwn() bool {
	if u.UID != os.Geteuid() || u.UID != os.Getuid() || u.GID != os.Getegid() || u.GID != os.Getgid() {
		return false
	}
	own, err := os.Getgroups()
	return err == nil && !slices.ContainsFunc(u.Groups, func(g int) bool { return g != u.GID && !slices.Contains(own, g) })
}

// capabilities are the effective ones of the calling thread.
func capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, os.NewSyscallError("capget", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// HasCPU says whether this process may use the CPU of that number.
func HasCPU(n int) bool {
	var set unix.CPUSet
	return unix.SchedGetaffinity(0, &set) == nil && set.IsSet(n)
}

// HideMemory keeps other processes of the same user from reading this process's
// memory and descriptors, and it from leaving a core file. Programs that it
// starts are as usual.
func HideMemory() error {
	return os.NewSyscallError("prctl PR_SET_DUMPABLE", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// Refuses says which folder on the way to path u may not enter, or that it may not
// execute path, if that is to be a program; nil if nothing refuses. This process must be
// allowed to switch to u. For the time of the call one of its threads is u, so
// it is for short-lived processes.
func (u *User) Refuses(path string, program bool) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is somebody else now, and ends with the goroutine
		if err := u.becomeThread(); err != nil {
			result <- err
			return
		}
		result <- refuses(path, program)
	}()
	return <-result
}

// becomeThread makes the calling thread u, by raw system calls: those of package
// syscall are for all threads.
func (u *User) becomeThread() error {
	gids := make([]uint32, len(u.Groups)+1) // one more, so that there is an address
	for i, g := range u.Groups {
		gids[i] = uint32(g)
	}
	n, uid, gid := uintptr(len(u.Groups)), uintptr(u.UID), uintptr(u.GID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, n, uintptr(unsafe.Pointer(&gids[0])), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return os.NewSyscallError("setresgid", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	return nil
}

// refuses looks for the folder on the way to path that the calling thread's user
// may not enter; if program is set, also for whether it may execute path.
func refuses(path string, program bool) error {
	for i := 1; i <= len(path); i++ {
		whole := i == len(path)
		if !whole && path[i] != '/' {
			continue
		}
		part, what := path[:i], "enter"
		if whole {
			if info, err := os.Stat(part); err != nil || !info.IsDir() {
				what = "execute"
			}
		}
		if whole && what == "execute" && !program {
			return nil
		}
		if err := refused(unix.Access(part, unix.X_OK), what, part); err != nil {
			return err
		}
	}
	return nil
}

func refused(err error, what, path string) error {
	if !errors.Is(err, syscall.EACCES) {
		return nil // what is not there is another matter
	}
	uid, _, _ := unix.RawSyscall(unix.SYS_GETUID, 0, 0, 0) // of the thread
	return fmt.Errorf("user %d may not %s %s", uid, what, path)
}
