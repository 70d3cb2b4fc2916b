package proof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apart are the fields of an answer that may differ between the upstream and the proxy, each for a reason.
var apart = map[string]string{
	"Connection":        "belongs to one connection (RFC 9110 section 7.6.1)",
	"Keep-Alive":        "belongs to one connection",
	"Transfer-Encoding": "belongs to one connection: the proxy frames what it passes on anew",
	"Trailer":           "names what is compared where it stands",
	"Date":              "the two answers are made at two times",
	"Via":               "a proxy has to add it (RFC 9110 section 7.6.3)",
}

// A generator makes requests that are right, in all the forms that are.
type generator struct {
	random *rand.Rand
	echo   bool // the upstream reads bodies and understands queries
}

func pick[T any](g *generator, values ...T) T { return values[g.random.IntN(len(values))] }

func (g *generator) chance(percent int) bool { return g.random.IntN(100) < percent }

// request makes one, and tells its method.
func (g *generator) request() (method, text string) {
	method = "GET"
	if g.chance(25) {
		method = "HEAD"
	}
	target := g.file()
	if g.echo && g.chance(60) {
		method = pick(g, "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND")
		target = g.path() + g.query()
	}
	minor := 1
	if g.chance(15) {
		minor = 0
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\n", method, target, minor)
	lines := append(g.fields(), "Host: differential.test")
	body := ""
	if g.echo && (method == "POST" || method == "PUT" || method == "PATCH" || method == "DELETE" && g.chance(30)) {
		body, lines = g.body(minor, lines)
	}
	switch {
	case g.chance(15):
		lines = append(lines, "Connection: close")
	case minor == 0 && g.chance(50):
		lines = append(lines, "Connection: keep-alive")
	}
	g.random.Shuffle(len(lines), func(i, k int) { lines[i], lines[k] = lines[k], lines[i] })
	b.WriteString(strings.Join(lines, "\r\n"))
	b.WriteString("\r\n\r\n")
	b.WriteString(body)
	return method, b.String()
}

// file is the target of a file, or of none.
func (g *generator) file() string {
	target := "/files/" + pick(g, "small.txt", "page.html", "large.png", "empty.txt", "with%20space.txt", "missing.txt")
	if g.chance(10) {
		target += "?" + pick(g, "", "a=b", "x=%20&y", "?")
	}
	return target
}

func (g *generator) path() string {
	parts := []string{
		"a", "b.c", "~d", "e%20f", "%C3%A9", "g+h", "i;j=k", "l,m", "(n)", "o'p", "q@r", "s:t", "u%25", "v%2Fw",
	}
	var path strings.Builder
	for range 1 + g.random.IntN(4) {
		path.WriteString("/" + parts[g.random.IntN(len(parts))])
	}
	if g.chance(10) {
		path.WriteString("/")
	}
	return path.String()
}

func (g *generator) query() string {
	var query []string
	for range g.random.IntN(3) {
		query = append(query, pick(g, "stream", "trailer", "hint", "x=1", "y=%26", "z", "=", "status=404", "status=204",
			"status=500", "status=304", "status=201", "u=%C3%A9", "v=/?:@"))
	}
	if len(query) == 0 && g.chance(80) {
		return ""
	}
	return "?" + strings.Join(query, "&")
}

// fields are those that a client may send, some of them twice.
func (g *generator) fields() (lines []string) {
	for range g.random.IntN(6) {
		lines = append(lines, pick(g,
			"Accept: text/html, */*;q=0.1", "Accept-Encoding: identity", "User-Agent: differential/1", "X-Empty:",
			"Cookie: a=b; c=d",
			"X-Spaces:   between  words  ", "x-lower: case", "X-Long: "+strings.Repeat("long ", 100), "Cache-Control: no-cache",
			"Referer: http://differential.test/", "Authorization: Basic dXNlcjpwYXNz", "X-Token: \"quoted, with comma\"",
			"X-Latin: caf\xe9", "Pragma: no-cache", "Accept-Language: ko, en;q=0.5", "Priority: u=1", "X-Tab: a\tb",
		))
	}
	slices.Sort(lines)
	lines = slices.CompactFunc(lines, func(a, b string) bool { return a == b })
	switch g.random.IntN(8) {
	case 0:
		lines = append(lines, "Range: bytes="+pick(g, "0-9", "5-", "-7", "0-0", "9999999-", "2-1", "0-3,10-12", "5-5", "x"))
	case 1:
		lines = append(lines, "If-Modified-Since: "+pick(g,
			"Fri, 02 Jan 2026 03:04:05 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Sat, 03 Jan 2026 00:00:00 GMT", "never"))
	case 2:
		lines = append(lines, "If-None-Match: "+pick(g, "*", `"none"`, `W/"weak", "strong"`))
	case 3:
		lines = append(lines, "If-Unmodified-Since: Thu, 01 Jan 2026 00:00:00 GMT")
	}
	return lines
}

// body makes content, and the lines that tell of it.
func (g *generator) body(minor int, lines []string) (string, []string) {
	size := pick(g, 0, 1, 10, 1000, 5000, 70_000)
	content := strings.Repeat("differential content ", size/21+1)[:size]
	lines = append(lines, "Content-Type: text/x-content")
	if minor == 1 && g.chance(15) {
		lines = append(lines, "Expect: 100-continue")
	}
	if minor == 0 || g.chance(60) {
		return content, append(lines, fmt.Sprintf("Content-Length: %d", size))
	}
	var b strings.Builder
	for len(content) > 0 {
		n := min(len(content), 1+g.random.IntN(9000))
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, pick(g, "", "", ";name=value"), content[:n])
		content = content[n:]
	}
	b.WriteString("0\r\n")
	if g.chance(30) {
		b.WriteString("X-Checksum: 1234\r\n")
		lines = append(lines, "Trailer: X-Checksum")
	}
	return b.String() + "\r\n", append(lines, "Transfer-Encoding: chunked")
}

