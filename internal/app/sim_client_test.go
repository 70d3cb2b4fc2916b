package app

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/myriad-server/myriad/driver/sim"
)

// dateBytes is the length of the date of a Date field.
const dateBytes = len(http.TimeFormat)

// simClient makes requests and wants the answers, in order and byte for byte.
type simClient struct {
	site    *site
	asked   []*want // whose answers have not come whole
	plan    []*want // not yet begun to be sent
	out     []byte
	at      int  // bytes of the first answer that have come
	closing bool // the first answer says that it is the last
	answers int
	depth   int // requests under way at one time
	slow    bool
	split   bool   // sends in small pieces
	quit    int    // steps until it leaves without a word; 0: it does not
	rude    bool   // what it sends is garbage behind the last request
	stall   bool   // sends half a request at the end, or nothing, and waits to be sent away
	patient bool   // has made its half request
	tail    []byte // what came behind the answers, when it is rude or stalls
	next    time.Duration
	over    bool
	buffer  [8192]byte
}

// newClient draws a client.
func (s *site) newClient() *simClient {
	r := s.rand
	c := &simClient{
		site: s, depth: 1 + r.IntN(1<<r.IntN(4)), slow: r.IntN(6) == 0, split: r.IntN(3) == 0,
		rude: r.IntN(8) == 0, stall: r.IntN(8) == 0,
	}
	if r.IntN(8) == 0 {
		c.quit = 1 + r.IntN(40)
	}
	few := len(s.wanted.list)
	for range r.IntN(1 << r.IntN(5)) {
		c.plan = append(c.plan, &s.wanted.list[r.IntN(few)])
	}
	return c
}

// Step sends and reads.
func (c *simClient) Step(p *sim.Peer) {
	if c.over {
		return
	}
	if p.Now() >= c.next {
		c.send(p)
		c.read(p)
		if pause := time.Duration(p.Rand().IntN(3e6)); c.slow {
			c.next = p.Now() + pause
		}
	}
	if c.quit > 0 {
		if c.quit--; c.quit == 0 {
			p.Reset()
			c.over = true
		}
	}
	if c.over {
		c.site.finished()
		return
	}
	pause := 10 * time.Second
	if len(c.out) > 0 || len(c.plan) > 0 || c.slow || c.quit > 0 {
		pause = time.Duration(1 + p.Rand().IntN(2e6))
	}
	p.After(max(pause, c.next-p.Now()))
}

// send writes some of what is to be sent, after thinking of more.
func (c *simClient) send(p *sim.Peer) {
	r := p.Rand()
	for len(c.plan) > 0 && len(c.asked) < c.depth && (len(c.out) == 0 || r.IntN(4) > 0) {
		c.out = append(c.out, c.plan[0].request...)
		c.asked = append(c.asked, c.plan[0])
		c.plan = c.plan[1:]
	}
	if len(c.plan) == 0 && len(c.asked) == 0 && len(c.out) == 0 && !c.patient {
		c.patient = true
		switch {
		case c.rude:
			c.out = append(c.out, garbage[r.IntN(len(garbage))]...)
		case c.stall && r.IntN(2) == 0:
			c.out = append(c.out, "GET /fixed HTTP/1.1\r\nHos"...)
		case !c.stall:
			p.CloseWrite()
		}
	}
	for len(c.out) > 0 {
		n := len(c.out)
		if c.split {
			n = 1 + r.IntN(min(n, 1<<r.IntN(10)))
		}
		n, err := p.Write(c.out[:n])
		c.out = c.out[n:]
		if n == 0 || err != nil || c.split && r.IntN(2) == 0 {
			return
		}
	}
}

// garbage is what no server can answer but with a refusal.
var garbage = []string{
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET\r\n\r\n", "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "\x00\x00\x00\x00\r\n\r\n",
	"GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}

// read takes what has come.
func (c *simClient) read(p *sim.Peer) {
	for {
		n := len(c.buffer)
		if c.slow {
			n = 1 + p.Rand().IntN(2000)
		}
		n, err := p.Read(c.buffer[:n])
		c.check(p, c.buffer[:n])
		if err != nil {
			c.end(p, err)
			p.Close()
			c.over = true
		}
		if n == 0 || c.over || c.slow {
			return
		}
	}
}

// check compares bytes with the answers that must come.
func (c *simClient) check(p *sim.Peer, b []byte) {
	for len(b) > 0 && len(c.asked) > 0 && len(c.tail) == 0 {
		w := c.asked[0]
		if c.at == 0 && c.refused(b) {
			break
		}
		if c.at <= w.parting && c.at+len(b) > w.parting {
			c.closing = c.site.stopped && b[w.parting-c.at] == w.closing[w.parting]
		}
		answer := w.answer
		if c.closing {
			answer = w.closing
		}
		n := min(len(b), len(answer)-c.at)
		for i := range n {
			if at := c.at + i; b[i] != answer[at] && (at < w.date || at >= w.date+dateBytes) {
				p.Fail("connection %d, answer %d, to %.30q: byte %d is %q instead of %q", p.Number, c.answers, w.request,
					at, b[i:min(len(b), i+40)], answer[at:min(len(answer), at+40)])
				return
			}
		}
		b = b[n:]
		if c.at += n; c.at == len(answer) {
			c.at, c.closing = 0, false
			c.answers++
			c.asked = c.asked[1:]
		}
	}
	c.tail = append(c.tail, b...)
}

// refused tells whether a late request was refused in place of an answer, which time jumps can cause.
func (c *simClient) refused(b []byte) bool {
	return c.site.lossy && bytes.HasPrefix(b, []byte("HTTP/1.1 408"))
}

// end judges the end of the connection.
func (c *simClient) end(p *sim.Peer, err error) {
	tail := string(c.tail)
	switch {
	case tail != "" && !c.rude && !c.stall && !c.site.lossy:
		p.Fail("connection %d: %.200q behind the last answer", p.Number, tail)
	case tail != "" && !strings.HasPrefix(tail, "HTTP/1.1 4") && !strings.HasPrefix(tail, "HTTP/1.1 5"):
		p.Fail("connection %d: %.200q is no refusal", p.Number, tail)
	case c.rude && c.patient && len(c.out) == 0 && tail == "" && !c.site.stopped && !c.site.lossy:
		p.Fail("connection %d: garbage was not refused, but ended with %v", p.Number, err)
	case c.site.lossy:
	case c.site.stopped && (err == io.EOF || !p.Connected()) && c.at == 0:
		// What was under way at the stop may be answered or not; but no answer is cut short.
	case err != io.EOF && !(c.rude && c.patient):
		p.Fail("connection %d: %v after %d answers", p.Number, err, c.answers)
	case c.at > 0 || len(c.asked)+len(c.plan) > 0:
		p.Fail("connection %d: the end after %d answers and %d bytes; %d are missing", p.Number, c.answers, c.at,
			len(c.asked)+len(c.plan))
	}
}
