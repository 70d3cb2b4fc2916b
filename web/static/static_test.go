package static

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

var modified = time.Date(2020, 2, 3, 4, 5, 6, 123456789, time.UTC)

// site writes files into a folder of its own. A name that ends in "/" is a folder.
func site(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	// A new file under another name, as careful editors do it.
	if err := os.WriteFile(name+"~", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name+"~", modified, modified); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+"~", name); err != nil {
		t.Fatal(err)
	}
}

// handler serves a folder.
func handler(t testing.TB, o Options) (conn.Handler, *Files) {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return (&web.Server{Root: f}).Handler(), f
}

// ask sends a request with some fields, and returns the answer.
func ask(t testing.TB, h conn.Handler, method, target string, fields ...string) webtest.Answer {
	t.Helper()
	request := method + " " + target + " HTTP/1.1\r\nHost: a\r\n"
	for _, f := range fields {
		request += f + "\r\n"
	}
	a, err := webtest.Ask(h, request+"\r\n")
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func TestPaths(t *testing.T) {
	dir := site(t, map[string]string{
		"a.txt": "text", "index.html": "<p>root", "sub/index.html": "<p>sub", "bare/x": "x", ".secret": "s",
		"sub/.git/config": "s", "with space.txt": "space", "%41": "percent", "empty.txt": "", "unknown": "\x89PNG\r\n\x1a\n",
		"c.weird": "{}",
	})
	outside := site(t, map[string]string{"passwd": "root"})
	for name, to := range map[string]string{
		"out": filepath.Join(outside, "passwd"), "outdir": outside, "in": "a.txt", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h, _ := handler(t, Options{
		Root: dir, Index: []string{"index.htm", "index.html"}, Types: map[string]string{".weird": "text/weird"},
	})
	for _, c := range []named{
		{"/a.txt", 200, "text", "text/plain; charset=utf-8"},
		{"/in", 200, "text", "text/plain; charset=utf-8"},
		{"/", 200, "<p>root", "text/html; charset=utf-8"},
		{"/sub/", 200, "<p>sub", "text/html; charset=utf-8"},
		{"/sub/../a.txt", 200, "text", ""},
		{"/sub/%2e%2e/a.txt", 200, "text", ""},
		{"//a.txt", 200, "text", ""},
		{"/with%20space.txt", 200, "space", ""},
		{"/%2541", 200, "percent", ""},
		{"/empty.txt", 200, "", "text/plain; charset=utf-8"},
		{"/unknown", 200, "\x89PNG\r\n\x1a\n", "image/png"},
		{"/c.weird", 200, "{}", "text/weird"},
		{"/sub", 301, "", ""},
		{"/sub?q=1", 301, "", ""},
		{"/bare/", 403, "403 Forbidden\n", ""},
		{"/a.txt/", 404, "404 Not Found\n", ""},
		{"/a.txt/b", 404, "404 Not Found\n", ""},
		{"/none", 404, "404 Not Found\n", ""},
		{"/.secret", 404, "404 Not Found\n", ""},
		{"/%2esecret", 404, "404 Not Found\n", ""},
		{"/sub/.git/config", 404, "404 Not Found\n", ""},
		{"/out", 404, "404 Not Found\n", ""},
		{"/outdir/passwd", 404, "404 Not Found\n", ""},
		{"/loop", 404, "404 Not Found\n", ""},
		{"/" + strings.Repeat("x", 300), 404, "404 Not Found\n", ""},
		{"/../etc/passwd", 400, "400 Bad Request: malformed path\n", ""},
		{"/%2e%2e/etc/passwd", 400, "400 Bad Request: malformed path\n", ""},
		{"/sub%2findex.html", 404, "404 Not Found\n", ""},
		{"/a.txt%00", 400, "400 Bad Request: malformed path\n", ""},
		{"/a%zz", 400, "400 Bad Request: malformed path\n", ""},
	} {
		for range 2 { // found, then remembered
			c.check(t, h)
		}
	}
}

// named is a path and what its answer should be; an empty kind is not looked at.
type named struct {
	target string
	status int
	body   string
	kind   string
}

func (c *named) check(t *testing.T, h conn.Handler) {
	t.Helper()
	a := ask(t, h, "GET", c.target)
	if a.StatusCode != c.status || a.Body != c.body {
		t.Errorf("%s: %d %q, not %d %q", c.target, a.StatusCode, a.Body, c.status, c.body)
	}
	if got := a.Header.Get("Content-Type"); c.kind != "" && got != c.kind {
		t.Errorf("%s: type %q, not %q", c.target, got, c.kind)
	}
	if c.status == 301 {
		want := strings.Replace(c.target, "/sub", "/sub/", 1)
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("%s: sent to %q, not %q", c.target, got, want)
		}
	}
	head := ask(t, h, "HEAD", c.target)
	if head.StatusCode != c.status || head.Body != "" || head.ContentLength != int64(len(c.body)) {
		t.Errorf("HEAD %s: %d, %d bytes", c.target, head.StatusCode, head.ContentLength)
	}
}

func TestRedirectStaysOnHost(t *testing.T) {
	dir := site(t, map[string]string{"evil.example/x": "", "\\evil/x": "", "a\r\nb/x": ""})
	h, _ := handler(t, Options{Root: dir})
	for target, want := range map[string]string{
		"//evil.example":      "/evil.example/",
		"/%5Cevil":            "/%5Cevil/",
		"/a%0D%0Ab":           "/a%0D%0Ab/",
		"/x/..//evil.example": "/evil.example/",
	} {
		if a := ask(t, h, "GET", target); a.StatusCode != 301 || a.Header.Get("Location") != want {
			t.Errorf("%s: %d to %q, not to %q", target, a.StatusCode, a.Header.Get("Location"), want)
		}
	}
}

func TestMethods(t *testing.T) {
	h, _ := handler(t, Options{Root: site(t, map[string]string{"a": "a"})})
	for method, status := range map[string]int{"POST": 405, "PUT": 405, "DELETE": 405, "PATCH": 405, "OPTIONS": 204} {
		if a := ask(t, h, method, "/a"); a.StatusCode != status || a.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: %d, Allow %q", method, a.StatusCode, a.Header.Get("Allow"))
		}
	}
}

