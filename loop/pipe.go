package loop

import (
	"github.com/myriad-server/myriad/conn"
)

// Pipe moves what is received to dst inside the kernel, or ends that.
func (c *connection) Pipe(to conn.Conn) bool {
	l := c.on()
	if to == nil {
		if c.flags&flagPiped != 0 {
			l.linkOf(c).to.active = false
			l.mark(c)
		}
		return true
	}
	dst, ok := to.(*connection)
	if !ok || dst.loop != c.loop || l.pipes == nil || c.state != conn.Open || c.flags&flagTold != 0 || !dst.writable() {
		return false
	}
	return l.pipeTo(c, dst)
}
