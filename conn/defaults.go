package conn

// Defaults is a handler of everything but bytes, to be embedded in one that adds Received: it ends a connection in
// order when its peer has sent its last byte, when its timer expires and when the server stops.
type Defaults struct{}

// Opened does nothing.
func (Defaults) Opened(Conn) {}

// Ended drains the connection.
func (Defaults) Ended(c Conn) { c.Drain() }

// Flushed does nothing.
func (Defaults) Flushed(Conn) {}

// Expired drains the connection.
func (Defaults) Expired(c Conn) { c.Drain() }

// Stopped drains the connection.
func (Defaults) Stopped(c Conn) { c.Drain() }

// Closed does nothing.
func (Defaults) Closed(Conn, error) {}
