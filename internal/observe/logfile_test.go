package observe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
)

// TestRotation moves the file of a log away again and again while lines are written: each is in one file, whole.
func TestRotation(t *testing.T) {
	const writers, lines, rotations = 4, 2000, 25
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	file, err := OpenLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := NewAccessLog(AccessOptions{Format: Combined, Output: file})
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range lines {
				a.Log(&web.Record{
					Connection: uint64(w), Method: []byte("GET"), Target: fmt.Appendf(nil, "/%d/%d", w, i), Minor: 1, Status: 200,
				})
			}
		})
	}
	for i := range rotations {
		if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
			t.Fatal(err)
		}
		if err := file.Reopen(); err != nil {
			t.Fatal(err)
		}
		notify(a.wake) // have something written between two rotations
		notify(a.urgent)
	}
	group.Wait()
	if err := errors.Join(a.Close(10*time.Second), file.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) != rotations+1 {
		t.Fatalf("%d files: %v", len(names), err)
	}
	seen := make(map[string]int)
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if !strings.HasPrefix(line, "unix: - - [") || !strings.HasSuffix(line, "\" 200 0 \"-\" \"-\"\n") {
				t.Fatalf("%s has a line that is not whole: %q", name, line)
			}
			seen[strings.Split(line, `"`)[1]]++
		}
	}
	for w := range writers {
		for i := range lines {
			if n := seen[fmt.Sprintf("GET /%d/%d HTTP/1.1", w, i)]; n != 1 {
				t.Fatalf("line %d of %d is there %d times", i, w, n)
			}
		}
	}
}

func TestLogFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenLogFile(filepath.Join(dir, "none", "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := OpenLogFile(filepath.Join(inner, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(inner, inner+"2"); err != nil {
		t.Fatal(err)
	}
	if err := file.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder has gone: %v", err)
	}
	if _, err := file.Write([]byte("kept\n")); err != nil {
		t.Errorf("the old file is not kept: %v", err)
	}
	if content, err := os.ReadFile(filepath.Join(inner+"2", "a")); err != nil || string(content) != "kept\n" {
		t.Errorf("%q, %v", content, err)
	}
	if err := os.Rename(inner+"2", inner); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Close(), file.Close()); err != nil {
		t.Errorf("closing it: %v", err)
	}
	if err := file.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reopened after its end: %v", err)
	}
	if _, err := file.Write(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("written after its end: %v", err)
	}
}
