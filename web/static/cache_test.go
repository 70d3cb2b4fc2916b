package static

import (
	"fmt"
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

// get sends a request on a connection that stays, and returns the answer.
func get(t testing.TB, c *webtest.Conn, target string) webtest.Answer {
	t.Helper()
	c.Sent = c.Sent[:0]
	c.Receive([]byte("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n"))
	answers, err := webtest.Read(c.Sent, "GET")
	if err != nil {
		t.Fatalf("%s: %v in %q", target, err, c.Sent)
	}
	return answers[0]
}

// descriptors counts the open descriptors that lead into dir.
func descriptors(t testing.TB, dir string) (n int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

func TestChangesAreSeen(t *testing.T) {
	for _, n := range []int{100, 50_000} {
		dir := site(t, map[string]string{"f": content(n), "d/x": "x"})
		h, _ := handler(t, Options{Root: dir, Index: []string{"i"}, Precompressed: []string{"gzip"}, Listing: true})
		c := webtest.New(h)
		step := func(what, target string, status int, body string) {
			t.Helper()
			if a := get(t, c, target); a.StatusCode != status || body != "" && a.Body != body {
				t.Fatalf("%d bytes, %s: %d, %d bytes", n, what, a.StatusCode, len(a.Body))
			}
		}
		step("first", "/f", 200, content(n))
		step("absent", "/g", 404, "")
		step("listed", "/d/", 200, "")
		write(t, filepath.Join(dir, "f"), "new"+content(n))
		write(t, filepath.Join(dir, "g"), "now here")
		write(t, filepath.Join(dir, "d/i"), "index")
		c.Advance(500 * time.Millisecond)
		step("remembered", "/f", 200, content(n))
		step("remembered absent", "/g", 404, "")
		c.Advance(600 * time.Millisecond)
		step("replaced", "/f", 200, "new"+content(n))
		step("appeared", "/g", 200, "now here")
		step("index appeared", "/d/", 200, "index")
		if err := os.Remove(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "g.gz"), "coded")
		c.Advance(time.Second)
		step("removed", "/f", 404, "")
		if a := get(t, c, "/g"); a.Header.Get("Vary") == "" {
			t.Errorf("the neighbour that appeared was not seen: %v", a.Header)
		}
		// The same size and the same time, but written again: the inode's own time of change tells.
		if err := os.WriteFile(filepath.Join(dir, "g"), []byte("NOW HERE"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, "g"), modified, modified); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
		step("overwritten", "/g", 200, "NOW HERE")
	}
}

func TestReplacedWhileSent(t *testing.T) {
	old, young := content(60_000), "young"+content(70_000)
	dir := site(t, map[string]string{"f": old})
	h, f := handler(t, Options{Root: dir})
	slow, quick := webtest.New(h), webtest.New(h)
	slow.Stuck = true
	slow.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\n\r\n"))
	slow.Leave(10_000)
	write(t, filepath.Join(dir, "f"), young)
	slow.Advance(2 * time.Second)
	quick.Advance(2 * time.Second)
	if a := get(t, quick, "/f"); a.Body != young {
		t.Errorf("the next answer has %d bytes", len(a.Body))
	}
	if n := descriptors(t, dir); n != 2 {
		t.Errorf("%d descriptors, not one for the old file and one for the new", n)
	}
	slow.Leave(math.MaxInt64)
	answers, err := webtest.Read(slow.Sent, "GET")
	if err != nil || answers[0].Body != old {
		t.Errorf("the answer that had begun: %v", err)
	}
	if n := descriptors(t, dir); n != 1 {
		t.Errorf("%d descriptors after the old answer was complete", n)
	}
	f.Close()
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors after Close", n)
	}
	if a := get(t, quick, "/f"); a.StatusCode != 503 {
		t.Errorf("%d after Close", a.StatusCode)
	}
}

func TestShrinkingBreaksOff(t *testing.T) {
	dir := site(t, map[string]string{"f": content(60_000)})
	h, _ := handler(t, Options{Root: dir})
	c := webtest.New(h)
	c.Stuck = true
	c.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\n\r\n"))
	c.Leave(10_000)
	if err := os.Truncate(filepath.Join(dir, "f"), 20_000); err != nil {
		t.Fatal(err)
	}
	c.Stuck = false
	c.Turn()
	if c.State() != conn.Closed || c.Why == nil {
		t.Errorf("%v, %v", c.State(), c.Why)
	}
	if _, err := webtest.Read(c.Sent, "GET"); err == nil {
		t.Error("the client takes what it has for the whole")
	}
}

