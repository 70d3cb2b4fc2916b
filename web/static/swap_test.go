package static

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestFolderIsSwapped has another folder put in the place of the one that is served: by a link that is renamed, and by
// the name itself. An answer that has begun is completed, and nothing of the old folder stays open.
func TestFolderIsSwapped(t *testing.T) {
	old, young := content(60_000), "young"+content(50_000)
	for _, link := range []bool{true, false} {
		base := site(t, map[string]string{"v1/f": old, "v1/only": "1", "v2/f": young, "v2/sub/x": "x"})
		root := filepath.Join(base, "v1")
		if link {
			root = filepath.Join(base, "current")
			if err := os.Symlink("v1", root); err != nil {
				t.Fatal(err)
			}
		}
		h, f := handler(t, Options{Root: root})
		slow, c := webtest.New(h), webtest.New(h)
		slow.Stuck = true
		slow.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\n\r\n"))
		get(t, c, "/only")
		if link {
			must(t, os.Symlink("v2", filepath.Join(base, "next")), os.Rename(filepath.Join(base, "next"), root))
		} else {
			must(t, os.Rename(root, filepath.Join(base, "v0")))
			c.Advance(2 * time.Second)
			if a := get(t, c, "/only"); a.Body != "1" {
				t.Errorf("between two names: %d", a.StatusCode)
			}
			must(t, os.Rename(filepath.Join(base, "v2"), root))
		}
		c.Advance(2 * time.Second)
		if a := get(t, c, "/f"); a.Body != young {
			t.Errorf("link %v: %d bytes behind the swap", link, len(a.Body))
		}
		if a := get(t, c, "/only"); a.StatusCode != 404 {
			t.Errorf("link %v: %d for a file of the old folder", link, a.StatusCode)
		}
		if a := get(t, c, "/sub/x"); a.Body != "x" {
			t.Errorf("link %v: %d for a file of the new folder", link, a.StatusCode)
		}
		slow.Leave(math.MaxInt64)
		if answers, err := webtest.Read(slow.Sent, "GET"); err != nil || answers[0].Body != old {
			t.Errorf("link %v: the answer that had begun: %v", link, err)
		}
		f.Close()
		if n := descriptors(t, base); n != 0 {
			t.Errorf("link %v: %d descriptors stay open", link, n)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFolderIsSwappedUnderLoad swaps two folders while several threads look things up. Each answer is of one of them,
// and all is closed in the end.
func TestFolderIsSwappedUnderLoad(t *testing.T) {
	base := site(t, map[string]string{"v1/f": "one", "v2/f": "two"})
	root := filepath.Join(base, "current")
	must(t, os.Symlink("v1", root))
	f, err := Open(Options{Root: root, Valid: time.Microsecond})
	must(t, err)
	var asking sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		h := (&web.Server{Root: f}).Handler()
		asking.Go(func() {
			c := webtest.New(h)
			for {
				select {
				case <-done:
					return
				default:
				}
				if a := get(t, c, "/f"); a.Body != "one" && a.Body != "two" {
					t.Errorf("%d %q", a.StatusCode, a.Body)
					return
				}
			}
		})
	}
	for i := range 200 {
		next := filepath.Join(base, "next")
		must(t, os.Symlink([]string{"v2", "v1"}[i%2], next), os.Rename(next, root))
	}
	close(done)
	asking.Wait()
	f.Close()
	if n := descriptors(t, base); n != 0 {
		t.Errorf("%d descriptors stay open", n)
	}
}

// TestOverwrittenWhileSent has a large file written again, in the same size, while it is sent: that is no whole answer.
// The next one is all new.
func TestOverwrittenWhileSent(t *testing.T) {
	const size = 600_000
	dir := site(t, map[string]string{"f": strings.Repeat("a", size)})
	h, _ := handler(t, Options{Root: dir})
	for _, fields := range []string{"", "Range: bytes=1-599998\r\n", "Range: bytes=0-1,2-599999\r\n"} {
		write(t, filepath.Join(dir, "f"), strings.Repeat("a", size))
		c := webtest.New(h)
		c.Advance(30 * time.Second)
		c.Stuck = true
		c.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"))
		c.Leave(100_000)
		must(t, os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat("b", size)), 0o644))
		c.Leave(math.MaxInt64)
		c.Turn()
		if c.State() != conn.Closed || c.Why != web.ErrChanged {
			t.Errorf("%q: %v, %v behind %d bytes", fields, c.State(), c.Why, len(c.Sent))
		}
		next := webtest.New(h)
		if a := get(t, next, "/f"); a.Body != strings.Repeat("b", size) {
			t.Errorf("%q: the next answer: %d, %d bytes", fields, a.StatusCode, len(a.Body))
		}
	}
}
