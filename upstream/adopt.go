package upstream

import (
	"math"

	"github.com/myriad-server/myriad/conn"
)

// longestAddress is more than any endpoint's address has bytes.
const longestAddress = 256

// What a packed link says of itself.
const (
	packedEnded  byte = 1 << iota // the endpoint has sent its last byte
	packedHeard                   // bytes have come since it was granted
	packedReused                  // it was released before
)

// Pack appends to state what it takes to go on with a leased link in another process: the last that its owner appends.
func (l *Link) Pack(state []byte) []byte {
	facts := byte(0)
	if l.flags&endedFirst != 0 {
		facts |= packedEnded
	}
	if l.flags&hasHeard != 0 {
		facts |= packedHeard
	}
	if l.Reused {
		facts |= packedReused
	}
	state = append(conn.AppendText(state, l.Endpoint.address), facts)
	source, _ := l.Endpoint.targets[l.source].Source.AppendBinary(nil) // it cannot fail
	state = conn.AppendText(state, source)
	return conn.AppendElapsed(state, int64(l.age(milliseconds(l.share.agent.dialer.Now())))*1e6)
}

// Adopt goes on with a link that was leased in another process, and packed there as the last of the state that r reads.
// It is leased to h and owner at once; mate makes its connection, as conn.Portable says. It counts as one of its
// endpoint's connections, also beyond their limit: what is established is not cut for a limit, but nothing new is made
// until there is room again. The errors, upon which nothing has been done, are conn.ErrState, ErrNoEndpoint if the
// group has none of that address, and ErrClosed.
func (a *Agent) Adopt(
	r *conn.StateReader, h conn.Handler, owner any, mate func(h conn.Handler, v any) conn.Conn,
) (*Link, error) {
	address := r.Text(longestAddress)
	facts := r.Byte()
	source := r.Text(longestAddress)
	age := r.Elapsed()
	if err := r.End(); err != nil {
		return nil, err
	}
	if mate == nil || facts >= packedReused<<1 {
		return nil, conn.ErrState
	}
	e, err := a.group.endpointAt(address)
	if err != nil {
		return nil, err
	}
	now := a.dialer.Now()
	l := &Link{
		Endpoint: e, Owner: owner, share: a.shareOf(e), handler: h, phase: leased, flags: holdsPlace,
		born: milliseconds(now) - milliseconds(age), since: milliseconds(now), Reused: facts&packedReused != 0,
	}
	if facts&packedEnded != 0 {
		l.flags |= endedFirst
	}
	if facts&packedHeard != 0 {
		l.flags |= hasHeard
	}
	for i := range e.targets {
		if at, _ := e.targets[i].Source.AppendBinary(nil); string(at) == string(source) {
			l.source = uint8(i)
		}
	}
	a.count(l, now)
	if l.Conn = mate(a, l); l.Conn == nil {
		l.vacate()
		l.givePort(now, false)
		return nil, conn.ErrState
	}
	a.tally.add(Adopted)
	return l, nil
}

// count has a link that comes from elsewhere hold its place and its port, and be busy.
func (a *Agent) count(l *Link, now int64) {
	l.Endpoint.open.Add(1)
	l.share.links++
	if len(l.Endpoint.gauges) > 0 {
		l.flags |= holdsPort
		l.Endpoint.gauges[l.source].take(now, math.MaxInt)
	}
	l.setBusy()
}

// Rechoose is Choose for a use that began in another process, of the endpoint with this address, and ends with Unchoose
// like that. The errors are ErrNoEndpoint and ErrClosed. As with Adopt, a limit is no reason to refuse.
func (a *Agent) Rechoose(address []byte) (*Endpoint, error) {
	e, err := a.group.endpointAt(address)
	if err != nil {
		return nil, err
	}
	e.open.Add(1)
	e.busy.Add(1)
	a.tally.add(Adopted)
	return e, nil
}

// endpointAt is the group's endpoint of an address.
func (g *Group) endpointAt(address []byte) (*Endpoint, error) {
	if g.closed.Load() {
		return nil, ErrClosed
	}
	e := g.set.Load().byID[identify(string(address))]
	if e == nil || e.address != string(address) {
		return nil, ErrNoEndpoint
	}
	return e, nil
}
