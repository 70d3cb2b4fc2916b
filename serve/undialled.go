package serve

import (
	"syscall"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// Traffic is what was received and sent.
func (c *connection) Traffic() (in, out uint64) { return c.received, c.sent }

// Pipe reports false: without a loop there is nobody to move the bytes.
func (c *connection) Pipe(conn.Conn) bool { return false }

// Unacknowledged asks the kernel what the peer has not acknowledged.
func (c *connection) Unacknowledged() int64 {
	if c.fd < 0 {
		return 0
	}
	return sys.Unacknowledged(c.fd)
}

// Alive looks at the socket without taking anything from it.
func (c *connection) Alive() bool {
	if c.state != conn.Open || c.flags&ended != 0 {
		return false
	}
	var look [1]byte
	_, err := sys.Recv(c.fd, look[:], sys.MsgPeek|sys.MsgDontWait)
	return err == syscall.EAGAIN
}

// Watch does nothing: nothing that is dialled is served by these models.
func (c *connection) Watch() {}

// Undelivered reports false: there is no evidence.
func (c *connection) Undelivered() bool { return false }

// Dialer is nil: these models cannot dial.
func (c *connection) Dialer() conn.Dialer { return nil }

// Move cannot be done.
func (c *connection) Move(to conn.Dialer, _ conn.Handler, _ any, taken func(c conn.Conn)) {
	to.Do(func() { taken(nil) })
}

// Close does nothing: the sockets of listeners are the model's.
func (d *datagrams) Close() {}

// CloseWrite sends what is queued and then our FIN.
func (c *connection) CloseWrite() {
	if c.state == conn.Open {
		c.flags |= last
	}
}
