package proxy

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// TunnelRecord is what is known of a tunnel when it has ended, for an access log. Its beginning is a web.Record with
// the status 101 and the same connection.
type TunnelRecord struct {
	// Connection is the ID of the client's connection.
	Connection uint64
	// Client is its address; zero for Unix sockets.
	Client netip.AddrPort
	// Upstream is the address of the endpoint.
	Upstream string
	// Received and Sent are bytes: from the client, and to it. What came right behind the request is not counted.
	Received, Sent uint64
	// Wall is when it ended, in Unix seconds.
	Wall int64
	// Duration is how long it lasted.
	Duration time.Duration
	// Cause is why it ended, a text of [TunnelCauses].
	Cause string
}

// TunnelLog is told about tunnels that have ended. It is called on the threads of the connections, by many at once, and
// must not block. r is only lent.
type TunnelLog interface {
	LogTunnel(r *TunnelRecord)
}

// tunnelCause is why a tunnel ended. What ended first counts.
type tunnelCause uint8

const (
	unknown tunnelCause = iota
	clientEnd
	upstreamEnd
	clientFailed
	upstreamFailed
	silence
	stopped
	stalled
	moved
	tunnelCauses
)

// TunnelCauses are the causes of a tunnel's end: a side said that it was done or failed, neither said anything for
// Timeouts.Tunnel, the server stopped, or a side took nothing while memory was short. A tunnel that went on in another
// process is counted as moved here and as begun there, and nobody is told of an end.
var TunnelCauses = [tunnelCauses]string{
	"", "client ended", "upstream ended", "client failed", "upstream failed", "idle", "stopped", "stalled",
	"moved",
}

// causeOf is the cause of an end that was not in order.
func causeOf(why error, otherwise tunnelCause) tunnelCause {
	switch {
	case errors.Is(why, conn.ErrStopping):
		return stopped
	case errors.Is(why, conn.ErrStalled):
		return stalled
	}
	return otherwise
}

// TunnelCounts are how many tunnels have begun, in the place of the empty cause, and how many have ended for each of
// TunnelCauses.
type TunnelCounts [tunnelCauses]int64

// TunnelCounters count tunnels. Handlers may share them, and any goroutine may read them. The zero value has counted
// none.
type TunnelCounters struct{ n [tunnelCauses]atomic.Int64 }

// Counts is what has been counted.
func (c *TunnelCounters) Counts() (n TunnelCounts) {
	for i := range n {
		n[i] = c.n[i].Load()
	}
	return n
}

// because notes why the tunnel ends, if nothing else was the reason before.
func (t *tunnel) because(c tunnelCause) {
	if t.cause == unknown {
		t.cause = c
	}
}

// tally is what a tunnel of which a log is told remembers of its beginning.
type tally struct {
	upstream string
	client   netip.AddrPort
	began    int64
	in, out  uint64 // what had passed on the client's connection
}

// begin notes how things stand, for the log. The head of the answer is queued already.
func (t *tunnel) begin(y *tally) {
	c := t.client
	if c == nil {
		return
	}
	y.began = c.Now()
	y.in, y.out = c.Traffic()
	y.out += uint64(c.Queued())
	t.tally = y
}

// tell counts the tunnel's end and writes the tunnel's record, when the client's connection has closed.
func (t *tunnel) tell(c conn.Conn, why error) {
	if why == nil {
		t.because(clientEnd)
	} else {
		t.because(causeOf(why, clientFailed))
	}
	t.agent.proxy.options.Counters.n[t.cause].Add(1)
	y := t.tally
	if y == nil {
		return
	}
	in, out := c.Traffic()
	t.agent.proxy.options.Tunnels.LogTunnel(&TunnelRecord{
		Connection: c.ID(), Client: y.client, Upstream: y.upstream,
		Received: in - y.in, Sent: max(out, y.out) - y.out,
		Wall: c.Wall(), Duration: time.Duration(c.Now() - y.began), Cause: TunnelCauses[t.cause],
	})
}
