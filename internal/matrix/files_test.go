package matrix

import (
	"bytes"
	"fmt"
	"mime"
	"mime/multipart"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files is what a folder is served as.
var files = []behaviour{
	{name: "small file", check: fileOf("/small.txt", 1, smallBytes)},
	{name: "medium file", check: fileOf("/medium.bin", 2, mediumSize)},
	{name: "large file", check: fileOf("/large.bin", 3, largeBytes)},
	{name: "empty file", check: fileOf("/empty.txt", 0, 0)},
	{name: "slow reader", check: slowReader},
	{name: "index", check: index},
	{name: "paths that lead out", check: pathsOut},
	{name: "methods that files do not have", check: fileMethods},
	{name: "precompressed", check: precompressed},
	{name: "file that appears and goes", check: fileComesAndGoes},
	{name: "file replaced while it is sent", check: fileReplaced},
	{name: "file cut short while it is sent", check: fileCutShort},
}

// partial is the conditions and ranges of requests for files.
var partial = []behaviour{
	{name: "range", check: oneRange},
	{name: "several ranges", check: severalRanges},
	{name: "range that is not there", check: noRange},
	{name: "If-Range", check: ifRange},
	{name: "not modified", check: notModified},
	{name: "precondition failed", check: preconditionFailed},
}

func fileOf(path string, of byte, n int) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		c := s.start(t).dial()
		for range 3 {
			a := c.get(path).want(200).wantBody(content(of, n)).wantField("Accept-Ranges", "bytes")
			a.wantField("Last-Modified", modified.Format(dateForm)).wantField("Content-Length", fmt.Sprint(n))
		}
	}
}

// narrow makes a connection hold little, so that the server has to wait for its client.
func narrow(t *testing.T, c *client) *client {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	return c
}

// narrowly is the server's side of it. A segment of the loopback interface has 64 KiB: less would only wait for timers.
const narrowly = "listeners[0].send_buffer=128KiB"

// slowReader takes a large file with pauses, in pieces that fit nothing.
func slowReader(t *testing.T, s *suite) {
	c := narrow(t, s.start(t, narrowly, "timeouts.write=5s").dial())
	c.send(request("GET", "/large.bin"))
	head, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	head.want(200)
	want, at := content(3, largeBytes), 0
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for buffer := make([]byte, 100_003); at < len(want); {
		n, err := c.r.Read(buffer)
		if err != nil {
			t.Fatalf("%v after %d bytes", err, at)
		}
		if at+n > len(want) || !bytes.Equal(buffer[:n], want[at:at+n]) {
			t.Fatalf("wrong bytes between %d and %d", at, at+n)
		}
		if at += n; at/(200<<10) != (at-n)/(200<<10) {
			<-pause.C
		}
	}
	c.get("/hello").want(200).wantBody(hello)
}

func index(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.get("/").want(200).wantBody([]byte("<p>root")).wantField("Content-Type", "text/html; charset=utf-8")
	c.get("/folder/").want(200).wantBody([]byte("<p>folder"))
	c.get("/folder?a=b").want(301).wantField("Location", "/folder/?a=b")
	c.get("/bare/").want(403)
	c.get("/none").want(404)
	c.get("/small.txt/").want(404)
	c.get("/with%20space.txt").want(200).wantBody([]byte("a name to be escaped"))
}

func pathsOut(t *testing.T, s *suite) {
	v := s.start(t)
	for path, status := range map[string]int{
		"/../etc/passwd":              400,
		"/folder/../../etc/passwd":    400,
		"/%2e%2e/etc/passwd":          400,
		"/folder/%2e%2e/%2e%2e/etc/x": 400,
		"/..%2fetc/passwd":            400,
		"/small.txt%00.html":          400,
		"/%zz":                        400,
		"/..\\..\\etc\\passwd":        404,
		"/.hidden":                    404,
		"/out.txt":                    404,
		"/folder/../small.txt":        200,
		"/./folder/.././small.txt":    200,
		"//small.txt":                 200,
	} {
		c := v.dial()
		a := c.get(path)
		if a.status != status {
			t.Errorf("%s answers %q, want %d", path, a.head, status)
		}
		if strings.Contains(string(a.body), "root:") || strings.Contains(string(a.body), "outside") {
			t.Errorf("%s gives away %q", path, a.body)
		}
		_ = c.Close()
	}
}

