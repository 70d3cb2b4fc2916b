package load

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/proto/http1"
)

// hypertext is the speech of HTTP/1.1.
type hypertext struct {
	w        *worker
	plan     *Plan
	method   http1.Method
	requests []byte   // Pipeline of them
	one      int      // bytes of a request
	last     [][]byte // the last request of a connection
	spare    []*answer
	limits   http1.Limits
}

// answer reads an answer. A client has one only while an answer is on its way.
type answer struct {
	head    http1.Response
	body    http1.BodyDecoder
	held    []byte // of a head that is not complete
	inBody  bool
	counted int  // bytes of content so far
	wrong   bool // content that is not as expected
}

func (h *hypertext) prepare(w *worker) (err error) {
	h.w = w
	h.limits = http1.DefaultLimits()
	h.limits.HeadBytes = 64 << 10
	r := &h.plan.Request
	h.method = methodOf(r.Method)
	first, last := h.compose(false), h.compose(true)
	if len(first) > 1<<24 {
		return errors.New("a request of more than 16 MiB")
	}
	h.one = len(first)
	pipeline := h.plan.Pipeline
	if w.memory, err = sys.Map(h.one*pipeline + len(last)); err != nil {
		return err
	}
	for i := range pipeline {
		copy(w.memory[i*h.one:], first)
	}
	h.requests = w.memory[:h.one*pipeline]
	end := w.memory[h.one*pipeline:][:copy(w.memory[h.one*pipeline:], last)]
	h.last = [][]byte{end}
	return nil
}

// compose writes a request.
func (h *hypertext) compose(last bool) []byte {
	r := &h.plan.Request
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, h.plan.Target.URI)
	has := func(name string) bool {
		for _, line := range r.Headers {
			if n, _, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	if !has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", h.plan.Target.Host)
	}
	for _, line := range r.Headers {
		b.WriteString(line + "\r\n")
	}
	if (len(r.Body) > 0 || r.Method == "POST" || r.Method == "PUT") && !has("Content-Length") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	if last && !has("Connection") {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(r.Body)
	return b.Bytes()
}

// methodOf finds the method that decides how an answer is read.
func methodOf(name string) http1.Method {
	switch name {
	case "HEAD":
		return http1.HEAD
	case "CONNECT":
		return http1.CONNECT
	}
	return http1.GET
}

func (h *hypertext) request(_ *client, n int, last bool) ([]byte, [][]byte) {
	switch {
	case !last:
		return h.requests[:n*h.one], nil
	case n == 1:
		return h.last[0], nil
	}
	return h.requests[:(n-1)*h.one], h.last
}

func (h *hypertext) received(c *client, in []byte) string {
	p := c.answer
	for len(in) > 0 {
		if c.flying == 0 {
			return causeUnasked
		}
		if p == nil {
			p = h.take()
			c.answer = p
		}
		if !p.inBody {
			rest, cause := h.parseHead(p, in)
			if cause != "" {
				return cause
			}
			if in = rest; !p.inBody {
				continue // an interim answer, or a head that is not complete
			}
		}
		done := false
		for !done {
			payload, used, over, err := p.body.Decode(in)
			if err != nil {
				return malformed(err)
			}
			h.check(p, payload)
			in, done = in[used:], over
			if used == 0 && !over {
				break
			}
		}
		if done {
			h.finish(c, p)
			p = nil
		}
	}
	return ""
}

// parseHead reads a head, or as much of it as there is, and returns what follows.
func (h *hypertext) parseHead(p *answer, in []byte) (rest []byte, cause string) {
	whole := in
	if len(p.held) > 0 {
		p.held = append(p.held, in...)
		whole = p.held
	}
	n, err := p.head.Parse(whole, h.method, &h.limits)
	switch {
	case err != nil:
		return nil, malformed(err)
	case n == 0:
		if len(p.held) == 0 {
			p.held = append(p.held, in...)
		}
		return nil, ""
	}
	rest = in[len(in)-(len(whole)-n):]
	p.held = p.held[:0]
	if p.head.Status < 200 && p.head.Status != 101 {
		return rest, ""
	}
	p.body.StartResponse(&p.head)
	p.inBody, p.counted, p.wrong = true, 0, false
	return rest, ""
}

// malformed is the cause that an error of the codec is.
func malformed(err error) string { return causeMalformed + strings.TrimPrefix(err.Error(), "http1: ") }

// check compares content with what is expected.
func (h *hypertext) check(p *answer, payload []byte) {
	if want := h.plan.Request.Expect; want != nil && !p.wrong {
		end := p.counted + len(payload)
		p.wrong = end > len(want) || !bytes.Equal(payload, want[p.counted:end])
	}
	p.counted += len(payload)
}

var statusCauses = [...]string{1: "status 1xx", 2: "status 2xx", 3: "status 3xx", 4: "status 4xx", 5: "status 5xx"}

// finish ends an answer.
func (h *hypertext) finish(c *client, p *answer) {
	r := &h.plan.Request
	status := p.head.Status
	cause := ""
	switch {
	case r.Status != 0 && status != r.Status, r.Status == 0 && (status >= 400 || status < 200):
		cause = statusCauses[min(status/100, 5)]
	case p.wrong || r.Expect != nil && p.counted != len(r.Expect) && h.method != http1.HEAD:
		cause = causeWrong
	}
	if c.kind == active && h.w.times[int(c.index)*h.plan.Pipeline+int(c.first)] >= h.w.from {
		h.w.tally.statuses[min(status/100, 5)]++
	}
	if p.head.Close {
		c.flags |= flagLast
	}
	h.forget(c)
	h.w.answered(c, cause)
}

// ended completes an answer whose content goes on until the end.
func (h *hypertext) ended(c *client) string {
	p := c.answer
	switch {
	case p == nil:
		return causeClosed
	case p.inBody && p.head.UntilClose:
		h.finish(c, p)
		return causeClosed // of any further request
	}
	return causeShort
}

func (h *hypertext) counts() bool { return false }

func (h *hypertext) take() *answer {
	if n := len(h.spare); n > 0 {
		p := h.spare[n-1]
		h.spare = h.spare[:n-1]
		return p
	}
	return &answer{}
}

// forget takes the parser of a client back.
func (h *hypertext) forget(c *client) {
	p := c.answer
	c.answer = nil
	p.head.Reset()
	p.held, p.inBody = p.held[:0], false
	if cap(p.held) > 4<<10 {
		p.held = nil
	}
	h.spare = append(h.spare, p)
}
