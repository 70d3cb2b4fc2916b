package matrix

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
)

// bodies is the content of requests, given to a handler and left alone.
var bodies = []behaviour{
	{name: "the end behind content", check: endsBehindContent},
	{name: "content by length", check: contentByLength},
	{name: "content in chunks", check: contentInChunks},
	{name: "content in odd pieces", check: contentInPieces},
	{name: "trailers", check: trailers},
	{name: "content streamed both ways", check: contentStreamed},
	{name: "content that nobody wants", check: contentUnwanted},
	{name: "Expect 100-continue", check: expectContinue},
	{name: "Expect without a taker", check: expectUnwanted},
	{
		name:  "Expect something else",
		check: refuses(417, request("POST", "/posted", "Expect: miracles", "Content-Length: 0")),
	},
}

// collect answers with the content that it was sent, and then with the trailers, one on each line.
func collect(x *web.Exchange) {
	var all []byte
	x.OnBody(func(chunk []byte, done bool) {
		all = append(all, chunk...)
		if !done {
			return
		}
		for i := range x.Trailers() {
			name, value := x.TrailerAt(i)
			all = fmt.Appendf(all, "\n%s=%s", name, value)
		}
		x.Reply(all)
	})
}

// stream sends content back as it comes, and lets the client wait when it does not read.
func stream(x *web.Exchange) {
	x.Begin(-1)
	x.OnFlushed(x.ResumeBody)
	x.OnBody(func(chunk []byte, done bool) {
		x.Write(chunk)
		switch {
		case done:
			x.End()
		case x.Conn().Queued() > 64<<10:
			x.PauseBody()
		}
	})
}

// inChunks is content as chunks of the given sizes, over and over.
func inChunks(body []byte, sizes ...int) string {
	var b strings.Builder
	for i := 0; len(body) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(body))
		fmt.Fprintf(&b, "%X\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n"
}

func contentByLength(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)}).dial()
	for _, n := range []int{0, 1, 1000, 16 << 10, 16<<10 + 1, 300_000} {
		body := content(byte(n), n)
		c.send(request("POST", "/", fmt.Sprint("Content-Length: ", n)) + string(body))
		c.answer("POST").want(200).wantBody(body)
	}
}

func contentInChunks(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)}).dial()
	for _, n := range []int{0, 1, 1000, 100_000} {
		body := content(byte(n), n)
		c.send(request("POST", "/", "Transfer-Encoding: chunked") + inChunks(body, 1, 17, 4096, 15, 16) + "\r\n")
		c.answer("POST").want(200).wantBody(body)
	}
}

// contentInPieces splits a request at every place, in two.
func contentInPieces(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)}).dial()
	body := content(7, 40)
	for _, text := range []string{
		request("POST", "/", "Transfer-Encoding: chunked") + inChunks(body, 3, 16) + "A: b\r\n\r\n",
		request("POST", "/", "Content-Length: 40") + string(body),
	} {
		for at := 1; at < len(text); at += 3 {
			c.send(text[:at])
			c.send(text[at:] + text[:at])
			c.send(text[at:])
			for range 2 {
				if a := c.answer("POST").want(200); !bytes.HasPrefix(a.body, body) {
					t.Fatalf("split at %d: %q", at, a.body)
				}
			}
		}
	}
}

func trailers(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)}).dial()
	for range 2 {
		c.send(request("POST", "/", "Transfer-Encoding: chunked", "Trailer: X-Sum") +
			"5;name=value\r\nabcde\r\n0\r\nX-Sum: 12\r\nX-Last: yes\r\n\r\n")
		c.answer("POST").want(200).wantBody([]byte("abcde\nX-Sum=12\nX-Last=yes"))
	}
}

func contentStreamed(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(stream), Limits: web.Limits{BodyBytes: largeBytes}}).dial()
	body := content(4, 2<<20)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c.Conn, request("POST", "/", "Transfer-Encoding: chunked")+
			inChunks(body, 100_000, 1, 5000)+"\r\n")
		sent <- err
	}()
	c.answer("POST").want(200).wantBody(body)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	c.send(request("GET", "/"))
	c.answer("GET").want(200).wantBody(nil)
}

