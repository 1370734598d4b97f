package process

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStart_ExecErrors(t *testing.T) {
	tests := map[string]struct {
		content string
		mode    os.FileMode
		errno   syscall.Errno
		reason  string
	}{
		"not executable":             {"#!/bin/sh\n", 0o644, syscall.EACCES, "is not executable (mode -rw-r--r--)"},
		"not a program":              {"hello\n", 0o755, syscall.ENOEXEC, "is not a program"},
		"empty":                      {"", 0o755, syscall.ENOEXEC, "is not a program"},
		"another machine":            {foreignBinary(t), 0o755, syscall.ENOEXEC, "is a program for another machine (aarch64; this one is " + runtime.GOARCH + ")"},
		"interpreter of a script":    {"#!/nonexistent/node --x\n", 0o755, syscall.ENOENT, `its interpreter "/nonexistent/node" does not exist`},
		"script with Windows' lines": {"#!/bin/sh\r\n", 0o755, syscall.ENOENT, `its interpreter "/bin/sh\r" does not exist`},
		"interpreter of a binary":    {binaryWithLoader("/nonexistent/ld.so"), 0o755, syscall.ENOENT, `its interpreter "/nonexistent/ld.so" does not exist`},
	}
	l := newLauncher(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := l.Start(t.Context(), Spec{Path: path, Dir: "/"})
			wantExecError(t, err, path, tc.errno, tc.reason)
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := l.Start(t.Context(), Spec{Path: "/nonexistent/program", Dir: "/"})
		wantExecError(t, err, "/nonexistent/program", syscall.ENOENT, "no such file")
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v is not ErrNotExist", err)
		}
	})
	t.Run("folder", func(t *testing.T) {
		_, err := l.Start(t.Context(), Spec{Path: "/", Dir: "/"})
		wantExecError(t, err, "/", syscall.EACCES, "is a folder")
	})
	t.Run("working directory", func(t *testing.T) {
		_, err := l.Start(t.Context(), Spec{Path: "/bin/sh", Dir: "/nonexistent"})
		wantExecError(t, err, "/nonexistent", syscall.ENOENT, "no such file or directory")
	})
	if tree, err := Tree(os.Getpid()); err != nil || len(tree) < 1 {
		t.Errorf("tree %v, %v", tree, err)
	}
}

func wantExecError(t *testing.T, err error, path string, errno syscall.Errno, reason string) {
	t.Helper()
	e, ok := errors.AsType[*ExecError](err)
	if !ok {
		t.Fatalf("got %v (%T), want an *ExecError", err, err)
	}
	if e.Path != path || !errors.Is(err, errno) || !strings.HasPrefix(e.Reason, reason) {
		t.Errorf("got %q (%v), want %q of %s (%v)", e.Reason, e.Err, reason, path, errno)
	}
}

func TestStart_WaitsForABusyFile(t *testing.T) {
	path, program := busyProgram(t)
	const busy = 150 * time.Millisecond
	begun := time.Now()
	timer := time.AfterFunc(busy, func() { program.Close() })
	defer timer.Stop()
	p := start(t, Spec{Path: path, Dir: "/", Args: []string{"helper", "exit", "4"}})
	if took := time.Since(begun); took < busy {
		t.Errorf("started after %v, but the file was busy for %v", took, busy)
	}
	await(t, "the exit", p.Done())
	if got := p.Status(); got != "exit status 4" {
		t.Errorf("status %q", got)
	}
}

func TestStart_BusyFileIsRefusedInTheEnd(t *testing.T) {
	path, program := busyProgram(t)
	defer program.Close()
	_, err := newLauncher(t).Start(t.Context(), Spec{Path: path, Dir: "/"})
	wantExecError(t, err, path, syscall.ETXTBSY, "is still open for writing")
}

// busyProgram copies the test binary and keeps the copy open for writing.
func busyProgram(t *testing.T) (string, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return path, to
}

// foreignBinary is a whole ELF header of another machine.
func foreignBinary(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH == "arm64" {
		t.Fatal("the test's other machine is this one")
	}
	return elfFile(elf.EM_AARCH64, "/lib/ld.so")
}

func binaryWithLoader(loader string) string {
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	return elfFile(machine, loader)
}

// elfFile is an ELF binary that has nothing but a loader.
func elfFile(machine elf.Machine, loader string) string {
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	loader += "\x00"
	prog := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 120, Filesz: uint64(len(loader)), Memsz: uint64(len(loader))}
	var b strings.Builder
	for _, part := range []any{header, prog, []byte(loader)} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return b.String()
}
