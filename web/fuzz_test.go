package web_test

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "*": "*", "/a": "/a", "/a/": "/a/", "/a/b.c": "/a/b.c", "/a.": "/a.", "/a..b/...": "/a..b/...",
		"//": "/", "///a//b//": "/a/b/", "/.": "/", "/./": "/", "/a/.": "/a/", "/a/./b": "/a/b", "/a/..": "/",
		"/a/../": "/", "/a/b/..": "/a/", "/a/b/../..": "/", "/a/../b": "/b", "/a//../b": "/b", "/.a": "/.a",
		"/%61": "/a", "/%2E": "/", "/a/%2e%2E/b": "/b", "/%20%C3%A9": "/ \xc3\xa9", "/%25": "/%", "/%252e": "/%2e",
		"/%2f": "/\x00", "/a%2Fb/c": "/a\x00b/c", "/a%2f%2F": "/a\x00\x00", "/a%2F...": "/a\x00...",
		"/a%5Cb": "/a\\b", "/a\\..\\b": "/a\\..\\b", "/%3f%23": "/?#",
	} {
		if got, ok := web.Normalize(nil, []byte(in)); string(got) != want || !ok {
			t.Errorf("%s: %q, %v, not %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "a", "**", "/..", "/../", "/../a", "/a/../..", "/a/../../b", "/%2e%2e", "/.%2e/x", "//..", "/%", "/%2", "/%g0",
		"/%0g", "/%00", "/a/%2f..", "/..%2Fetc", "/a%2f..%2fb", "/a/.%2fb", "/%2e%2e%2fb", "/a%2f%2E",
	} {
		if got, ok := web.Normalize(nil, []byte(in)); ok {
			t.Errorf("%s: %q", in, got)
		}
	}
}

// FuzzPath checks that a path which is accepted has one spelling: it stays in the root, has no dot segment and no empty
// one, is the same when it is normalised once more, and what package path makes of it.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b/./c//d/", "/%2e%2e/%61", "/a/..%2f", "*", "/...", "/a%00", "/%2e/%2e%2e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		dst := []byte("kept")
		got, ok := web.Normalize(dst, in)
		if !bytes.Equal(in, before) || string(dst) != "kept" {
			t.Fatal("the arguments were changed")
		}
		if !ok || string(got) == "*" {
			return
		}
		s := strings.TrimPrefix(string(got), "kept")
		clean := path.Clean(s)
		if clean != "/" && strings.HasSuffix(s, "/") {
			clean += "/"
		}
		if s == "" || s[0] != '/' || s != clean {
			t.Fatalf("%q became %q", in, s)
		}
		for part := range strings.SplitSeq(strings.ReplaceAll(s, "\x00", "/"), "/") {
			if part == "." || part == ".." {
				t.Fatalf("%q became %q, which whoever takes an encoded slash for a separator reads otherwise", in, s)
			}
		}
		escaped := web.EscapePath(nil, []byte(s))
		again, ok := web.Normalize(nil, escaped)
		if !ok || string(again) != s {
			t.Fatalf("%q, escaped as %q, became %q", s, escaped, again)
		}
		for _, c := range escaped {
			if c <= ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' {
				t.Fatalf("%q in %q", c, escaped)
			}
		}
	})
}

// answering answers each request in the way its path asks for: a number that it repeats, and a letter for the way.
// With soon, no answer waits for a turn in which content may turn out to be broken.
func answering(soon bool) web.Handler {
	later := func(x *web.Exchange, f func()) {
		if soon {
			f()
			return
		}
		x.Ref().Post(func(conn.Conn) { f() })
	}
	return web.HandlerFunc(func(x *web.Exchange) {
		body := bytes.Clone(x.Path())
		switch body[1] {
		case 'p':
			later(x, func() { x.Reply(body) })
		case 'c':
			x.Begin(-1)
			x.Write(body)
			later(x, x.End)
		case 'b':
			x.OnBody(func(_ []byte, done bool) {
				if done {
					x.Reply(body)
				}
			})
		case 'h':
			x.OnBody(func(_ []byte, done bool) {
				x.PauseBody()
				x.Ref().Post(func(conn.Conn) { x.ResumeBody() })
				if done {
					x.Reply(body)
				}
			})
		default:
			x.Reply(body)
		}
	})
}