// contentUnwanted is passed over, so that the next request is found behind it.
func contentUnwanted(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	for range 3 {
		c.send(request("POST", "/posted", "Content-Length: 100000") + string(content(5, 100_000)))
		c.answer("POST").want(200).wantBody([]byte("posted"))
		c.send(request("PUT", "/posted", "Transfer-Encoding: chunked") + inChunks(content(6, 5000), 999) + "A: b\r\n\r\n")
		c.answer("PUT").want(200).wantBody([]byte("posted"))
	}
	c.get("/hello").want(200).wantBody(hello).wantField("Connection", "")
	_ = c.Close()

	// What is too much to be passed over ends the connection, behind the answer.
	c = v.dial()
	c.send(request("POST", "/posted", "Content-Length: 1000000") + string(content(5, 1_000_000)) + smuggled)
	c.answer("POST").want(200).wantField("Connection", "close")
	c.halfClose()
	c.wantEnd()
}

func expectContinue(t *testing.T, s *suite) {
	c := s.serve(t, &web.Server{Root: web.HandlerFunc(collect)}).dial()
	for range 2 {
		c.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
		interim, err := c.readHead()
		if err != nil || interim.head != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("%v: %+v", err, interim)
		}
		c.silent(10 * time.Millisecond)
		c.send("abcde")
		c.answer("POST").want(200).wantBody([]byte("abcde"))
	}
	// A client that does not wait needs no word.
	c.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5") + "abcde")
	c.answer("POST").want(200).wantBody([]byte("abcde"))
}

// expectUnwanted answers at once. Whether the content comes is then open, so the connection ends.
func expectUnwanted(t *testing.T, s *suite) {
	c := s.start(t).dial()
	c.send(request("POST", "/posted", "Expect: 100-continue", "Content-Length: 5"))
	c.answer("POST").want(200).wantBody([]byte("posted")).wantField("Connection", "close")
	c.halfClose()
	c.wantEnd()
}

// endsBehindContent wants the end of the connection right behind the last answer, and not after the time for which the
// server goes on reading: that is far longer than anything here may take.
func endsBehindContent(t *testing.T, s *suite) {
	const closes = "POST /posted HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	v := s.start(t, "timeouts.linger=1m", "limits.body=1KiB", "limits.target=1KiB", "limits.head=2KiB")
	for name, pieces := range map[string][]string{
		"with the head":       {closes + "Content-Length: 3\r\n\r\nabc"},
		"behind the head":     {closes + "Content-Length: 3\r\n\r\n", "abc"},
		"in chunks":           {closes + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		"in pieces of chunks": {closes + "Transfer-Encoding: chunked\r\n\r\n3\r", "\nabc\r\n0\r", "\n\r\n"},
		"that does not come":  {closes + "Content-Length: 3\r\n\r\n"},
		"by HTTP/1.0":         {"POST /posted HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"},
		"malformed":           {closes + "Transfer-Encoding: chunked\r\n\r\nx\r\n"},
		"no host":             {"GET /hello HTTP/1.1\r\n\r\n"},
		"too large":           {closes + "Content-Length: 3000\r\n\r\n" + strings.Repeat("a", 3000)},
		"too long":            {"GET /" + strings.Repeat("a", 1500) + " HTTP/1.1\r\nHost: a\r\n\r\n"},
		"head too large":      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 3000) + "\r\n\r\n"},
	} {
		c := v.dial()
		for _, piece := range pieces {
			c.send(piece)
		}
		a := c.answer("POST")
		if a.field("Connection") != "close" {
			t.Errorf("content %s: %q", name, a.head)
		}
		if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
			t.Errorf("content %s: %q and %v behind the answer; want the end", name, rest, err)
		}
		_ = c.Close()
	}
}
