package static

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web/webtest"
)

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// swept goes through the whole cache once.
func swept(f *Files) {
	for range sweepParts {
		f.sweep()
	}
}

// TestDeletedFilesAreClosed deletes files that are remembered and not asked for again.
func TestDeletedFilesAreClosed(t *testing.T) {
	large := content(20_000)
	dir := site(t, map[string]string{
		"stays": large, "goes": large, "moves": large, "replaced": large, "sent": large, "small": "s",
		"coded": large, "coded.gz": large,
	})
	h, f := handler(t, Options{Root: dir, Precompressed: []string{"gzip"}, Entries: 1000, Valid: time.Hour})
	c, slow := webtest.New(h), webtest.New(h)
	for _, name := range []string{"stays", "goes", "moves", "replaced", "small", "coded"} {
		get(t, c, "/"+name)
	}
	slow.Stuck = true
	slow.Receive([]byte("GET /sent HTTP/1.1\r\nHost: a\r\n\r\n"))
	swept(f)
	if n := descriptors(t, dir); n != 7 || f.open.Load() != 7 {
		t.Fatalf("%d descriptors, %d counted, before anything was deleted", n, f.open.Load())
	}
	for _, name := range []string{"goes", "small", "sent", "coded.gz"} {
		remove(t, filepath.Join(dir, name))
	}
	if err := os.Rename(filepath.Join(dir, "moves"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "replaced"), "young"+large)
	swept(f)
	// Left are what stays, what moved, and what is being sent.
	if n := descriptors(t, dir); n != 3 || f.open.Load() != 2 {
		t.Errorf("%d descriptors, %d counted", n, f.open.Load())
	}
	slow.Leave(math.MaxInt64)
	if answers, err := webtest.Read(slow.Sent, "GET"); err != nil || answers[0].Body != large {
		t.Errorf("the answer that had begun: %v", err)
	}
	if n := descriptors(t, dir); n != 2 {
		t.Errorf("%d descriptors after the answer", n)
	}
	for name, want := range map[string]int{"stays": 200, "goes": 404, "moves": 200, "replaced": 200, "coded": 200} {
		if a := get(t, c, "/"+name); a.StatusCode != want || a.Header.Get("Vary") != "" {
			t.Errorf("%s: %d, Vary %q", name, a.StatusCode, a.Header.Get("Vary"))
		}
	}
}

// TestSweepRunsByItself has the timer find a deleted file, end, and begin again with the next file.
func TestSweepRunsByItself(t *testing.T) {
	large := content(20_000)
	dir := site(t, map[string]string{"f": large, "g": large})
	h, f := handler(t, Options{Root: dir, Entries: 1000})
	f.sweeper.every = time.Millisecond
	running := func() bool {
		f.sweeper.mu.Lock()
		defer f.sweeper.mu.Unlock()
		return f.sweeper.timer != nil
	}
	if running() {
		t.Error("there is a timer, and nothing to watch over")
	}
	c := webtest.New(h)
	for _, name := range []string{"f", "g"} {
		get(t, c, "/"+name)
		if !running() {
			t.Errorf("%s is open, and there is no timer", name)
		}
		remove(t, filepath.Join(dir, name))
		for deadline := time.Now().Add(10 * time.Second); running(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s is still watched over", name)
			}
		}
		if n := descriptors(t, dir); n != 0 {
			t.Errorf("%d descriptors", n)
		}
	}
	write(t, filepath.Join(dir, "f"), large)
	c.Advance(2 * time.Second)
	get(t, c, "/f")
	f.Close()
	if running() {
		t.Error("the timer outlives the folder")
	}
	f.sweep() // one that had begun to run
	if running() {
		t.Error("the timer is set again after the end")
	}
}

// TestStaleNeighbours has precompressed files that are older than what they were made of.
func TestStaleNeighbours(t *testing.T) {
	dir := site(t, map[string]string{"f": "plain", "f.gz": "gz", "f.br": "br"})
	h, _ := handler(t, Options{Root: dir, Precompressed: []string{"br", "gzip"}})
	c := webtest.New(h)
	touch := func(name string, later time.Duration) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(dir, name), modified, modified.Add(later)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		what          string
		file, br, gz  time.Duration
		body, varying string
	}{
		{"as old", 0, 0, 0, "br", "Accept-Encoding"},
		{"one is older", 0, -2 * time.Second, 0, "gz", "Accept-Encoding"},
		{"both are older", time.Hour, 0, 0, "plain", ""},
		{"one was made anew", time.Hour, 0, 2 * time.Hour, "gz", "Accept-Encoding"},
		{"the file was changed again", 3 * time.Hour, 0, 2 * time.Hour, "plain", ""},
		{"made anew in between", 3 * time.Hour, 3*time.Hour - time.Second, 2 * time.Hour, "br", "Accept-Encoding"},
		{"coarse times", time.Second * 2, time.Millisecond, 0, "br", "Accept-Encoding"},
	} {
		touch("f", step.file)
		touch("f.br", step.br)
		touch("f.gz", step.gz)
		c.Advance(2 * time.Second)
		c.Sent = c.Sent[:0]
		c.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br, gzip\r\n\r\n"))
		answers, err := webtest.Read(c.Sent, "GET")
		if err != nil {
			t.Fatal(err)
		}
		if a := answers[0]; a.Body != step.body || a.Header.Get("Vary") != step.varying {
			t.Errorf("%s: %q, Vary %q", step.what, a.Body, a.Header.Get("Vary"))
		}
	}
}
