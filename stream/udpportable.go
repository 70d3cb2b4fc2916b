package stream

import (
	"net/netip"

	"github.com/myriad-server/myriad/conn"
)

// A session of datagrams goes on in another process with its socket: who the client is and which address of the
// listener it sends to, its server, what was counted of it, and for how long it has been silent. One whose server has
// failed has no socket and ends: the client's next datagram begins another, and would have gone to another server
// anyway.
//
// A client's datagram may come to the other process before its session does, and begin one there. Then the session that
// arrives has the client, and the other one goes on to pass the answers back that it waits for, until it is silent for
// long enough.

var (
	_ conn.PortableDatagrams = (*router)(nil)
	_ conn.PortableSession   = (*flow)(nil)
)

// sessionUDPVersion is that of the state of a session of datagrams.
const sessionUDPVersion = 1

// longestServer is more than any server's address has bytes.
const longestServer = 256

// Sessions has all sessions leave, the one that was heard of last first: so each finds its place soon where it arrives.
func (r *router) Sessions(_ conn.Datagrams, each func(socket conn.Datagrams)) {
	var next *flow
	for f := r.order.previous; f != &r.order; f = next {
		if next = f.previous; f.socket == nil {
			r.end(f, Stopped)
		} else {
			each(f.socket)
		}
	}
}

// PackSession ends the session here.
func (f *flow) PackSession(state []byte) []byte {
	r := f.router
	state = f.pack(state, r.dialer.Now())
	f.socket = nil
	f.agent.Unchoose(f.server)
	r.dismiss(f)
	r.tally.movedOut()
	r.rest()
	return state
}

// pack tells what the session needs to go on.
func (f *flow) pack(state []byte, now int64) []byte {
	state = append(state, sessionUDPVersion)
	state = conn.AppendAddress(state, f.client)
	state = conn.AppendAddress(state, netip.AddrPortFrom(f.home, 0))
	state = conn.AppendText(state, f.server.Address())
	state = conn.AppendElapsed(state, now-f.began)
	state = conn.AppendElapsed(state, now-f.active)
	for _, t := range f.traffic() {
		state = conn.AppendNumber(conn.AppendNumber(state, t.Datagrams), t.Bytes)
	}
	state = conn.AppendNumber(state, uint64(f.asked))
	return conn.AppendNumber(state, uint64(f.answers))
}

// traffic is all that is counted of a session.
func (f *flow) traffic() [4]*Traffic { return [4]*Traffic{&f.received, &f.sent, &f.from, &f.to} }

// mostDatagrams is beyond what any session counts.
const mostDatagrams = 1 << 60

// UnpackSession goes on with a session. It counts as one of its client and of the listener, also beyond their limits.
func (r *router) UnpackSession(
	d conn.Datagrams, state []byte, open func(h conn.DatagramHandler) conn.Datagrams,
) error {
	if r.dialer == nil {
		return errNoDialer
	}
	now := d.Now()
	f := &flow{router: r, clients: r.rules.clients}
	p := conn.ReadState(state, sessionUDPVersion)
	f.client = p.Address()
	f.home = p.Address().Addr()
	server := p.Text(longestServer)
	f.began = now - p.Elapsed()
	silence := p.Elapsed()
	for _, t := range f.traffic() {
		t.Datagrams, t.Bytes = p.Number(mostDatagrams), p.Number(mostDatagrams)
	}
	f.asked, f.answers = int(p.Number(mostDatagrams)), int(p.Number(mostDatagrams))
	if _, several := d.(homed); f.home.IsValid() && !several {
		p.Refuse() // nobody could answer from there
	}
	if err := p.End(); err != nil {
		return err
	}
	var err error
	if f.server, err = r.agent.Rechoose(server); err != nil {
		return err
	}
	f.agent = r.agent
	if f.socket = open(f); f.socket == nil {
		r.agent.Unchoose(f.server)
		return conn.ErrState
	}
	r.socket = d
	r.owner.open.Add(1)
	if f.clients != nil && counts(f.client) {
		f.clients.reenter(f.client.Addr())
	}
	r.tally.movedIn()
	r.include(f)
	r.arrange(f, now-silence)
	return nil
}

// arrange puts a session that has arrived where it belongs among those that have been silent for longer and shorter.
func (r *router) arrange(f *flow, active int64) {
	f.active = active
	behind := r.order.next
	for behind != &r.order && behind.active < active {
		behind = behind.next
	}
	f.previous, f.next = behind.previous, behind
	behind.previous.next, behind.previous = f, f
}
