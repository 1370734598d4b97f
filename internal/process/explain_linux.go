package process

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explain says in words why the kernel did not execute the file at path.
func explain(path string, errno syscall.Errno) string {
	if errno == syscall.EACCES {
		// This process is the program's user already.
		if err := refuses(path, false); err != nil {
			return err.Error()
		}
	}
	info, err := os.Stat(path)
	switch {
	case err != nil && errno == syscall.ENOENT:
		return "no such file"
	case err != nil:
		return errno.Error()
	case info.IsDir():
		return "is a folder, not a program"
	case errno == syscall.ENOENT:
		if interpreter := interpreterOf(path); interpreter != "" {
			return fmt.Sprintf("its interpreter %q does not exist", interpreter)
		}
	case errno == syscall.EACCES && info.Mode()&0o111 == 0:
		return fmt.Sprintf("is not executable (mode %s)", info.Mode())
	case errno == syscall.EACCES && unix.Access(path, unix.X_OK) != nil:
		return fmt.Sprintf("user %d may not execute it (mode %s)", os.Getuid(), info.Mode())
	case errno == syscall.EACCES:
		return "permission denied: by the file or a folder above it, by its interpreter, or by a file system mounted noexec"
	case errno == syscall.ENOEXEC:
		return explainFormat(path)
	case errno == syscall.ETXTBSY:
		return fmt.Sprintf("is still open for writing after %s", busyWait)
	}
	return errno.Error()
}

// explainFolder says in words why the folder at path could not be entered.
func explainFolder(path string, errno syscall.Errno) string {
	if err := refuses(path, false); errno == syscall.EACCES && err != nil {
		return err.Error()
	}
	return errno.Error()
}

// explainFormat says what an executable file is, if it is not a program of
// this machine.
func explainFormat(path string) string {
	file, err := elf.Open(path)
	if err != nil {
		return "is not a program: neither a whole ELF binary nor a script that begins with #!"
	}
	machine := strings.ToLower(strings.TrimPrefix(file.Machine.String(), "EM_"))
	if err := file.Close(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("is a program for another machine (%s; this one is %s) or damaged", machine, runtime.GOARCH)
}

// interpreterOf returns the interpreter that a script or a binary names, or "".
func interpreterOf(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	line, err := bufio.NewReader(io.LimitReader(file, 256)).ReadBytes('\n')
	if err != nil && len(line) == 0 {
		return ""
	}
	if name, ok := bytes.CutPrefix(line, []byte("#!")); ok {
		// A carriage return is not white space to the kernel but part of the
		// name, and the commonest reason why there is no such file.
		name = bytes.Trim(name, " \t\n")
		if end := bytes.IndexAny(name, " \t"); end >= 0 {
			name = name[:end]
		}
		return string(name)
	}
	binary, err := elf.NewFile(file)
	if err != nil {
		return ""
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, min(p.Filesz, 4096))
			if _, err := p.ReadAt(name, 0); err != nil {
				return ""
			}
			return string(bytes.TrimRight(name, "\x00"))
		}
	}
	return ""
}
