package loop

import (
	"errors"
	"syscall"

	"github.com/myriad-server/myriad/conn"
)

// outlives keeps a connection that was dialled and whose peer takes nothing any more until what the peer has sent
// before is read: a server may answer before it has read all of a request, close, and reset what still comes. The
// answer is there then, with the end or the error behind it, and the connection ends with why. It reports false if the
// connection ends at once.
func (l *Loop) outlives(c *connection, why error) bool {
	const otherwise = flagEnded | flagPiped | flagFed | flagMoving | flagLeaves
	if !l.listeners[c.listener].dials || c.state != conn.Open || c.flags&otherwise != 0 {
		return false
	}
	if !errors.Is(why, syscall.EPIPE) && !errors.Is(why, syscall.ECONNRESET) {
		return false
	}
	w := l.workOf(c)
	for i := range w.queue {
		if s := &w.queue[i]; s.file != nil {
			s.file.Release()
		} else {
			s.block.Release()
		}
		w.queue[i] = segment{}
	}
	w.queue, w.queued, w.memory, w.why = w.queue[:0], 0, 0, why
	c.flags |= flagBroken | flagLast | flagFinal // nothing can be queued any more, and no FIN sent
	return true
}