func TestStripAndHidden(t *testing.T) {
	dir := site(t, map[string]string{".dot": "dot", "a": "a"})
	h, _ := handler(t, Options{Root: dir, Strip: "/files/", Hidden: true, Listing: true})
	for target, status := range map[string]int{
		"/files/a": 200, "/files/.dot": 200, "/files": 301, "/files/": 200, "/filesa": 404, "/a": 404,
	} {
		if a := ask(t, h, "GET", target); a.StatusCode != status {
			t.Errorf("%s: %d, not %d", target, a.StatusCode, status)
		}
	}
}

func TestListing(t *testing.T) {
	dir := site(t, map[string]string{
		"<b>&\"'.txt": "x", "sub dir/x": "", ".hidden": "", "javascript:alert(1)": "", "z": "12345",
	})
	h, f := handler(t, Options{Root: dir, Listing: true})
	a := ask(t, h, "GET", "/")
	if again := ask(t, h, "GET", "/"); again.Body != a.Body || f.memory.Load() != int64(len(a.Body)) {
		t.Errorf("%d bytes kept of a listing of %d", f.memory.Load(), len(a.Body))
	}
	defer func() {
		if f.Close(); f.memory.Load() != 0 {
			t.Errorf("%d bytes kept after Close", f.memory.Load())
		}
	}()
	for _, want := range []string{
		`href="./%3Cb%3E&amp;%22%27.txt">&lt;b&gt;&amp;&#34;&#39;.txt</a>`,
		`href="./sub%20dir/">sub dir/</a>`,
		`href="./javascript:alert(1)"`,
		`href="./z">z</a><td>5<td>2020-02-03 04:05:06`,
	} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("no %s in\n%s", want, a.Body)
		}
	}
	if strings.Contains(a.Body, "hidden") || strings.Contains(a.Body, "<b>") {
		t.Errorf("in the listing: a hidden name, or a name that was not escaped\n%s", a.Body)
	}
	if strings.Index(a.Body, "sub dir/") > strings.Index(a.Body, "./z") {
		t.Error("folders do not come first")
	}
}