// result is what is compared of an answer.
type result struct {
	Status   int
	Reason   string
	Fields   map[string][]string
	Content  string
	Broken   bool
	Trailers map[string][]string
	Interim  []string
}

// A side is one of the two ways to the upstream.
type side struct {
	t       *testing.T
	address string
	c       *client
}

// exchange sends a request, over the connection of the one before if that has not ended. A server may end it without
// saying so beforehand: nginx does it after some refusals.
func (s *side) exchange(method, text string) (*result, error) {
	if s.c != nil {
		if r, err := s.once(method, text); err == nil {
			return r, nil
		}
	}
	s.c = dial(s.t, s.address)
	return s.once(method, text)
}

func (s *side) once(method, text string) (*result, error) {
	if _, err := io.WriteString(s.c.Conn, text); err != nil {
		s.end()
		return nil, err
	}
	var interim []string
	for {
		a, err := s.c.answer(method)
		if err != nil {
			s.end()
			return nil, err
		}
		if a.StatusCode < 200 {
			if a.StatusCode != 100 {
				interim = append(interim, a.Status)
			}
			continue
		}
		r := &result{
			Status: a.StatusCode, Reason: a.Status, Fields: map[string][]string{}, Content: a.content, Broken: a.broken != nil,
			Trailers: a.Trailer, Interim: interim,
		}
		for name, values := range a.Header {
			if apart[name] == "" {
				r.Fields[name] = values
			}
		}
		r.withoutBoundary()
		if _ = s.c.SetDeadline(time.Now().Add(patience)); a.Close || a.broken != nil {
			s.end()
		}
		return r, nil
	}
}

// withoutBoundary takes out what separates the parts of an answer: nginx counts them up.
func (r *result) withoutBoundary() {
	kind := strings.Join(r.Fields["Content-Type"], "")
	if _, boundary, ok := strings.Cut(kind, "boundary="); ok {
		r.Fields["Content-Type"] = []string{strings.ReplaceAll(kind, boundary, "boundary")}
		r.Content = strings.ReplaceAll(r.Content, boundary, "boundary")
	}
}

func (s *side) end() {
	if s.c != nil {
		_ = s.c.Close()
		s.c = nil
	}
}

// TestDifferential sends the same requests to servers that people run, directly and through the proxy, and wants the
// same answers. SEED replays a run, DIFFERENTIAL is the number of requests to each server.
func TestDifferential(t *testing.T) {
	seed, total := number(t, "SEED", int(time.Now().UnixNano()%1_000_000)), number(t, "DIFFERENTIAL", scaled(500))
	folder := folderOf(t)
	for number, kind := range backends {
		t.Run(kind.name, func(t *testing.T) {
			t.Logf("SEED=%d", seed)
			b := kind.start(t, folder)
			p := start(t, []string{b.address})
			g := &generator{
				random: rand.New(rand.NewPCG(uint64(seed), uint64(number))), echo: kind.name == "go" || kind.name == "gunicorn",
			}
			direct, through := &side{t: t, address: b.address}, &side{t: t, address: p.address}
			statuses := make(map[int]int)
			before := ""
			for n := range total {
				method, text := g.request()
				want, wantErr := direct.exchange(method, text)
				got, gotErr := through.exchange(method, text)
				if wantErr != nil || gotErr != nil {
					t.Fatalf("request %d: %v and %v\n%.2000q\n%.1000q", n, wantErr, gotErr, text, before)
				}
				if strings.Contains(text, " HTTP/1.0\r\n") {
					want.Interim = nil // Go sends it also to clients that do not know what it is
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("request %d differs:\n%.2000q\n%.4000s", n, text, d)
				}
				statuses[want.Status]++
				before = text
			}
			direct.end()
			through.end()
			t.Logf("%d requests, answers by status: %v", total, statuses)
		})
	}
}