func fileMethods(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		c.send(request(method, "/small.txt", "Content-Length: 0"))
		c.answer(method).want(405).wantField("Allow", "GET, HEAD, OPTIONS")
	}
	c.get("/small.txt").want(200).wantBody(content(1, smallBytes))
}

func precompressed(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for _, test := range []struct{ accept, coding, body string }{
		{"gzip", "gzip", "in truth gzip"},
		{"br, gzip", "br", "in truth brotli"},
		{"gzip, deflate, br;q=0.5", "gzip", "in truth gzip"},
		{"br;q=0, gzip;q=0", "", "body { color: black }"},
		{"identity", "", "body { color: black }"},
	} {
		a := c.get("/page.css", "Accept-Encoding: "+test.accept).want(200).wantBody([]byte(test.body))
		a.wantField("Content-Encoding", test.coding).wantField("Vary", "Accept-Encoding")
		a.wantField("Content-Type", "text/css; charset=utf-8")
	}
	c.get("/page.css").want(200).wantField("Content-Encoding", "")
}

// eventually asks until the answer is as wanted: what is remembered of files is good for a moment.
func (c *client) eventually(path string, good func(a *answer) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; c.silent(2 * time.Millisecond) {
		a := c.get(path)
		if good(a) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s still answers %q", path, a.head)
		}
	}
}

func fileComesAndGoes(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.get("/new.txt").want(404)
	s.write(t, "new.txt", []byte("new"))
	c.eventually("/new.txt", func(a *answer) bool { return a.status == 200 && string(a.body) == "new" })
	if err := os.Remove(filepath.Join(s.folder, "new.txt")); err != nil {
		t.Fatal(err)
	}
	c.eventually("/new.txt", func(a *answer) bool { return a.status == 404 })
}

// fileReplaced wants the answer that has begun to go on with the old file, whole, and the next to be the new one.
func fileReplaced(t *testing.T, s *suite) {
	before, after := content(11, largeBytes), content(12, largeBytes/2)
	s.write(t, "replaced.bin", before)
	c := narrow(t, s.start(t, narrowly).dial())
	c.send(request("GET", "/replaced.bin"))
	a, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "replaced.bin", after)
	if err := c.readBody(a.want(200)); err != nil {
		t.Fatal(err)
	}
	a.wantBody(before)
	c.eventually("/replaced.bin", func(a *answer) bool { return bytes.Equal(a.body, after) })
}

// fileCutShort wants the connection to break off, because the length that was promised cannot be kept.
func fileCutShort(t *testing.T, s *suite) {
	s.write(t, "short.bin", content(13, largeBytes))
	v := s.start(t, narrowly)
	c := narrow(t, v.dial())
	c.send(request("GET", "/short.bin"))
	if _, err := c.readHead(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(s.folder, "short.bin"), 100); err != nil {
		t.Fatal(err)
	}
	if n := c.wantGone(); n >= largeBytes {
		t.Errorf("%d bytes came of a file that has 100", n)
	}
	_ = c.Close()
	v.dial().get("/hello").want(200).wantBody(hello)
}

func oneRange(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for path, of := range map[string]byte{"/small.txt": 1, "/medium.bin": 2, "/large.bin": 3} {
		size := map[string]int{"/small.txt": smallBytes, "/medium.bin": mediumSize, "/large.bin": largeBytes}[path]
		whole := content(of, size)
		for _, test := range []struct {
			asked    string
			from, to int
		}{
			{"0-0", 0, 1},
			{"10-19", 10, 20},
			{"1000-", 1000, size},
			{"-24", size - 24, size},
			{fmt.Sprintf("%d-%d", size-1, size+100), size - 1, size},
		} {
			a := c.get(path, "Range: bytes="+test.asked).want(206).wantBody(whole[test.from:test.to])
			a.wantField("Content-Range", fmt.Sprintf("bytes %d-%d/%d", test.from, test.to-1, size))
		}
		c.get(path, "Range: lines=1-2").want(200).wantBody(whole)
	}
}

