package lasting

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/myriad-server/myriad/internal/faults"
)

// silence is how long a client waits for an answer.
const silence = 20 * time.Second

// The causes of losses that the kernel has no name for.
var (
	errWrong  = errors.New("wrong bytes")
	errMoved  = errors.New("another session")
	errSilent = errors.New("no answer")
	errClosed = errors.New("closed while idle")
	errUnsaid = errors.New("bytes that nobody asked for")
)

// causeOf names an error so that the same are counted together.
func causeOf(err error) string {
	var number syscall.Errno
	var closed websocket.CloseError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errSilent.Error()
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &closed):
		return fmt.Sprintf("closed with %d", closed.Code)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without an answer"
	}
	return err.Error()
}

// A broken is why a connection that was made could not be used, and its port.
type broken struct {
	error
	port int
}

// Unwrap is the error alone.
func (b *broken) Unwrap() error { return b.error }

// portOf is the client's port of a connection that was made; 0 if none was.
func portOf(err error) int {
	var b *broken
	if errors.As(err, &b) {
		return b.port
	}
	return 0
}

// A speaker is one connection of a client.
type speaker interface {
	// exchange says something and checks what comes back.
	exchange(number int) error
	// end says and checks the last things, and closes the connection.
	end() error
	// abandon closes a connection that has failed.
	abandon()
	// port is the client's own.
	port() int
}

// A kind is one of the ways in which the server is used.
type kind struct {
	name  string
	count int
	pause time.Duration // between two exchanges
	open  func(s *stand, number int) (speaker, error)
	// patient exchanges end with what is done to the server, not by themselves.
	patient bool
}

// A client has one connection at a time, and makes another when it is lost.
type client struct {
	kind      *kind
	number    int
	exchanges atomic.Int64
	made      atomic.Int64
}

// run keeps a client at work until the stand stops.
func (c *client) run(s *stand) {
	tick := time.NewTicker(max(c.kind.pause, time.Millisecond))
	defer tick.Stop()
	for first := true; first || !s.stopping(); first = false {
		sp, err := c.kind.open(s, c.number)
		if err != nil {
			s.ledger.lose(loss{Kind: c.kind.name, Cause: "connect: " + causeOf(err), Port: portOf(err)})
			select {
			case <-tick.C:
			case <-s.stop:
			}
			continue
		}
		c.made.Add(1)
		if err := c.converse(s, sp, tick); err != nil {
			s.ledger.lose(loss{Kind: c.kind.name, Cause: causeOf(err), Port: sp.port()})
			sp.abandon()
		}
	}
}

// converse uses a connection until it fails, or until the stand stops.
func (c *client) converse(s *stand, sp speaker, tick *time.Ticker) error {
	for number := 0; ; number++ {
		if err := sp.exchange(number); err != nil {
			return err
		}
		c.exchanges.Add(1)
		select {
		case <-s.stop:
		case <-tick.C:
		}
		if s.stopping() {
			return sp.end()
		}
	}
}

// kinds are all the ways. The counts are the product's of tests that have no time.
func kinds(idle, half, sockets, tunnels, sessions int) []*kind {
	return []*kind{
		{name: "idle", count: idle, open: openIdle, patient: true},
		{name: "half a request", count: half, open: openHalf, patient: true},
		{name: "WebSocket", count: sockets, open: openSocket, pause: 20 * time.Millisecond},
		{name: "tunnel", count: tunnels, open: openTunnel, pause: 10 * time.Millisecond},
		{name: "UDP session", count: sessions, open: openSession, pause: 20 * time.Millisecond},
	}
}

// A wire is a connection with a reader and a deadline for whatever it does.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func dial(network, address string) (wire, error) {
	c, err := net.DialTimeout(network, address, silence)
	if err != nil {
		return wire{}, err
	}
	return wire{c, bufio.NewReader(c)}, nil
}

func (w wire) abandon() { _ = w.Close() }

func (w wire) port() int {
	switch a := w.LocalAddr().(type) {
	case *net.TCPAddr:
		return a.Port
	case *net.UDPAddr:
		return a.Port
	}
	return 0
}

// send sends all.
func (w wire) send(text string) error {
	_ = w.SetDeadline(time.Now().Add(silence))
	_, err := io.WriteString(w.Conn, text)
	return err
}

// answer reads one answer to a request that this server answers itself.
func (w wire) answer() error {
	response, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", response.StatusCode)
	case !strings.HasPrefix(string(content), ownText):
		return errWrong
	}
	return nil
}

const request = "GET /own HTTP/1.1\r\nHost: lasting\r\n\r\n"

// An idle connection is asked when it is made and at the end, and is to be left alone in between.
type idle struct {
	wire
	s *stand
}

func openIdle(s *stand, _ int) (speaker, error) {
	w, err := dial("tcp", s.web)
	if err != nil {
		return nil, err
	}
	i := &idle{w, s}
	if err := i.ask(); err != nil {
		w.abandon()
		return nil, &broken{err, w.port()}
	}
	return i, nil
}

func (i *idle) ask() error {
	if err := i.send(request); err != nil {
		return err
	}
	return i.answer()
}

func (i *idle) exchange(int) error {
	_ = i.SetDeadline(time.Time{})
	awake := context.AfterFunc(i.s.over, func() { _ = i.SetReadDeadline(time.Unix(1, 0)) })
	defer awake()
	switch _, err := i.r.Peek(1); {
	case err == nil:
		return errUnsaid
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return errClosed
	default:
		return err
	}
}

func (i *idle) end() error {
	if err := i.ask(); err != nil {
		return err
	}
	return i.Close()
}

