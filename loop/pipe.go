package loop

import (
	"syscall"

	"github.com/myriad-server/myriad/conn"
)

// Pipe moves bytes in the kernel.
func (c *connection) Pipe(conn.Conn) bool { return false }

// Watch begins to gather evidence.
func (c *connection) Watch() {}

// Undelivered tells what the evidence says.
func (c *connection) Undelivered() bool { return false }

// Move hands the connection over to another loop.
func (c *connection) Move(to conn.Dialer, _ conn.Handler, _ any, taken func(c conn.Conn)) {
	to.Do(func() { taken(nil) })
}

// OpenDatagrams makes a connected UDP socket.
func (d *dialer) OpenDatagrams(*conn.Target, conn.DatagramHandler) (conn.Datagrams, error) {
	return nil, syscall.ENOTSUP
}
