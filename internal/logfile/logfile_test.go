package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func openFile(t *testing.T, limits Limits) *File {
	t.Helper()
	f, err := Open(filepath.Join(t.TempDir(), "app.log"), limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, f *File, line string) {
	t.Helper()
	if n, err := f.Write([]byte(line)); n != len(line) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", line, n, err)
	}
}

func TestFile_RotatesBeforeItGrowsPastItsSize(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 10, MaxFiles: 2})
	for i := range 5 {
		write(t, f, fmt.Sprintf("line-%d\n", i)) // 7 bytes: one to a file
	}
	for name, want := range map[string]string{"": "line-4\n", ".1": "line-3\n", ".2": "line-2\n"} {
		if got := content(t, f.Path()+name); got != want {
			t.Errorf("app.log%s = %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(f.Path() + ".3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("app.log.3: %v, want it not to exist", err)
	}
}

func TestFile_AppendsToWhatIsThere(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 100, MaxFiles: 1})
	write(t, f, "one\n")
	again, err := Open(f.Path(), Limits{MaxSize: 100, MaxFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	write(t, again, "two\n")
	if got, want := content(t, f.Path()), "one\ntwo\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFile_LineLargerThanMaxSizeIsWritten(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 4, MaxFiles: 1})
	write(t, f, "longer than four\n")
	if got, want := content(t, f.Path()), "longer than four\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFile_KeepsNoneWithoutMaxFiles(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 4})
	write(t, f, "one\n")
	write(t, f, "two\n")
	if got, want := content(t, f.Path()), "two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	entries, err := os.ReadDir(filepath.Dir(f.Path()))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder has %v (%v), want the one file", entries, err)
	}
}

func TestFile_RotateIfLargeSeesWhatOthersWrote(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 8, MaxFiles: 1})
	passed := f.File()
	if _, rotated, err := f.RotateIfLarge(); rotated || err != nil {
		t.Fatalf("empty file: rotated %v, %v", rotated, err)
	}
	if _, err := passed.WriteString("0123456789\n"); err != nil {
		t.Fatal(err)
	}
	newFile, rotated, err := f.RotateIfLarge()
	if err != nil || !rotated {
		t.Fatalf("rotated %v, %v", rotated, err)
	}
	if newFile != f.File() || newFile == passed {
		t.Error("the new file is not the current one")
	}
	if _, err := passed.WriteString("late\n"); err != nil {
		t.Errorf("the old descriptor must stay open for one rotation: %v", err)
	}
	if got, want := content(t, f.Path()+".1"), "0123456789\nlate\n"; got != want {
		t.Errorf("app.log.1 = %q, want %q", got, want)
	}
}

func TestFile_WritesThoughItCannotRotate(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 4, MaxFiles: 1})
	write(t, f, "one\n")
	if err := os.MkdirAll(filepath.Join(f.Path()+".1", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	n, err := f.Write([]byte("two\n"))
	if n != 4 || err == nil || !strings.Contains(err.Error(), "rotate log") {
		t.Errorf("Write = %d, %v; want 4 and a rotation error", n, err)
	}
	if got, want := content(t, f.Path()), "one\ntwo\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFile_Reopen(t *testing.T) {
	f := openFile(t, Limits{})
	if err := os.Rename(f.Path(), f.Path()+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "new\n")
	if got, want := content(t, f.Path()), "new\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFile_Closed(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 4})
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Write([]byte("x\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write: %v, want ErrClosed", err)
	}
	if _, _, err := f.RotateIfLarge(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("RotateIfLarge: %v, want ErrClosed", err)
	}
	if err := f.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Reopen: %v, want ErrClosed", err)
	}
	if f.File() != nil {
		t.Error("File is not nil")
	}
}

func TestFile_ConcurrentLinesStayWhole(t *testing.T) {
	f := openFile(t, Limits{MaxSize: 512, MaxFiles: 100})
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := fmt.Fprintf(f, "writer %d line %d\n", w, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	files, err := filepath.Glob(f.Path() + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		for line := range strings.Lines(content(t, name)) {
			seen[line] = true
		}
	}
	for w := range writers {
		for i := range each {
			if line := fmt.Sprintf("writer %d line %d\n", w, i); !seen[line] {
				t.Errorf("lost or torn: %q", line)
			}
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d different lines, want %d", len(seen), writers*each)
	}
}

func TestSet_OneFileForEachName(t *testing.T) {
	s := &Set{Dir: filepath.Join(t.TempDir(), "logs")}
	a, err := s.Open("a.log")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Open("a.log"); again != a || err != nil {
		t.Errorf("second Open = %p, %v; want %p", again, err, a)
	}
	for _, name := range []string{"../b.log", "x/b.log", "", "/b.log"} {
		if _, err := s.Open(name); err == nil {
			t.Errorf("Open(%q) succeeded", name)
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Write([]byte("x\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v, want ErrClosed", err)
	}
	if _, err := s.Open("a.log"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Open after Close: %v, want ErrClosed", err)
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("x", TailLine)
	var many, manyWant []string
	for i := range TailLines + 5 {
		many = append(many, fmt.Sprintf("%d\n", i))
		if i >= 5 {
			manyWant = append(manyWant, fmt.Sprint(i))
		}
	}
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"nothing":             {nil, nil},
		"split lines":         {[]string{"o", "ne\ntw", "o\n"}, []string{"one", "two"}},
		"unended line":        {[]string{"one\ntwo"}, []string{"one", "two"}},
		"carriage return":     {[]string{"one\r\ntwo\r\n"}, []string{"one", "two"}},
		"empty line":          {[]string{"\n\n"}, []string{"", ""}},
		"not UTF-8":           {[]string{"a\xffb\n"}, []string{"a\uFFFDb"}},
		"long line":           {[]string{long, "more\nnext\n"}, []string{long + cutMark, "next"}},
		"only the last lines": {many, manyWant},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var tail Tail
			for _, w := range tc.writes {
				if n, err := tail.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if got := tail.Lines(); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTail_Bounded(t *testing.T) {
	var tail Tail
	for i := range 1000 {
		if _, err := fmt.Fprintf(&tail, "%d %s\n", i, strings.Repeat("y", 700)); err != nil {
			t.Fatal(err)
		}
	}
	lines := tail.Lines()
	if size := len(strings.Join(lines, "")); size > TailBytes {
		t.Errorf("holds %d bytes, want at most %d", size, TailBytes)
	}
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "999 ") {
		t.Errorf("last line is %q", last)
	}
}

func TestTailOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if lines, err := TailOf(path, 3); lines != nil || err != nil {
		t.Errorf("missing file: %q, %v", lines, err)
	}
	var b strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&b, "this is line number %d\n", i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := TailOf(path, 2)
	want := []string{"this is line number 9998", "this is line number 9999"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	got, err = TailOf(path, 1000)
	if err != nil || len(got) != TailLines || got[0] != "this is line number 9960" {
		t.Errorf("got %d lines from %q, %v; want %d", len(got), got[0], err, TailLines)
	}
}