func severalRanges(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for path, of := range map[string]byte{"/medium.bin": 2, "/large.bin": 3} {
		size := map[string]int{"/medium.bin": mediumSize, "/large.bin": largeBytes}[path]
		whole := content(of, size)
		a := c.get(path, "Range: bytes=0-9, 50000-59999,-1").want(206)
		kind, parameters, err := mime.ParseMediaType(a.field("Content-Type"))
		if err != nil || kind != "multipart/byteranges" {
			t.Fatalf("%v: %q", err, a.head)
		}
		parts := multipart.NewReader(bytes.NewReader(a.body), parameters["boundary"])
		for _, span := range [][2]int{{0, 10}, {50_000, 60_000}, {size - 1, size}} {
			part, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := got.ReadFrom(part); err != nil || !bytes.Equal(got.Bytes(), whole[span[0]:span[1]]) {
				t.Errorf("%s %v: %d bytes, %v", path, span, got.Len(), err)
			}
			want := fmt.Sprintf("bytes %d-%d/%d", span[0], span[1]-1, size)
			if part.Header.Get("Content-Range") != want {
				t.Errorf("%s %v: %v", path, span, part.Header)
			}
		}
		if part, err := parts.NextPart(); err == nil {
			t.Errorf("one part more: %v", part.Header)
		}
	}
}

func noRange(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.get("/small.txt", "Range: bytes=1024-").want(416).wantField("Content-Range", "bytes */1024")
	c.get("/small.txt", "Range: bytes=-0").want(416).wantField("Content-Range", "bytes */1024")
	c.get("/small.txt", "Range: bytes=5-2").want(416)
	c.get("/small.txt", "Range: bytes=0-0").want(206).wantBody(content(1, 1))
}

func ifRange(t *testing.T, s *suite) {
	c := s.start(t).dial()
	whole := content(2, mediumSize)
	tag := c.get("/medium.bin").want(200).field("ETag")
	for condition, status := range map[string]int{
		tag:                         206,
		`"another"`:                 200,
		"W/" + tag:                  200,
		modified.Format(dateForm):   206,
		time.Now().Format(dateForm): 200,
	} {
		a := c.get("/medium.bin", "Range: bytes=5-9", "If-Range: "+condition).want(status)
		if status == 206 {
			a.wantBody(whole[5:10])
		} else {
			a.wantBody(whole)
		}
	}
}

func notModified(t *testing.T, s *suite) {
	c := s.start(t).dial()
	for _, path := range []string{"/small.txt", "/large.bin"} {
		tag := c.get(path).want(200).field("ETag")
		for _, condition := range []string{
			"If-None-Match: " + tag, `If-None-Match: "x", W/` + tag, "If-None-Match: *",
			"If-Modified-Since: " + modified.Format(dateForm),
		} {
			c.get(path, condition).want(304).wantField("ETag", tag).wantField("Content-Length", "")
		}
		c.get(path, `If-None-Match: "x"`, "If-Modified-Since: "+modified.Format(dateForm)).want(200)
		c.get(path, "If-Modified-Since: "+modified.Add(-time.Hour).Format(dateForm)).want(200)
	}
}

func preconditionFailed(t *testing.T, s *suite) {
	c := s.start(t).dial()
	tag := c.get("/medium.bin").want(200).field("ETag")
	c.get("/medium.bin", "If-Match: "+tag).want(200)
	c.get("/medium.bin", `If-Match: "x"`).want(412)
	c.get("/medium.bin", "If-Match: W/"+tag).want(412)
	c.get("/medium.bin", "If-Unmodified-Since: "+modified.Add(-time.Hour).Format(dateForm)).want(412)
	c.get("/medium.bin", "If-Unmodified-Since: "+modified.Format(dateForm)).want(200)
}
