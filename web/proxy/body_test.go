package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web/proxy"
)

// TestUpload is a client that sends more than the upstream takes.
func TestUpload(t *testing.T) {
	const size = 1 << 20
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprint("chunked ", chunked), func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint)
			r.dialer.Stuck = true
			head := lines("PUT / HTTP/1.1", "Host: a", fmt.Sprint("Content-Length: ", size))
			if chunked {
				head = lines("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")
			}
			r.send(head)
			sent := 0
			for sent < size {
				piece := strings.Repeat("x", 8<<10)
				sent += len(piece)
				if chunked {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				r.send(piece)
				if queued := r.upstream(0).Queued(); queued > 300<<10 {
					t.Fatalf("%d bytes are queued for the upstream", queued)
				}
			}
			if !r.client.Paused {
				t.Fatal("the client is read although the upstream takes nothing")
			}
			if chunked {
				r.send("0\r\n\r\n")
			}
			r.upstream(0).Stuck = false
			r.turn()
			got := r.asked(0)
			if n := strings.Count(got, "x"); n != size {
				t.Errorf("the upstream got %d bytes", n)
			}
			if chunked != strings.HasSuffix(got, "\r\n0\r\n\r\n") {
				t.Errorf("it ends with %q", got[len(got)-10:])
			}
			r.answer(hello)
			if got := r.sent(); got != hello || r.client.State() != conn.Open {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// TestDownload is an upstream that sends more than the client takes.
func TestDownload(t *testing.T) {
	const size = 1 << 20
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprint("chunked ", chunked), func(t *testing.T) {
			r := newRig(t, plain, oneEndpoint)
			r.client.Stuck = true
			r.send(get)
			if chunked {
				r.answer(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
			} else {
				r.answer(lines("HTTP/1.1 200 OK", fmt.Sprint("Content-Length: ", size)))
			}
			for sent := 0; sent < size; sent += 8 << 10 {
				piece := strings.Repeat("x", 8<<10)
				if chunked {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				r.answer(piece)
				if queued := r.client.Queued(); queued > 300<<10 {
					t.Fatalf("%d bytes are queued for the client", queued)
				}
			}
			if chunked {
				r.answer("0\r\n\r\n")
			}
			if !r.upstream(0).Paused {
				t.Fatal("the upstream is read although the client takes nothing")
			}
			r.client.Stuck = false
			for range 10 {
				r.turn()
			}
			_, _, body, err := r.status("GET")
			if n := strings.Count(body, "x"); n != size || err != nil {
				t.Errorf("the client got %d bytes, %v", n, err)
			}
			if r.upstream(0).Paused {
				t.Error("the link is still paused")
			}
			r.sent()
			r.send(get)
			if len(r.dialer.Conns) != 1 {
				t.Error("the link was not used again")
			}
		})
	}
}

// TestEarlyAnswer is an upstream that answers before it has all of the request.
func TestEarlyAnswer(t *testing.T) {
	t.Run("a whole answer", func(t *testing.T) {
		r := newRig(t, plain, oneEndpoint)
		r.send(lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 10") + "abc")
		r.answer(hello)
		if got := r.sent(); got != hello {
			t.Fatalf("the client got %q", got)
		}
		if state := r.upstream(0).State(); state < conn.Draining {
			t.Errorf("the link, which has half a request, is %v", state)
		}
		r.send("defghij" + get) // the rest is thrown away, and the next request is another
		r.answer(hello)
		if got, asked := r.sent(), r.asked(1); got != hello || !strings.HasPrefix(asked, "GET / ") {
			t.Errorf("the next answer is %q, to %q", got, asked)
		}
	})
	t.Run("both ways at a time", func(t *testing.T) {
		r := newRig(t, plain, oneEndpoint)
		r.send(lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 6") + "abc")
		r.asked(0)
		r.answer(lines("HTTP/1.1 200 OK", dateIs, "Content-Length: 6") + "abc")
		r.send("def")
		if got := r.asked(0); got != "def" {
			t.Errorf("the upstream got %q", got)
		}
		r.answer("def")
		if got := r.sent(); !strings.HasSuffix(got, "\r\n\r\nabcdef") || r.client.State() != conn.Open {
			t.Errorf("the client got %q", got)
		}
		r.send(get)
		if len(r.dialer.Conns) != 1 {
			t.Error("the link was not used again")
		}
	})
	t.Run("much is left", func(t *testing.T) {
		r := newRig(t, plain, oneEndpoint)
		r.send(lines("PUT / HTTP/1.1", "Host: a", "Content-Length: 1000000") + "abc")
		r.answer(hello)
		if status, _, body, err := r.status("PUT"); status != 200 || body != "hello" || err != nil {
			t.Errorf("the client got %d %q, %v", status, body, err)
		}
		r.client.End()
		r.turn()
		if r.client.State() != conn.Closed {
			t.Errorf("the connection is %v", r.client.State())
		}
	})
}

// TestPipelined is requests that come together: the answers go out in order, one exchange at a time.
func TestPipelined(t *testing.T) {
	r := newRig(t, plain, oneEndpoint, with(func(o *proxy.Options) { o.Name = "p" }))
	r.send(strings.Replace(get, "/", "/1", 1) + strings.Replace(get, "/", "/2", 1) + strings.Replace(get, "/", "/3", 1))
	for i := range 3 {
		want := fmt.Sprintf("GET /%d ", i+1)
		if got := r.asked(0); !strings.HasPrefix(got, want) || strings.Count(got, "GET") != 1 {
			t.Fatalf("the upstream got %q", got)
		}
		r.answer(hello)
	}
	if got := r.sent(); got != hello+hello+hello {
		t.Errorf("the client got %q", got)
	}
}