// TestListingIsBounded lists a folder with more names than are shown.
func TestListingIsBounded(t *testing.T) {
	for extra, more := range map[int]bool{-1: false, 0: false, 1: true} {
		dir := t.TempDir()
		for i := range listedNames + extra {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, _ := handler(t, Options{Root: dir, Listing: true})
		a := ask(t, h, "GET", "/")
		if n := strings.Count(a.Body, `href="./f`); n != min(listedNames, listedNames+extra) {
			t.Errorf("%d names of %d", n, listedNames+extra)
		}
		if strings.Contains(a.Body, "and more") != more {
			t.Errorf("of %d names: %q", listedNames+extra, a.Body[len(a.Body)-100:])
		}
	}
}

// TestIfRangeByDate wants a date to name a file only when that cannot have been changed twice in its second.
func TestIfRangeByDate(t *testing.T) {
	dir := site(t, map[string]string{"old": "0123456789", "new": "0123456789"})
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, "new"), now, now); err != nil {
		t.Fatal(err)
	}
	h, _ := handler(t, Options{Root: dir})
	for name, at := range map[string]time.Time{"old": modified, "new": now} {
		a := ask(t, h, "GET", "/"+name, "Range: bytes=0-3", "If-Range: "+at.UTC().Format(http.TimeFormat))
		if want := map[string]int{"old": 206, "new": 200}[name]; a.StatusCode != want {
			t.Errorf("%s: %d, not %d", name, a.StatusCode, want)
		}
	}
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{
		{Root: filepath.Join(dir, "none")}, {Root: dir, Strip: "files"}, {Root: dir, Precompressed: []string{"lzw"}},
	} {
		if f, err := Open(o); err == nil {
			f.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestPrecompressed(t *testing.T) {
	dir := site(t, map[string]string{
		"a.css": "plain", "a.css.gz": "gz", "a.css.br": "br", "a.css.zst": "zst", "b.css": "plain", "c.css.gz": "gz",
	})
	h, _ := handler(t, Options{Root: dir, Precompressed: []string{"br", "zstd", "gzip"}})
	for accept, want := range map[string]string{
		"":                                    "",
		"gzip":                                "gzip",
		"GZIP":                                "gzip",
		"x-gzip":                              "gzip",
		"gzip, br":                            "br",
		"gzip, deflate, br, zstd":             "br",
		"gzip;q=1.0, br;q=0.5":                "gzip",
		"br;q=0, gzip;q=0.1":                  "gzip",
		"*":                                   "br",
		"*;q=0.5, zstd":                       "zstd",
		"*, br;q=0":                           "zstd",
		"identity, gzip;q=0.5":                "",
		"identity;q=0.5, gzip;q=0.5":          "gzip",
		"identity;q=0":                        "",
		"deflate":                             "",
		"br;q=2, gzip;q=x, zstd;level=1":      "",
		"gzip;q=0.001":                        "gzip",
		" gzip ; q = 0.5 ,, br ; q=0.4999999": "gzip",
	} {
		fields := []string{}
		if accept != "" {
			fields = append(fields, "Accept-Encoding: "+accept)
		}
		a := ask(t, h, "GET", "/a.css", fields...)
		if got := a.Header.Get("Content-Encoding"); got != want || a.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %q, not %q; Vary %q", accept, got, want, a.Header.Get("Vary"))
		}
		body := map[string]string{"": "plain", "gzip": "gz", "br": "br", "zstd": "zst"}[want]
		if a.Body != body || a.Header.Get("Content-Type") != "text/css; charset=utf-8" {
			t.Errorf("%q: %q of type %q", accept, a.Body, a.Header.Get("Content-Type"))
		}
	}
	gz, br := ask(t, h, "GET", "/a.css", "Accept-Encoding: gzip"), ask(t, h, "GET", "/a.css", "Accept-Encoding: br")
	if gz.Header.Get("ETag") == br.Header.Get("ETag") {
		t.Error("two codings have one ETag")
	}
	same := ask(t, h, "GET", "/a.css", "Accept-Encoding: gzip", "If-None-Match: "+gz.Header.Get("ETag"))
	if same.StatusCode != 304 || same.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%d, Vary %q", same.StatusCode, same.Header.Get("Vary"))
	}
	if a := ask(t, h, "GET", "/b.css", "Accept-Encoding: gzip"); a.Body != "plain" || a.Header.Get("Vary") != "" {
		t.Errorf("%q, Vary %q", a.Body, a.Header.Get("Vary"))
	}
	if a := ask(t, h, "GET", "/c.css", "Accept-Encoding: gzip"); a.StatusCode != 404 {
		t.Errorf("a neighbour without its file: %d", a.StatusCode)
	}
	// Several lines are one list.
	a := ask(t, h, "GET", "/a.css", "Accept-Encoding: gzip;q=0.5", "Accept-Encoding: zstd")
	if got := a.Header.Get("Content-Encoding"); got != "zstd" {
		t.Errorf("on two lines: %q", got)
	}
}

func TestTypesAreWellFormed(t *testing.T) {
	for ending, kind := range types {
		if ending[0] != '.' || strings.ToLower(ending) != ending || !strings.Contains(kind, "/") {
			t.Errorf("%s: %s", ending, kind)
		}
		if strings.HasPrefix(kind, "text/") != strings.HasSuffix(kind, "; charset=utf-8") {
			t.Errorf("%s: %s", ending, kind)
		}
	}
}

// sized are contents that are kept in memory and contents that are not.
func sized() []int { return []int{0, 1, 10, 16 << 10, 16<<10 + 1, 200_000} }

func content(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.String()[:n]
}

func TestSizes(t *testing.T) {
	for _, n := range sized() {
		want := content(n)
		for _, entries := range []int{0, -1} {
			h, _ := handler(t, Options{Root: site(t, map[string]string{"f": want}), Entries: entries})
			for range 2 {
				if a := ask(t, h, "GET", "/f"); a.Body != want || a.StatusCode != 200 {
					t.Errorf("%d bytes, entries %d: %d, %d bytes", n, entries, a.StatusCode, len(a.Body))
				}
			}
		}
	}
}
