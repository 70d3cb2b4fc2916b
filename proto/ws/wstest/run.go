package wstest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Run plays a case over a connection to a server of HTTP that echoes at the target, and waits for the server to end it.
// The caller sets a deadline, and closes the connection.
func (c *Case) Run(to net.Conn, target string) error {
	request := "GET " + target + " HTTP/1.1\r\nHost: wstest\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if c.Offer != "" {
		request += "Sec-WebSocket-Extensions: " + c.Offer + "\r\n"
	}
	if _, err := io.WriteString(to, request+"\r\n"); err != nil {
		return err
	}
	in := bufio.NewReaderSize(to, 64<<10)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // it has none
	// The key and its answer are the example of RFC 6455 section 1.3.
	if answer.StatusCode != 101 || answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return fmt.Errorf("the handshake is answered with %s and %v", answer.Status, answer.Header)
	}
	if err := c.Agreed(answer.Header.Get("Sec-WebSocket-Extensions")); err != nil {
		return err
	}
	s := c.Script()
	seen := &watched{reader: c.Reader(s)}
	seen.changed.L = &seen.mu
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		seen.send(to, c, s)
	}()
	err = seen.receive(in, s)
	seen.end()
	if err != nil {
		_ = to.Close() // or sending would go on
	}
	<-sent
	return err
}

// watched is a reader that another goroutine waits for.
type watched struct {
	mu      sync.Mutex
	changed sync.Cond
	reader  *Reader
	over    bool
}

// send sends what the client does. That it fails shows at the other end.
func (w *watched) send(to net.Conn, c *Case, s *Script) {
	at, waits := 0, s.Waits
	for at < len(s.Send) {
		until := len(s.Send)
		if len(waits) > 0 {
			until = waits[0].At
		}
		for at < until {
			n := until - at
			if c.Chop > 0 {
				n = min(n, c.Chop)
			}
			if _, err := to.Write(s.Send[at:][:n]); err != nil {
				return
			}
			at += n
		}
		if len(waits) == 0 {
			return
		}
		w.mu.Lock()
		for len(w.reader.Replies) < waits[0].Replies && !w.over {
			w.changed.Wait()
		}
		w.mu.Unlock()
		waits = waits[1:]
	}
}

// end lets the sender go.
func (w *watched) end() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.changed.Broadcast()
}

// receive reads replies until the server ends the connection.
func (w *watched) receive(from io.Reader, s *Script) error {
	room := make([]byte, 64<<10)
	for checked := 0; ; {
		n, err := from.Read(room)
		w.mu.Lock()
		fault := w.reader.Feed(room[:n])
		replies, rest := w.reader.Replies, w.reader.Rest()
		w.mu.Unlock()
		w.changed.Broadcast()
		if fault == nil {
			fault = s.Check(checked, replies, err == io.EOF)
		}
		checked = len(replies)
		switch {
		case fault != nil:
			return fault
		case err == io.EOF && rest > 0:
			return fmt.Errorf("the server ends within a frame, of which %d bytes have come", rest)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("behind %d of %d replies: %w", len(replies), len(s.Want), err)
		}
	}
}

// ErrEarly is that a server replied before it could know what to.
var ErrEarly = errors.New("a reply comes before its time")

// Play plays a case against a codec: feed takes bytes of the client and returns those of the server. cut says how many
// bytes it is given next, of those from at on.
func (c *Case) Play(s *Script, cut func(at int) int, feed func(in []byte) []byte) error {
	r, waits, checked := c.Reader(s), s.Waits, 0
	for at := 0; at < len(s.Send); {
		n := min(max(cut(at), 1), len(s.Send)-at)
		if len(waits) > 0 {
			n = min(n, waits[0].At-at)
		}
		// A copy, as what is fed may be changed.
		if err := r.Feed(feed(bytes.Clone(s.Send[at : at+n]))); err != nil {
			return err
		}
		at += n
		if err := s.Check(checked, r.Replies, at == len(s.Send)); err != nil {
			return fmt.Errorf("behind %d of %d bytes: %w", at, len(s.Send), err)
		}
		checked = len(r.Replies)
		for ; len(waits) > 0 && waits[0].At == at; waits = waits[1:] {
			switch {
			case checked < waits[0].Replies:
				return fmt.Errorf("behind %d bytes there are %d replies, not %d", at, checked, waits[0].Replies)
			case checked > waits[0].Replies:
				return ErrEarly
			}
		}
	}
	if r.Rest() > 0 {
		return fmt.Errorf("%d bytes of a frame are left", r.Rest())
	}
	return nil
}
