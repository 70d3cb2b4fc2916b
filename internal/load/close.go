package load

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// close begins the end of a connection.
func (w *worker) close(c *client) {
	if c.state == closing || c.state == vacant {
		return
	}
	if c.state == open {
		w.tally.standing--
	}
	if c.flags&flagEnded == 0 {
		w.tally.closedByUs++
	}
	if c.answer != nil {
		w.speech.forget(c)
	}
	if w.plan.Reset {
		c.flags |= flagReset
	}
	c.state = closing
	w.wheel.Clear(c.index)
	w.mark(c)
}

// shut cancels what is in flight, closes the descriptor, and vacates the place when all of it has completed.
func (w *worker) shut(c *client) {
	if c.fd >= 0 && c.flags&flagShut == 0 && !w.shutDescriptor(c) {
		return
	}
	if c.send != 0 {
		w.await(c)
	}
	if c.recv == 0 && c.send == 0 && c.fd < 0 {
		w.vacate(c)
	}
}

func (w *worker) shutDescriptor(c *client) bool {
	if c.flags&flagReset != 0 {
		if fd, done, err := w.driver.Descriptor(int(c.fd)); err == nil {
			_ = sys.SetLinger(fd, 0) // what is not a TCP socket has no reset
			done()
		}
		c.flags &^= flagReset
	}
	if c.flags&flagCalled == 0 {
		c.flags |= flagCalled
		for _, token := range []driver.Token{c.recv, c.send} {
			if token != 0 {
				_ = w.driver.Cancel(token)
			}
		}
	}
	if _, err := w.driver.Submit(driver.Op{Code: driver.Close, FD: int(c.fd), User: uint64(c.index)}); err != nil {
		w.refused = true
		w.mark(c)
		return false
	}
	c.flags |= flagShut
	return true
}

// vacate makes the place free for another connection.
func (w *worker) vacate(c *client) {
	if c.flags&flagShut != 0 {
		w.tally.open--
	}
	c.state = vacant
	c.asked = 0
	c.flags &= flagListed | flagMarked | flagPausing
	if w.phase != phaseRun || c.kind == idle {
		return
	}
	switch {
	case c.flags&flagPausing != 0:
		w.wheel.Set(c.index, w.now+int64(dialPause))
	case c.kind == slow:
		w.beginSlow(c)
	default:
		w.ready(c)
	}
}

// giveUp ends what was not answered in time after the end.
func (w *worker) giveUp() {
	for i := range w.clients {
		if c := &w.clients[i]; c.flying > 0 && c.kind != slow {
			w.fail(c, causeEnd)
		}
	}
}

func (w *worker) closeAll() {
	for i := range w.clients {
		w.close(&w.clients[i])
	}
}

// The causes of failed requests that the kernel has no name for.
const (
	causeTimeout        = "timed out"
	causeConnectTimeout = "connect: timed out"
	causeEnd            = "no answer by the end"
	causeClosed         = "closed before an answer"
	causeShort          = "short answer"
	causeWrong          = "wrong answer"
	causeUnasked        = "bytes that nobody asked for"
	causeMalformed      = "malformed answer: "
)

var plainCauses = map[syscall.Errno]string{
	syscall.ECONNREFUSED:  "connection refused",
	syscall.ECONNRESET:    "reset by the server",
	syscall.EPIPE:         "reset by the server",
	syscall.ECONNABORTED:  "aborted",
	syscall.ETIMEDOUT:     "timed out in the kernel",
	syscall.EADDRINUSE:    "the local port is in use",
	syscall.EADDRNOTAVAIL: "no local port is left",
	syscall.EMFILE:        "no descriptor is left",
	syscall.EAGAIN:        "the backlog of the Unix socket is full",
}

// causeOf names an error.
func causeOf(prefix string, err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		if plain, ok := plainCauses[number]; ok {
			return prefix + plain
		}
	}
	return prefix + err.Error()
}
