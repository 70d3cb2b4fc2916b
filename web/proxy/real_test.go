package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// echo answers with the method, the target and the content's hash, in the framing that the query asks for.
func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	size, _ := strconv.Atoi(r.URL.Query().Get("size"))
	text := fmt.Sprintf("%s %s %d %x %s\n", r.Method, r.URL.Path, n, sum.Sum(nil), r.Trailer.Get("X-Sum"))
	text += strings.Repeat("0123456789abcdef", size/16)
	if r.URL.Query().Get("chunked") != "" {
		w.Header().Set("Trailer", "X-Done")
		for i := 0; i < len(text); i += 50_000 {
			_, _ = io.WriteString(w, text[i:min(len(text), i+50_000)])
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Done", "yes")
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = io.WriteString(w, text)
}

// content is a body that is not known to have a length, and of an odd one.
type content struct{ io.Reader }

// TestReal sends requests of all shapes, many at a time, over every driver.
func TestReal(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		_, a := serve(t, echo)
		h := build(t, f, 1, nil, a, serveUnix(t, echo))
		c := client(t)
		var group sync.WaitGroup
		for worker := range 8 {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(worker), 1))
				for i := range 20 {
					if err := one(c, h.url, random); err != nil {
						t.Errorf("worker %d, request %d: %v", worker, i, err)
						return
					}
				}
			})
		}
		group.Wait()
		if causes := h.causes(); len(causes) > 0 {
			t.Errorf("the log was told %v", causes)
		}
	})
}

// one sends a request and checks the answer.
func one(c *http.Client, url string, random *rand.Rand) error {
	sizes := []int{0, 1, 100, 20_000, 300_000}
	size, back := sizes[random.IntN(len(sizes))], sizes[random.IntN(len(sizes))]/16*16
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(random.Uint32())
	}
	method := []string{"GET", "PUT", "POST", "PATCH"}[random.IntN(4)]
	var from io.Reader = bytes.NewReader(body)
	chunked := random.IntN(2) == 0
	trailer := ""
	if method == "GET" {
		from, size = nil, 0
		body = nil
	} else if chunked {
		from = content{from}
	}
	target := fmt.Sprintf("%s/%s?size=%d", url, method, back)
	if random.IntN(2) == 0 {
		target += "&chunked=1"
	}
	r, err := http.NewRequest(method, target, from)
	if err != nil {
		return err
	}
	if size > 0 && chunked {
		trailer = "7"
		r.Trailer = http.Header{"X-Sum": {trailer}}
	}
	response, err := c.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s /%s %d %x %s\n", method, method, size, sha256.Sum256(body), trailer)
	if response.StatusCode != 200 || !strings.HasPrefix(string(got), want) || len(got) != len(want)+back {
		return fmt.Errorf("%s: %s and %d bytes, %.200q, not %q", target, response.Status, len(got), got, want)
	}
	if strings.Contains(target, "chunked") && response.Trailer.Get("X-Done") != "yes" {
		return fmt.Errorf("the trailers are %v", response.Trailer)
	}
	return nil
}

// TestRealTunnel echoes through upgraded connections, over every driver.
func TestRealTunnel(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		_, address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			c, in, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			_, _ = io.Copy(c, in) // until the client's end, which is passed on
		})
		h := build(t, f, 1, nil, address)
		c := h.dial()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		in := bufio.NewReader(c)
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != 101 {
			t.Fatalf("%v, %v", response, err)
		}
		const size = 4 << 20
		sum := sha256.New()
		go func() {
			random := rand.NewChaCha8([32]byte{})
			_, _ = io.CopyN(io.MultiWriter(c, sum), random, size)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		back := sha256.New()
		n, err := io.Copy(back, in)
		if n != size || err != nil || !bytes.Equal(back.Sum(nil), sum.Sum(nil)) {
			t.Errorf("%d bytes came back, %v", n, err)
		}
	})
}

// TestRealStale has an upstream that closes its connections after one to three requests, without a word: no request
// that may be repeated fails.
func TestRealStale(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			address := forgetful(t)
			h := build(t, epoll.Factory, loops, func(o *proxy.Options, _ *upstream.Options, _ *web.Server) {
				o.Attempts = -1 // nothing but stale links may be replaced
			}, address)
			c := client(t)
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					for range 250 {
						response, err := c.Get(h.url)
						if err != nil {
							t.Error(err)
							return
						}
						if _, err = io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
							t.Errorf("%s, %v", response.Status, err)
						}
						response.Body.Close()
					}
				})
			}
			group.Wait()
			if causes := h.causes(); len(causes) > 0 {
				t.Errorf("the log was told %v", causes)
			}
		})
	}
}

// forgetful is a server that closes each connection right behind its first, second or third answer, some with a reset.
func forgetful(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for range 1 + n%3 {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, hello)
				}
				if n%5 == 0 {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestRealSlowClient takes a large answer slowly: the loop holds little of it.
func TestRealSlowClient(t *testing.T) {
	const size = 32 << 20
	_, address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		block := make([]byte, 64<<10)
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	h := build(t, epoll.Factory, 1, nil, address)
	c := h.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	most, total := 0, 0
	block := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(c, block)
		if total += n; err != nil {
			break
		}
		most = max(most, h.lent())
	}
	if total < size {
		t.Errorf("%d bytes came", total)
	}
	if most > 64 {
		t.Errorf("the loop held %d blocks of 16 KiB", most)
	}
}
