package matrix

import (
	"regexp"
	"strings"
	"sync"
	"testing"
)

// transcripts holds what the first column answered.
type transcripts struct {
	mu     sync.Mutex
	column string
	text   string
}

// conversation is a fixed list of requests, each on a connection of its own and then all that keep it on one.
var conversation = []string{
	request("GET", "/hello"),
	request("HEAD", "/hello"),
	request("GET", "/made"),
	request("GET", "/nothing"),
	request("GET", "/away"),
	request("GET", "/posted"),
	request("POST", "/posted", "Content-Length: 3") + "abc",
	request("POST", "/posted", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\nA: b\r\n\r\n",
	request("OPTIONS", "*"),
	request("OPTIONS", "/small.txt"),
	request("GET", "http://other.test/"),
	request("GET", "/"),
	request("GET", "/folder"),
	request("GET", "/folder/"),
	request("GET", "/bare/"),
	request("GET", "/none"),
	request("GET", "/small.txt"),
	request("HEAD", "/large.bin"),
	request("GET", "/medium.bin"),
	request("GET", "/empty.txt"),
	request("DELETE", "/small.txt"),
	request("GET", "/page.css", "Accept-Encoding: br"),
	request("GET", "/page.css", "Accept-Encoding: gzip"),
	request("GET", "/medium.bin", "Range: bytes=100-199"),
	request("GET", "/medium.bin", "Range: bytes=100-199,-5"),
	request("GET", "/small.txt", "Range: bytes=9999-"),
	request("GET", "/small.txt", "If-Modified-Since: "+modified.Format(dateForm)),
	request("GET", "/small.txt", `If-Match: "x"`),
	request("GET", "/hello", "Connection: close"),
	"GET /hello HTTP/1.0\r\n\r\n",
	"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	request("BREW", "/"),
	request("TRACE", "/"),
	request("CONNECT", "matrix.test:443"),
	request("GET", "/../x"),
	request("POST", "/posted", "Content-Length: 99999999"),
	request("POST", "/posted", "Expect: 100-continue", "Content-Length: 3"),
	request("POST", "/posted", "Expect: else", "Content-Length: 3"),
	"GET /hello HTTP/1.1\r\n\r\n",
	"GET /hello HTTP/9.9\r\nHost: a\r\n\r\n",
	"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
	"nonsense\r\n\r\n",
}

// sameBytes wants a fixed conversation to be answered with the bytes that the first column answered with. What differs
// from one run to the next is left out: the date, the tags of files, boundaries of parts.
func sameBytes(t *testing.T, s *suite) {
	v := s.start(t)
	var all strings.Builder
	for _, text := range conversation {
		c := v.dial()
		c.send(text)
		c.halfClose()
		first, _, _ := strings.Cut(text, "\r\n")
		all.WriteString("> " + first + "\n" + plain(c.everything()) + "\n")
		_ = c.Close()
	}
	c := v.dial()
	for _, text := range conversation[:28] {
		c.send(text)
	}
	c.halfClose()
	all.WriteString("> together\n" + plain(c.everything()))

	text, record := all.String(), s.transcripts
	record.mu.Lock()
	defer record.mu.Unlock()
	if record.text == "" {
		record.column, record.text = s.column.Name, text
	}
	if text == record.text {
		return
	}
	at := 0
	for at < len(text) && at < len(record.text) && text[at] == record.text[at] {
		at++
	}
	from := max(0, strings.LastIndex(text[:at], "\n> "))
	t.Errorf("the answers differ from those of %s at byte %d:\n%.600q\n%.600q",
		record.column, at, text[from:], record.text[from:])
}

// everything reads until the connection ends.
func (c *client) everything() string {
	c.t.Helper()
	var all strings.Builder
	if _, err := c.r.WriteTo(&all); err != nil {
		c.t.Fatalf("%v after %q", err, all.String())
	}
	if !strings.HasPrefix(all.String(), "HTTP/1.1 ") {
		c.t.Fatalf("the answer is %.100q", all.String())
	}
	return all.String()
}

var changing = regexp.MustCompile(`(?m)^(Date: |ETag: |.*boundary=|--)[^\r\n]*\r$`)

func plain(text string) string { return changing.ReplaceAllString(text, "$1-") }