func TestClosedWhileSent(t *testing.T) {
	dir := site(t, map[string]string{"f": content(60_000)})
	h, f := handler(t, Options{Root: dir})
	c := webtest.New(h)
	c.Stuck = true
	c.Receive([]byte("GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2,3-4,100-\r\n\r\n"))
	f.Close()
	if n := descriptors(t, dir); n != 1 {
		t.Errorf("%d descriptors while the file is being sent", n)
	}
	c.Abort(conn.ErrAborted)
	c.Turn()
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors after the connection closed", n)
	}
}

func TestBounds(t *testing.T) {
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprint("small", i)] = content(1000)
		files[fmt.Sprint("large", i)] = content(20_000)
	}
	dir := site(t, files)
	h, f := handler(t, Options{Root: dir, Entries: 40, Memory: 20_500})
	c := webtest.New(h)
	for round := range 2 {
		for name, want := range files {
			if a := get(t, c, "/"+name); a.Body != want {
				t.Fatalf("%s: %d, %d bytes", name, a.StatusCode, len(a.Body))
			}
			get(t, c, "/none/"+name)
			if m := f.memory.Load(); m < 0 || m > 20_500 {
				t.Fatalf("%d bytes in memory", m)
			}
		}
		if n := descriptors(t, dir); n > 48 {
			t.Errorf("round %d: %d descriptors for 40 entries", round, n)
		}
	}
	f.Close()
	if n, m := descriptors(t, dir), f.memory.Load(); n != 0 || m != 0 {
		t.Errorf("%d descriptors and %d bytes after Close", n, m)
	}
}

// TestManyThreads has files read, replaced and evicted at once, each content telling its own size.
func TestManyThreads(t *testing.T) {
	dir := t.TempDir()
	name := func(i int) string { return fmt.Sprintf("f%d", i) }
	whole := content(70_000) // every content is its beginning
	sizes := []int{10, 5000, 16_384, 16_385, 70_000}
	for i := range 8 {
		write(t, filepath.Join(dir, name(i)), content(sizes[i%len(sizes)]))
	}
	f, err := Open(Options{Root: dir, Entries: 4, Valid: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	server := &web.Server{Root: f}
	var readers, writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				write(t, filepath.Join(dir, name(n%8)), whole[:sizes[n%len(sizes)]])
			}
		}
	})
	for r := range 4 {
		readers.Go(func() {
			c := webtest.New(server.Handler())
			for i := range 150 {
				c.Sent = c.Sent[:0]
				c.Receive([]byte("GET /" + name((i+r)%8) + " HTTP/1.1\r\nHost: a\r\n\r\n"))
				answers, err := webtest.Read(c.Sent, "GET")
				if err != nil || answers[0].StatusCode != 200 || !strings.HasPrefix(whole, answers[0].Body) {
					t.Errorf("%v, %q", err, c.Sent[:min(len(c.Sent), 100)])
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
	f.Close()
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors after Close", n)
	}
}

func benchmark(b *testing.B, files map[string]string, request string, want int) {
	h, _ := handler(b, Options{Root: site(b, files), Precompressed: []string{"br", "gzip"}})
	c := webtest.New(h)
	c.Receive([]byte(request))
	answers, err := webtest.Read(c.Sent, "GET")
	if err != nil || answers[0].StatusCode != want {
		b.Fatal(err, string(c.Sent))
	}
	c.Discard = true
	in := []byte(request)
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(in)
	}
}

const browser = "GET /f.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: load\r\nAccept: */*\r\n"

func BenchmarkSmall(b *testing.B) {
	benchmark(b, map[string]string{"f.html": content(1024)}, browser+"\r\n", 200)
}

func BenchmarkSmallCoded(b *testing.B) {
	files := map[string]string{"f.html": content(4096), "f.html.br": content(1024)}
	benchmark(b, files, browser+"Accept-Encoding: gzip, deflate, br, zstd\r\n\r\n", 200)
}

func BenchmarkLarge(b *testing.B) {
	benchmark(b, map[string]string{"f.html": content(64 << 10)}, browser+"\r\n", 200)
}

func BenchmarkRange(b *testing.B) {
	benchmark(b, map[string]string{"f.html": content(64 << 10)}, browser+"Range: bytes=100-199\r\n\r\n", 206)
}

func BenchmarkNotModified(b *testing.B) {
	files := map[string]string{"f.html": content(1024)}
	benchmark(b, files, browser+"If-None-Match: *\r\n\r\n", 304)
}

func BenchmarkNotFound(b *testing.B) { benchmark(b, nil, browser+"\r\n", 404) }
