package load

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/driver"
)

// Slow connections move a piece of bytes every slowEvery, as many as their speed makes of that. The kernel's receive
// buffer is kept small, or it would take the answer for them.
const (
	slowEvery  = 100 * time.Millisecond
	slowBuffer = 4 << 10
)

// beginSlow asks on a slow connection, which is made first if it has to be.
func (w *worker) beginSlow(c *client) {
	if w.phase != phaseRun || c.flying > 0 {
		return
	}
	c.written = 0
	w.give(c, w.now)
	w.wheel.Set(c.index, w.now+int64(slowEvery))
}

// goOnSlow writes or reads the next piece.
func (w *worker) goOnSlow(c *client) {
	w.wheel.Set(c.index, w.now+int64(slowEvery))
	if c.flying == 0 {
		w.beginSlow(c)
		return
	}
	s := w.plan.Slow
	request, _ := w.speech.request(c, 1, false)
	if left := request[c.written:]; len(left) > 0 {
		if c.send != 0 {
			return
		}
		piece := left[:min(len(left), slowPiece(s.Write, len(left)))]
		token, err := w.driver.Submit(driver.Op{Code: driver.Send, FD: int(c.fd), User: uint64(c.index), Buf: piece})
		if err != nil {
			w.laterSlow(c, err)
			return
		}
		c.send, c.unsent = token, 0
		c.written += int32(len(piece))
		if c.written < int32(len(request)) {
			return
		}
	}
	if c.recv == 0 && c.flags&flagEnded == 0 {
		w.listen(c, s.Read == 0)
	}
	if s.Read > 0 { // a block at a time, and a pause that fits it
		w.wheel.Set(c.index, w.now+int64(time.Duration(slowBuffer)*time.Second/time.Duration(s.Read)))
	}
}

func (w *worker) laterSlow(c *client, err error) {
	if !errors.Is(err, driver.ErrFull) {
		w.fail(c, causeOf("", err))
	}
}

// slowPiece is how many bytes are moved at a time.
func slowPiece(speed, all int) int {
	if speed == 0 {
		return all
	}
	return max(1, int(int64(speed)*int64(slowEvery)/int64(time.Second)))
}

// restSlow is after an answer: the next request begins with the next piece.
func (w *worker) restSlow(c *client) {
	c.written = 0
	w.wheel.Set(c.index, w.now+int64(slowEvery))
}
