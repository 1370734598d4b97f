package main

import (
	"os"
	"strings"
	"testing"
)

func TestOutput(t *testing.T) {
	o := &output{first: make(chan struct{})}
	write := func(p string) {
		t.Helper()
		if n, err := o.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	write("127.0.0.1:")
	select {
	case <-o.first:
		t.Fatal("half a line is taken for one")
	default:
	}
	if _, err := (errorOutput{o}).Write([]byte("warning\n")); err != nil {
		t.Fatal(err)
	}
	write("8080\nmore\n")
	<-o.first
	write(strings.Repeat("x", 2*tailLength) + "the end\n")
	if got := o.firstLine(); got != "127.0.0.1:8080" {
		t.Errorf("first line %q", got)
	}
	if got := o.tail(); len(got) > tailLength || !strings.HasSuffix(got, "xthe end") {
		t.Errorf("tail of %d bytes: %q", len(got), got)
	}
}

// A program that ends before it serves is an error that shows its last words.
func TestStartFails(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, err = start(t.Context(), t.TempDir(), self, "-no.such.flag")
	if err == nil || !strings.Contains(err.Error(), "it ended: exit status 2") || !strings.Contains(err.Error(), "no.such.flag") {
		t.Errorf("error %v", err)
	}
}

func TestStop(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// It lists the tests, and so has printed a line by the time it ends.
	p, err := start(t.Context(), t.TempDir(), self, "-test.list=TestStop")
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.stop()
	if p.out.firstLine() != "TestStop" {
		t.Errorf("first line %q", p.out.firstLine())
	}
	if err := p.alive(); err == nil {
		t.Error("it is alive after stop")
	}
}
