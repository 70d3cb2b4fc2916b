package socket

import (
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
)

// A connection goes on in another process between two messages, while nothing is queued. What was agreed on in the
// handshake goes along, when the next ping is due, and what the peer's compressor refers to. Our own begins each
// message anew. The other process finds the service by its name.

var (
	_ web.Upgraded = (*Conn)(nil)
	_ web.Resumer  = (*Service)(nil)
)

// Packer is a Handler besides whose connections may go on in another process with what it knows of them. Without it
// only those leave that have nothing attached: one process is told Closed, with ws.CodeRestart and no word to the
// peer, and the other Opened.
type Packer interface {
	Handler
	// Pack appends to state what the other process needs to know of c, up to 32 KiB. If it is not ok, c stays, and is
	// asked again later. Otherwise Closed follows as a rule, with ws.CodeRestart, while the peer notices nothing.
	Pack(c *Conn, state []byte) (packed []byte, ok bool)
	// Unpack comes in the place of Opened, with what Pack has appended in a process of this version or of one near to
	// it. Nothing of state may be believed, and it is only lent. After an error the connection goes back to where it
	// came from, and no Closed follows.
	Unpack(c *Conn, state []byte) error
}

// stateVersion is that of the state of a connection.
const stateVersion = 1

// mostPacked is how much state an application may have, and the largest window.
const mostPacked = 32 << 10

// What a connection says of itself.
const (
	packedDeflate byte = 1 << iota // there is compression
	packedKept                     // the peer refers to what it sent before
	packedPaused                   // the handler wants nothing to be read
	packedPinged                   // a ping waits for its answer
	packedBits
)

// nameOf is the name of a service that was given none.
func nameOf(h Handler) string { return fmt.Sprintf("%T", h) }

// upgradePrefix tells names of services from those of other upgrades.
const upgradePrefix = "websocket:"

// Upgrade is the name of the service.
func (c *Conn) Upgrade() string { return upgradePrefix + c.service.options.Name }

// Leaves reports that the connection is between two messages. What other goroutines have sent has to come first.
func (c *Conn) Leaves(cc conn.Conn) (mate conn.Conn, ok bool) {
	if c.state != open || c.extra != nil || c.flags&(held|ended) != 0 || !c.decoder.Quiet() || cc.State() != conn.Open ||
		c.load.Load() > c.counted {
		return nil, false
	}
	_, packs := c.service.handler.(Packer)
	return nil, packs || c.attached == nil
}

// Pack tells what the connection needs to go on.
func (c *Conn) Pack(cc conn.Conn, state []byte) (packed []byte, ok bool) {
	if _, ok = c.Leaves(cc); !ok {
		return state, false
	}
	facts, now, pinged := byte(0), cc.Now(), cc.Now()
	if c.agreed.On {
		facts |= packedDeflate
	}
	if c.agreed.Kept {
		facts |= packedKept
	}
	if c.flags&paused != 0 {
		facts |= packedPaused
	}
	if c.pinged != 0 && c.heard <= c.pinged {
		facts, pinged = facts|packedPinged, c.pinged
	}
	packed = append(state, stateVersion, facts, c.agreed.Bits)
	packed = conn.AppendText(packed, c.Protocol())
	packed = conn.AppendElapsed(packed, now-c.heard)
	packed = conn.AppendElapsed(packed, now-pinged)
	packed = conn.AppendText(packed, c.decoder.Window())
	from := len(packed)
	if packed, ok = c.packed(packed); !ok || len(packed)-from > mostPacked {
		return state, false
	}
	return packed, true
}

// packed appends what the application keeps.
func (c *Conn) packed(state []byte) (packed []byte, ok bool) {
	p, packs := c.service.handler.(Packer)
	if !packs {
		return state, true
	}
	defer c.survive()
	return p.Pack(c, state)
}

// Resume goes on with a connection of another process.
func (s *Service) Resume(again *web.Resumption) (web.Upgraded, error) {
	if name, found := strings.CutPrefix(string(again.Upgrade), upgradePrefix); !found || name != s.options.Name {
		return nil, web.ErrUpgrade
	}
	r := conn.ReadState(again.State, stateVersion)
	facts, cc := r.Byte(), again.Conn
	c := &Conn{conn: cc, service: s, state: opening}
	c.agreed = ws.Extension{On: facts&packedDeflate != 0, Bits: r.Byte(), Kept: facts&packedKept != 0}
	protocol := string(r.Text(mostPacked))
	c.heard = cc.Now() - r.Elapsed()
	if pinged := cc.Now() - r.Elapsed(); facts&packedPinged != 0 {
		if c.pinged = pinged; pinged == 0 {
			c.pinged = -1 // 0: there is none
		}
	}
	window := r.Text(mostPacked)
	own := r.Rest()
	if !c.resumable(facts, protocol, len(window)) || len(own) > mostPacked {
		r.Refuse()
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	c.decoder.Resume(s.rules, c.agreed, window)
	c.state = open
	if err := c.unpack(own); err != nil {
		c.decoder.Discard()
		c.state, c.extra = closed, nil
		c.load.Add(gone)
		return nil, err
	}
	if facts&packedPaused != 0 {
		c.Pause()
	}
	if c.state == open {
		cc.SetTimer(c.due())
	}
	return c, nil
}

// resumable checks what is said of a connection, and finds its subprotocol.
func (c *Conn) resumable(facts byte, protocol string, window int) bool {
	c.protocol = -1
	for i, known := range c.service.options.Protocols {
		if protocol == known {
			c.protocol = int16(i)
		}
	}
	switch {
	case facts >= packedBits, protocol != "" && c.protocol < 0:
		return false
	case c.agreed.On:
		return c.agreed.Bits >= 8 && c.agreed.Bits <= ws.WindowBits && (c.agreed.Kept || window == 0)
	}
	return !c.agreed.Kept && c.agreed.Bits == 0 && window == 0
}

// unpack has the application go on.
func (c *Conn) unpack(own []byte) (err error) {
	p, packs := c.service.handler.(Packer)
	switch {
	case packs:
		defer func() {
			if value := recover(); value != nil {
				if f := c.service.options.Panicked; f != nil {
					f(c, value)
				}
				err = conn.ErrState
			}
		}()
		return p.Unpack(c, own)
	case len(own) > 0:
		return conn.ErrState
	}
	c.call(c.service.handler.Opened)
	return nil
}

// due is the time until a connection that has arrived is looked at, as it would have been where it came from.
func (c *Conn) due() int64 {
	o := &c.service.options
	switch {
	case o.Ping < 0:
		return c.patience()
	case c.pinged != 0 && c.heard <= c.pinged:
		return max(1, c.pinged+int64(o.Pong)-c.conn.Now())
	}
	return max(1, c.heard+int64(o.Ping)-c.conn.Now())
}
