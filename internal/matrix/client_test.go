package matrix

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A client speaks to a server in bytes.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: c, r: bufio.NewReaderSize(c, 64<<10)}
}

// send sends all of a text.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// get asks for a path, with fields.
func (c *client) get(path string, fields ...string) *answer {
	c.t.Helper()
	c.send(request("GET", path, fields...))
	return c.answer("GET")
}

// request is one without content.
func request(method, target string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: matrix.test\r\n", method, target)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

// An answer is a response as it came.
type answer struct {
	t      *testing.T
	head   string // with its lines' ends and the empty line
	status int
	fields map[string][]string // by name in lower case
	body   []byte
}

// answer reads one response to the method, whole, and checks its form.
func (c *client) answer(method string) *answer {
	c.t.Helper()
	a, err := c.read(method)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return a
}

func (c *client) read(method string) (*answer, error) {
	a, err := c.readHead()
	if err != nil {
		return nil, err
	}
	if method != "HEAD" {
		err = c.readBody(a)
	}
	return a, err
}

// readHead reads the head of a response and nothing behind it.
func (c *client) readHead() (*answer, error) {
	a := &answer{t: c.t, fields: map[string][]string{}}
	var head strings.Builder
	for number := 0; ; number++ {
		line, err := c.r.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return nil, fmt.Errorf("%w after %q", err, head.String())
		}
		text, ok := strings.CutSuffix(line, "\r\n")
		switch {
		case !ok:
			return nil, fmt.Errorf("a line without CR: %q", line)
		case number == 0:
			err = a.readStatus(text)
		case text == "":
			a.head = head.String()
			return a, a.check()
		default:
			err = a.readField(text)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (a *answer) readStatus(line string) (err error) {
	code, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(code) < 5 || code[3] != ' ' {
		return fmt.Errorf("a malformed status line: %q", line)
	}
	a.status, err = strconv.Atoi(code[:3])
	return err
}

func (a *answer) readField(line string) error {
	name, value, ok := strings.Cut(line, ": ")
	if !ok || strings.ContainsAny(name, " \t\r\n()<>@,;:\\\"/[]?={}") || strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("a malformed field line: %q", line)
	}
	name = strings.ToLower(name)
	a.fields[name] = append(a.fields[name], value)
	return nil
}

// dateForm is that of RFC 9110 section 5.6.7.
const dateForm = "Mon, 02 Jan 2006 15:04:05 GMT"

// check is what every final response must fulfil: a date that is right, and one way to tell where it ends.
func (a *answer) check() error {
	if a.status < 200 {
		return nil
	}
	for _, once := range []string{"date", "content-length", "transfer-encoding", "content-type", "connection"} {
		if n := len(a.fields[once]); n > 1 {
			return fmt.Errorf("%d fields %s in %q", n, once, a.head)
		}
	}
	at, err := time.Parse(dateForm, a.field("Date"))
	if err != nil || at.UTC().Format(dateForm) != a.field("Date") {
		return fmt.Errorf("the date is malformed: %v in %q", err, a.head)
	}
	if off := time.Since(at); off < -2*time.Second || off > 4*time.Second {
		return fmt.Errorf("the date is %v off: %q", off, a.head)
	}
	framed := len(a.fields["content-length"]) + len(a.fields["transfer-encoding"])
	if bare := a.status == 204 || a.status == 304; bare == (framed > 0) && a.field("Connection") != "close" {
		return fmt.Errorf("framed in %d ways: %q", framed, a.head)
	}
	return nil
}

// readBody reads the content as the head announces it.
func (c *client) readBody(a *answer) (err error) {
	switch {
	case a.status < 200 || a.status == 204 || a.status == 304:
		return nil
	case a.field("Transfer-Encoding") == "chunked":
		return c.readChunks(a)
	case len(a.fields["content-length"]) == 0:
		a.body, err = io.ReadAll(c.r)
		return err
	}
	length, err := strconv.ParseInt(a.field("Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return fmt.Errorf("the length is malformed in %q", a.head)
	}
	a.body = make([]byte, length)
	n, err := io.ReadFull(c.r, a.body)
	if err != nil {
		return fmt.Errorf("%w after %d bytes of content, announced by %q", err, n, a.head)
	}
	return nil
}

func (c *client) readChunks(a *answer) error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w in chunks", err)
		}
		size, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
		if err != nil {
			return err
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(c.r, chunk); err != nil || !bytes.HasSuffix(chunk, []byte("\r\n")) {
			return fmt.Errorf("a chunk of %d bytes: %v", size, err)
		}
		a.body = append(a.body, chunk[:size]...)
		if size == 0 {
			return nil
		}
	}
}

// field is the value of a field; empty without one.
func (a *answer) field(name string) string {
	return strings.Join(a.fields[strings.ToLower(name)], ", ")
}

// want checks the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("the answer is %d, want %d: %q %.200q", a.status, status, a.head, a.body)
	}
	return a
}

// wantField checks a field.
func (a *answer) wantField(name, value string) *answer {
	a.t.Helper()
	if got := a.field(name); got != value {
		a.t.Fatalf("%s is %q, want %q: %q", name, got, value, a.head)
	}
	return a
}

// wantBody checks the content, to the byte.
func (a *answer) wantBody(body []byte) *answer {
	a.t.Helper()
	if bytes.Equal(a.body, body) {
		return a
	}
	at := 0
	for at < len(body) && at < len(a.body) && a.body[at] == body[at] {
		at++
	}
	a.t.Fatalf("%d bytes of content, want %d; the first that differs is %d: %.60q, want %.60q",
		len(a.body), len(body), at, a.body[at:], body[at:])
	return a
}

// wantEnd wants the orderly end of the connection, with nothing before it.
func (c *client) wantEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(io.LimitReader(c.r, 1<<10))
	if err != nil || len(rest) > 0 {
		c.t.Fatalf("%q and %v; want the end", rest, err)
	}
}

// wantGone wants the connection to end, in whatever way, and returns how many bytes came before.
func (c *client) wantGone() int64 {
	c.t.Helper()
	n, err := io.Copy(io.Discard, c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		c.t.Fatalf("%d bytes and %v; want the end", n, err)
	}
	return n
}

// halfClose ends what the client sends.
func (c *client) halfClose() {
	c.t.Helper()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		c.t.Fatalf("%T has no half", c.Conn)
	}
	if err := half.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// reset ends the connection with a reset.
func (c *client) reset() {
	c.t.Helper()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		c.t.Fatal(err)
	}
	_ = c.Close()
}

// silent wants nothing to come for d.
func (c *client) silent(d time.Duration) {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	if b, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%q and %v came; want silence", b, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
}
