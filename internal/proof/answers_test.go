package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/faults"
)

const (
	injected = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nINJECTED"
	okLine   = "HTTP/1.1 200 OK\r\n"
	okChunks = okLine + "Transfer-Encoding: chunked\r\n\r\n"
)

// ambiguousAnswers are answers of which clients have been known to find different ends. Each is followed by bytes that
// could be taken for the answer to the next request.
func ambiguousAnswers() (all []string) {
	add := func(format string, values ...string) {
		for _, value := range values {
			all = append(all, strings.ReplaceAll(format, "VALUE", value))
		}
	}
	add("VALUE\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1  200 OK", "HTTP/1.1 200  OK", "HTTP/1.1\t200 OK", "http/1.1 200 OK",
		"HTTP/1.2 200 OK", "HTTP/2 200 OK", "HTTP/1.10 200 OK", "HTTP/1.1 0200 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 999 OK",
		"HTTP/1.1 099 OK", "HTTP/1.1 200\x00OK", "HTTP/1.1 200 O\rK",
		" HTTP/1.1 200 OK", "\r\nHTTP/1.1 200 OK", "ICY 200 OK",
		"HTTP/1.1 200 \xff\xfe", "HTTP/1.1 200OK", "HTTP/1.0 200 OK", "HTTP/0.9 200 OK", "200 OK", "HTTP/1.1 200 O\nK",
		"HTTP/1.1 304 Not Modified", "HTTP/1.1 204 No Content", "HTTP/1.1 205 Reset Content", "HTTP/1.1 199 Unknown",
		"HTTP/1.1 100 Continue", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 103 Early Hints", "HTTP/1.1 600 Much",
	)
	add(okLine+"Content-Length: VALUE\r\n\r\nabcde",
		"+5", "-5", "5 5", "5, 5", "5,5", "5,6", "0x5", "5.0", "5;", "5a", "",
		"99999999999999999999", "18446744073709551621",
		"5\x00", "5\x0b", "'5'", "05", "5\r\nContent-Length: 5", "5\r\nContent-Length: 6", "5\r\n 5", "5\rX: y", "5\nX: y",
	)
	add(okLine+"Transfer-Encoding: VALUE\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"xchunked", "chunked, identity", "identity", "identity, chunked", "chunked, chunked", "gzip, chunked", "chunked;q=1",
		"\"chunked\"", "chunked\x0b", "\x0bchunked", "chunked\x00", "", ",",
		"chunked,", ",chunked", "cow", "CHUNKED", "chunked ",
		"chunked\r\nTransfer-Encoding: chunked", "chunked\r\nContent-Length: 5", "\r\n chunked", "chunked\nX: y",
	)
	add(okLine+"VALUE\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding : chunked", " Transfer-Encoding: chunked",
		"Transfer-Encoding\x00: chunked", "X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked",
		"Transfer_Encoding: chunked\r\nContent-Length: 15", "Transfer-Encoding", "Content-Length : 15", "Content-Length 15",
		": y", "X", "\x0bX: y", "X Y: z", "Content-Length: 15\r\nConnection: Content-Length",
		"X: \x00\r\nContent-Length: 15",
		"Content-Length: 15\r\nConnection: close, keep-alive", "Content-Length: 15\r\nUpgrade: h2c\r\nConnection: Upgrade",
	)
	add(okChunks+"VALUE\r\nabcde\r\n0\r\n\r\n",
		"0x5", "+5", "-5", " 5", "5 ", "05", "5;a=b", "5;a\nb", "5g", "",
		"fffffffffffffffff5", "8000000000000000", "5\n", "5\r", "5_",
		"00000000000000000000005", "5;\x00", "5\r\n ",
	)
	add(okChunks+"5\r\nabcdeVALUE",
		"0\r\n\r\n", "\n0\r\n\r\n", "\r0\r\n\r\n", "f\r\n0\r\n\r\n", "\r\n0\n\r\n", "\r\n0\r\n\n",
		"\r\n0x0\r\n\r\n", "\r\n0\r\nX\r\n\r\n", "\r\n0\r\n X: y\r\n\r\n", "\r\n0\r\nContent-Length: 5\r\n\r\n",
		"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", "\r\n0\r\nX: y\r\n\r\n", "\r\n0\r\nX: \x00\r\n\r\n", "\r\n-0\r\n\r\n",
		"\r\n000\r\n\r\n", "\r\n0\r\nSet-Cookie: a=b\r\n\r\n", "\r\n")
	return all
}

// TestAmbiguousAnswers lets an upstream give ambiguous answers to a GET and a HEAD. Whatever the client gets of them,
// the answers to its next requests must be those to them, and what stands behind an answer must be thrown away with
// the connection that it came on.
func TestAmbiguousAnswers(t *testing.T) {
	answers := ambiguousAnswers()
	s := upstreamOf(t, faults.Options{Answer: func(r *faults.Request) faults.Script {
		var n int
		if _, err := fmt.Sscanf(r.Target, "/answer/%d", &n); err != nil {
			return faults.ByName(r)
		}
		return faults.Script{faults.ReadBody(), faults.Send(answers[n] + injected)}
	}})
	p := start(t, []string{s.Address()}, append(shortTimes, "upstreams.u.retries.attempts=off")...)
	passed := 0
	for n, text := range answers {
		for _, method := range []string{"GET", "HEAD"} {
			c := p.dial()
			_ = c.SetDeadline(time.Now().Add(patience))
			c.send(fmt.Sprintf("%s /answer/%d HTTP/1.1\r\nHost: proof\r\n\r\n", method, n))
			a, err := c.answer(method)
			for err == nil && a.StatusCode < 200 {
				a, err = c.answer(method)
			}
			if err == nil && a.StatusCode == 200 {
				passed++
			}
			if err != nil || a.broken != nil || a.Close {
				_ = c.Close()
				c = p.dial()
			}
			for k := range 2 {
				target := fmt.Sprintf("/after/%d/%d", n, k)
				c.send("GET " + target + " HTTP/1.1\r\nHost: proof\r\n\r\n")
				a, err := c.answer("GET")
				for err == nil && a.StatusCode == 504 { // a busy machine has kept it for as long as the short times
					c.send("GET " + target + " HTTP/1.1\r\nHost: proof\r\n\r\n")
					a, err = c.answer("GET")
				}
				if err != nil || a.broken != nil || a.content != "GET "+target+" 0\n" {
					t.Fatalf("after %s of %q: %v, %+v", method, text, err, a)
				}
			}
			_ = c.Close()
		}
	}
	p.returned()
	p.stop()
	t.Logf("%d answers to two methods, %d of them passed on", len(answers), passed)
}
