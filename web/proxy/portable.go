package proxy

import (
	"errors"
	"strings"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
)

// A tunnel goes on in another process with both its connections: what side has ended, for how long each has been
// silent, and since when it has been counted for the log. The other process must have a group of the same name with
// the same endpoint. An exchange that is under way ends where it began.

var (
	_ web.Upgraded = (*tunnel)(nil)
	_ web.Resumer  = (*Handler)(nil)
)

// tunnelVersion is that of the state of a tunnel.
const tunnelVersion = 1

// What a tunnel says of itself.
const (
	packedClientEnded byte = 1 << iota
	packedUpstreamEnded
	packedTally // it is noted for the log
	packedBits
)

// upgradePrefix tells names of groups from those of other upgrades.
const upgradePrefix = "tunnel:"

// Upgrade is the name of the group.
func (t *tunnel) Upgrade() string { return upgradePrefix + t.agent.group.Group().Name() }

// Leaves reports that bytes flow, or can.
func (t *tunnel) Leaves(c conn.Conn) (mate conn.Conn, ok bool) {
	if t.link == nil || t.client == nil || t.state&tunnelBegins != 0 || c.State() != conn.Open ||
		t.link.Conn.State() != conn.Open {
		return nil, false
	}
	return t.link.Conn, true
}

// Pack tells what the tunnel needs to go on.
func (t *tunnel) Pack(c conn.Conn, state []byte) (packed []byte, ok bool) {
	if _, ok = t.Leaves(c); !ok {
		return state, false
	}
	facts, now := byte(0), c.Now()
	if t.state&clientEnded != 0 {
		facts |= packedClientEnded
	}
	if t.state&upstreamEnded != 0 {
		facts |= packedUpstreamEnded
	}
	if t.tally != nil {
		facts |= packedTally
	}
	state = append(state, tunnelVersion, facts)
	for of := range t.active {
		state = conn.AppendElapsed(state, t.silence(side(of), now))
		state = conn.AppendNumber(state, t.done[of])
	}
	if y := t.tally; y != nil {
		state = conn.AppendElapsed(conn.AppendAddress(state, y.client), now-y.began)
		state = conn.AppendNumber(conn.AppendNumber(state, y.in), y.out)
	}
	return t.link.Pack(state), true
}

// Resume goes on with a tunnel of another process.
func (h *Handler) Resume(again *web.Resumption) (web.Upgraded, error) {
	group := h.options.Group
	if name, found := strings.CutPrefix(string(again.Upgrade), upgradePrefix); !found || name != group.Name() {
		return nil, web.ErrUpgrade
	}
	c := again.Conn
	a := h.agent(c)
	if a == nil {
		return nil, errNoDialer
	}
	t := &tunnel{agent: a, client: c}
	r := conn.ReadState(again.State, tunnelVersion)
	noted := t.unpack(&r)
	var err error
	if t.link, err = a.group.Adopt(&r, a, t, again.Mate); err != nil {
		return nil, err
	}
	for of, end := range [...]conn.Conn{clientSide: c, upstreamSide: t.link.Conn} {
		in, out := end.Traffic()
		t.done[of] = min(t.done[of], in+out)
	}
	t.note(noted)
	h.options.Counters.n[unknown].Add(1)
	t.watch()
	return t, nil
}

// errNoDialer refuses a tunnel where nothing can be dialled.
var errNoDialer = errors.New("proxy: this serving model cannot connect to upstreams")

// unpack reads all but the link. What was noted for the log is nil if nothing was.
func (t *tunnel) unpack(r *conn.StateReader) (noted *tally) {
	facts, now := r.Byte(), t.client.Now()
	switch ended := facts & (packedClientEnded | packedUpstreamEnded); {
	case facts >= packedBits, ended == packedClientEnded|packedUpstreamEnded: // when both have ended it is over
		r.Refuse()
	case ended == packedClientEnded:
		t.state = clientEnded
		t.because(clientEnd)
	case ended == packedUpstreamEnded:
		t.state = upstreamEnded
		t.because(upstreamEnd)
	}
	for of := range t.active {
		t.active[of] = uint32(now/tick) - uint32(r.Elapsed()/tick)
		t.done[of] = r.Number(1<<64 - 1)
	}
	if facts&packedTally != 0 {
		noted = &tally{client: r.Address(), began: now - r.Elapsed()}
		noted.in, noted.out = r.Number(1<<64-1), r.Number(1<<64-1)
	}
	return noted
}

// note has the log be told of the tunnel, if there is one: of all of it, or of what is left if nobody has noted the
// rest.
func (t *tunnel) note(noted *tally) {
	if t.agent.proxy.options.Tunnels == nil {
		return
	}
	if noted == nil {
		noted = &tally{client: t.client.Remote(), upstream: t.link.Endpoint.Address()}
		t.begin(noted)
		return
	}
	in, out := t.client.Traffic()
	noted.in, noted.out = min(noted.in, in), min(noted.out, out)
	noted.upstream = t.link.Endpoint.Address()
	t.tally = noted
}

// left notes that the client, and with it the tunnel, goes on in another process.
func (t *tunnel) left() {
	t.client = nil
	t.agent.proxy.options.Counters.n[moved].Add(1)
	if l := t.link; l != nil {
		t.link, l.Owner = nil, nil
	}
}