// A half is a connection of which the server always has a part of a request: the rest is sent when something has been
// done to it.
type half struct {
	wire
	s      *stand
	number int
}

func openHalf(s *stand, number int) (speaker, error) {
	w, err := dial("tcp", s.web)
	if err != nil {
		return nil, err
	}
	return &half{w, s, number}, nil
}

func (h *half) exchange(int) error {
	at := 1 + h.number%(len(request)-1)
	step := h.s.step()
	if err := h.send(request[:at]); err != nil {
		return err
	}
	select {
	case <-step:
	case <-h.s.stop:
	}
	if err := h.send(request[at:]); err != nil {
		return err
	}
	return h.answer()
}

func (h *half) end() error { return h.Close() }

// A tunnel carries pieces of a pattern, of which one is always under way.
type tunnel struct {
	wire
	random         *rand.Rand
	sent, received int64
}

func openTunnel(s *stand, number int) (speaker, error) {
	w, err := dial("tcp", s.tunnels)
	if err != nil {
		return nil, err
	}
	return &tunnel{wire: w, random: rand.New(rand.NewPCG(1, uint64(number)))}, nil
}

func (t *tunnel) exchange(int) error {
	_ = t.SetDeadline(time.Now().Add(silence))
	before := t.sent
	piece := make([]byte, 1+t.random.IntN(16<<10))
	faults.Pattern(piece, t.sent)
	n, err := t.Write(piece)
	t.sent += int64(n)
	if err != nil {
		return err
	}
	return t.receive(before)
}

// receive reads up to a place in the stream.
func (t *tunnel) receive(upTo int64) error {
	got, want := make([]byte, upTo-t.received), make([]byte, upTo-t.received)
	if _, err := io.ReadFull(t.r, got); err != nil {
		return err
	}
	faults.Pattern(want, t.received)
	t.received = upTo
	if !bytes.Equal(got, want) {
		return errWrong
	}
	return nil
}

func (t *tunnel) end() error {
	_ = t.SetDeadline(time.Now().Add(silence))
	if err := t.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if err := t.receive(t.sent); err != nil {
		return err
	}
	if rest, err := io.ReadAll(t.r); err != nil || len(rest) > 0 {
		return errors.Join(err, errUnsaid)
	}
	return t.Close()
}

// A session counts its datagrams; the server behind tells it where they come from. It asks again after a while, as
// clients of UDP do, and what was never answered is lost.
type session struct {
	wire
	number         int
	from           string
	asked, answers int
}

// askAgain is when a client of UDP asks again.
const askAgain = 2 * time.Second

func openSession(s *stand, number int) (speaker, error) {
	w, err := dial("udp", s.datagrams)
	if err != nil {
		return nil, err
	}
	return &session{wire: w, number: number}, nil
}

func (s *session) exchange(number int) error {
	question := fmt.Sprintf("%d/%d", s.number, number)
	for deadline := time.Now().Add(silence); time.Now().Before(deadline); {
		if err := s.send(question); err != nil {
			return err
		}
		s.asked++
		switch err := s.hear(question); {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
	return errSilent
}

// hear waits for the answer to a question, and passes over answers to what was asked twice.
func (s *session) hear(question string) error {
	if err := s.SetReadDeadline(time.Now().Add(askAgain)); err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	for {
		n, err := s.Read(buffer)
		if err != nil {
			return err
		}
		from, echoed, _ := strings.Cut(string(buffer[:n]), "|")
		if s.from != "" && s.from != from {
			return errMoved
		}
		s.from = from
		s.answers++
		switch {
		case echoed == question:
			return nil
		case s.answers > s.asked || !strings.HasPrefix(echoed, fmt.Sprintf("%d/", s.number)):
			return errWrong
		}
	}
}

// end waits for answers that come late; what was never answered is lost.
func (s *session) end() error {
	for s.answers < s.asked {
		if err := s.hear(""); err != nil {
			return fmt.Errorf("%d datagrams lost", s.asked-s.answers)
		}
	}
	return s.Close()
}

// port is the one that the session is known by at the server behind.
func (s *session) port() int { return fromPort(s.from) }

// A socket is a WebSocket that counts its messages, of which one is always under way.
type socket struct {
	*websocket.Conn
	number int
	own    int
	last   []byte
}

func openSocket(s *stand, number int) (speaker, error) {
	sock := &socket{number: number}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, to)
		if err == nil {
			sock.own = c.LocalAddr().(*net.TCPAddr).Port
		}
		return c, err
	}}
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	c, response, err := websocket.Dial(ctx, "ws://"+s.web+"/socket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return nil, &broken{err, sock.own}
	}
	sock.Conn = c
	return sock, nil
}

func (s *socket) exchange(number int) error {
	message := bytes.Repeat(fmt.Appendf(nil, "%d/%d ", s.number, number), 1+number%100)
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	if err := s.Write(ctx, websocket.MessageText, message); err != nil {
		return err
	}
	before := s.last
	s.last = message
	return s.expect(ctx, before)
}

// expect reads a message that was sent before; there is none before the first.
func (s *socket) expect(ctx context.Context, message []byte) error {
	if message == nil {
		return nil
	}
	_, got, err := s.Read(ctx)
	if err == nil && !bytes.Equal(got, message) {
		return errWrong
	}
	return err
}

func (s *socket) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	if err := s.expect(ctx, s.last); err != nil {
		return err
	}
	return s.Close(websocket.StatusNormalClosure, "")
}

func (s *socket) abandon() { _ = s.CloseNow() }

func (s *socket) port() int { return s.own }
