package faults

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

// Script is what is done with one request, step by step. When it has ended and the connection is still there, what is
// left of the body is read, and the next request is waited for.
type Script []Step

// Step is one thing that is done. An error ends the connection.
type Step func(x *Exchange) error

// Exchange is a request that is being answered.
type Exchange struct {
	*Request
	c    *connection
	body *bodyReader
}

// errEnded is the end of a connection that a script wanted.
var errEnded = errors.New("faults: ended")

// ReadBody reads all that is left of the body.
func ReadBody() Step {
	return func(x *Exchange) error { return x.body.read(1<<63 - 1) }
}

// ReadSome reads n bytes of the body.
func ReadSome(n int64) Step {
	return func(x *Exchange) error { return x.body.read(n) }
}

// Send sends a text as it is.
func Send(text string) Step {
	return func(x *Exchange) error {
		_, err := io.WriteString(x.c.socket, text)
		return err
	}
}

// Answer sends an answer of that status with a length and, where the request allows one, the content.
func Answer(status int, content string, fields ...string) Step {
	head := "HTTP/1.1 " + strconv.Itoa(status) + " Told\r\nContent-Length: " + strconv.Itoa(len(content)) + "\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	return func(x *Exchange) error {
		if x.Method == "HEAD" {
			return Send(head + "\r\n")(x)
		}
		return Send(head + "\r\n" + content)(x)
	}
}

// SendPattern sends n bytes of Pattern.
func SendPattern(n int64) Step {
	return func(x *Exchange) error {
		buffer := make([]byte, 64<<10)
		for at := int64(0); at < n; {
			p := buffer[:min(n-at, int64(len(buffer)))]
			Pattern(p, at)
			sent, err := x.c.socket.Write(p)
			at += int64(sent)
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// Pattern fills p with what stands at an offset of a text without end, of which no part looks like another nearby.
func Pattern(p []byte, at int64) {
	for i := range p {
		n := uint64(at) + uint64(i)
		p[i] = 'a' + byte((n>>14^n>>7^n)%26)
	}
}

// Trickle sends a text byte by byte, with a tick before each.
func Trickle(text string) Step {
	return func(x *Exchange) error {
		for i := range len(text) {
			if err := x.c.wait(x.c.server.options.Tick); err != nil {
				return err
			}
			if err := Send(text[i : i+1])(x); err != nil {
				return err
			}
		}
		return nil
	}
}

// Wait does nothing for a number of ticks.
func Wait(ticks int) Step {
	return func(x *Exchange) error { return x.c.wait(time.Duration(ticks) * x.c.server.options.Tick) }
}

// Until does nothing before the channel is closed.
func Until(done <-chan struct{}) Step {
	return func(x *Exchange) error {
		select {
		case <-done:
			return nil
		case <-x.c.closing:
			return errEnded
		}
	}
}

// Silence reads all that comes and says nothing, until the other side ends the connection.
func Silence() Step {
	return func(x *Exchange) error {
		_, err := io.Copy(io.Discard, x.c.reader)
		if err == nil {
			err = errEnded
		}
		return err
	}
}

// Deaf reads nothing and says nothing, until the server ends.
func Deaf() Step {
	return func(x *Exchange) error {
		<-x.c.closing
		return errEnded
	}
}

// Close closes the connection in order. If something is left unread, the other side sees a reset.
func Close() Step {
	return func(*Exchange) error { return errEnded }
}

// Reset resets the connection.
func Reset() Step {
	return func(x *Exchange) error {
		linger(x.c.socket)
		return errEnded
	}
}

// HalfClose ends what is sent, and goes on reading.
func HalfClose() Step {
	return func(x *Exchange) error {
		return x.c.socket.(interface{ CloseWrite() error }).CloseWrite()
	}
}

// Take hands the socket to f, for what is no HTTP any more, and ends the connection when f returns. What came behind
// the request stands before what is read.
func Take(f func(c net.Conn, r *bufio.Reader)) Step {
	return func(x *Exchange) error {
		f(x.c.socket, x.c.reader)
		return errEnded
	}
}

// A connection is one that was accepted.
type connection struct {
	server  *Server
	socket  net.Conn
	reader  *bufio.Reader
	number  int64
	closing chan struct{} // of the server
	timer   *time.Timer
}

func newConnection(s *Server, c net.Conn, number int64, closing chan struct{}) *connection {
	return &connection{server: s, socket: c, reader: bufio.NewReaderSize(c, 16<<10), number: number, closing: closing}
}

// wait lets time pass, but not longer than the server lives.
func (c *connection) wait(d time.Duration) error {
	if c.timer == nil {
		c.timer = time.NewTimer(d)
	} else {
		c.timer.Reset(d)
	}
	select {
	case <-c.timer.C:
		return nil
	case <-c.closing:
		return errEnded
	}
}

// serve answers requests until the connection ends.
func (c *connection) serve() {
	defer func() { _ = c.socket.Close() }()
	for number := int64(1); ; number++ {
		if number > 1 && !c.idle() {
			return
		}
		r, err := readRequest(c.reader)
		if err != nil && r.Head == "" {
			return
		}
		r.Connection, r.Number = c.number, number
		c.server.count(func(n *Counts) { n.Requests++ })
		if err == nil {
			err = c.answer(r)
		}
		if errors.Is(err, errWrong) {
			_, _ = io.WriteString(c.socket, refusal)
		}
		c.server.keep(r)
		if err != nil {
			return
		}
	}
}

// idle waits for the next request, and reports whether there is to be one.
func (c *connection) idle() bool {
	s := c.server
	if after, ends := s.idleEnd(); ends && c.reader.Buffered() == 0 {
		_ = c.socket.SetReadDeadline(time.Now().Add(after))
		_, err := c.reader.Peek(1)
		_ = c.socket.SetReadDeadline(time.Time{})
		var failed net.Error
		if errors.As(err, &failed) && failed.Timeout() {
			c.end()
			return false
		}
	}
	if c.server.late() {
		if _, err := c.reader.Peek(1); err == nil {
			c.end()
			return false
		}
	}
	return true
}

// end ends an idle connection.
func (c *connection) end() {
	if c.server.chance(c.server.idleReset()) {
		linger(c.socket)
	}
	c.server.count(func(n *Counts) { n.Ended++ })
}

func (s *Server) idleReset() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle.Reset
}

// answer runs the script of a request.
func (c *connection) answer(r *Request) error {
	x := &Exchange{Request: r, c: c, body: newBody(r, c.reader, c.server.options.BodyBytes)}
	for _, step := range append(c.server.options.Answer(r), ReadBody()) {
		if err := step(x); err != nil {
			return err
		}
	}
	return nil
}

// refusal is the answer to what is no request.
const refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