// pipeline makes requests out of random bytes, one of each.
func pipeline(plan []byte) (in string, want []string) {
	for i, b := range plan {
		target := fmt.Sprintf("/%c%d", "pcbhr"[int(b)%5], i)
		want = append(want, target)
		switch size := int(b>>3) * 7; {
		case b%3 == 0:
			in += request("GET "+target, "")
		case b%3 == 1:
			in += request("POST "+target, strings.Repeat("x", size), fmt.Sprint("Content-Length: ", size))
		default:
			chunk := ""
			if size > 0 {
				chunk = fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("y", size))
			}
			in += request("PUT "+target, chunk+"0\r\n\r\n", "Transfer-Encoding: chunked")
		}
	}
	return in, want
}

// FuzzExchange feeds random pipelines in random pieces, with the peer reading or not and ending or not: each request
// gets its answer, in order, and nothing is left behind.
func FuzzExchange(f *testing.F) {
	f.Add([]byte("abcdefgh"), []byte{1, 30, 200}, false)
	f.Add([]byte{0, 1, 2, 3, 4, 250, 251, 252, 9}, []byte{255, 255, 255, 7}, true)
	f.Fuzz(func(t *testing.T, plan, cuts []byte, ends bool) {
		if len(plan) > 60 {
			return
		}
		in, want := pipeline(plan)
		s := &web.Server{Root: answering(false), Limits: web.Limits{OutputBytes: 500}}
		c := webtest.New(s.Handler())
		for i := 0; len(in) > 0; i++ {
			n := len(in)
			if i < len(cuts) {
				n = min(n, 1+int(cuts[i])*2)
				c.Stuck = cuts[i]&1 != 0
			}
			c.Receive([]byte(in[:n]))
			in = in[n:]
		}
		if ends {
			c.End()
		}
		c.Stuck = false
		c.Turn()
		answers, err := webtest.Read(c.Sent, make([]string, len(want))...)
		if err != nil {
			t.Fatalf("%v in %q", err, c.Sent)
		}
		for i, a := range answers {
			if a.StatusCode != 200 || a.Body != want[i] {
				t.Fatalf("answer %d: %d %q, not %q", i, a.StatusCode, a.Body, want[i])
			}
		}
		if ends != (c.State() == conn.Closed) || c.Attached() != nil {
			t.Fatalf("%v, attached %v", c.State(), c.Attached())
		}
	})
}

// FuzzBytes feeds anything in two pieces: whatever it is, what comes back is answers, the same as when it comes whole.
func FuzzBytes(f *testing.F) {
	for _, e := range slices.Concat(exchanges(), closings(), refusals()) {
		f.Add([]byte(e.in), 10)
	}
	h := (&web.Server{Root: answering(true), Limits: web.Limits{BodyBytes: 1000, HeadBytes: 2000}}).Handler()
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if len(in) > 10_000 {
			return
		}
		cut = min(max(cut, 0), len(in))
		whole, parts := webtest.New(h), webtest.New(h)
		whole.Receive(in)
		parts.Receive(in[:cut])
		parts.Receive(in[cut:])
		for _, c := range []*webtest.Conn{whole, parts} {
			c.Sent = bytes.ReplaceAll(c.Sent, []byte("HTTP/1.1 100 Continue\r\n\r\n"), nil)
			c.Sent = bytes.ReplaceAll(c.Sent, []byte("Connection: close\r\n"), nil)
		}
		if !bytes.Equal(whole.Sent, parts.Sent) {
			t.Fatalf("whole %q, in parts %q", whole.Sent, parts.Sent)
		}
		whole.End()
		parts.End()
		if whole.State() != conn.Closed || parts.State() != conn.Closed {
			t.Fatalf("%v, %v", whole.State(), parts.State())
		}
	})
}
