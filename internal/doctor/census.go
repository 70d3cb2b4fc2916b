package doctor

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

// Census is what the checks need to know of all TCP sockets. It is made in one walk through the kernel's list and stays
// small, however many sockets there are: what could have as many entries as the host has peers is bounded.
type Census struct {
	// Listeners are the sockets in LISTEN.
	Listeners []sockets.Socket
	// States counts sockets by state.
	States map[sockets.State]int
	// Routes are the connections that were dialled from here, by where from and where to. A connection counts as dialled
	// if nothing listens on its local port.
	Routes map[Route]*Dialled
	// Left are the connections in CLOSE_WAIT, Vanished those whose peer has not answered for several tries.
	Left, Vanished []Connection
	// Arrived and Silent count established connections that were accepted or dialled, to peers elsewhere: Silent has no
	// keepalive, and Late a first probe only after lateProbe.
	Elsewhere, Silent, Late int
	// Unscaled are those without window scaling, of Elsewhere.
	Unscaled int
	// Lossy are segments sent again, by peer.
	Lossy map[netip.Addr]uint64
	// Crowded says that a bound was reached, so that Routes, Left, Vanished or Lossy are not all there are.
	Crowded bool
}

// Route is where a connection was dialled from, and where to.
type Route struct {
	From netip.Addr
	To   netip.AddrPort
}

// Dialled are the connections of a route, each with a port of its own.
type Dialled struct {
	// Open has not been closed by both; Waiting is in TIME_WAIT, and Fresh of these for less than freshTime; Unanswered of
	// the open ones has sent its SYN more than once.
	Open, Waiting, Fresh, Unanswered int
	// Recent is how many have entered TIME_WAIT during the last recentTime.
	Recent int
}

// Connection is a socket as evidence.
type Connection struct {
	Local, Remote netip.AddrPort
	Inode         uint32
	// Quiet is how long nothing was heard of the peer.
	Quiet time.Duration
	// Unread is how many bytes came and were not read, Unsent how many were written and not acknowledged.
	Unread, Unsent uint32
	// Retries is how often in a row they were sent again.
	Retries uint8
}

// Bounds of a census, and what it counts as what.
const (
	censusEntries = 1 << 16
	// timeWait is how long the kernel keeps TIME_WAIT (TCP_TIMEWAIT_LEN); it cannot be set.
	timeWait = time.Minute
	// freshTime is how long a port in TIME_WAIT cannot be used again, where that is allowed (tcp_tw_reuse_delay).
	freshTime = time.Second
	// recentTime is what the rate of closing is taken over.
	recentTime = 10 * time.Second
	// lateProbe is the longest idle time that is safe behind the boxes which checkKeepAlive lists.
	lateProbe = 4 * time.Minute
	// vanishedRetries is how often data was sent again in vain when a peer counts as gone: some 3 s at the least.
	vanishedRetries = 4
)

// Census is made anew after each Refresh. It is of the network namespace of this thread; see Enter.
func (h *Host) Census() (*Census, error) {
	if h.census == nil && h.censusErr == nil {
		if h.censusErr = h.entered(); h.censusErr == nil {
			h.census, h.censusErr = newCensus()
		}
	}
	return h.census, h.censusErr
}

func emptyCensus() *Census {
	return &Census{States: map[sockets.State]int{}, Routes: map[Route]*Dialled{}, Lossy: map[netip.Addr]uint64{}}
}

func newCensus() (*Census, error) {
	c := emptyCensus()
	served := map[uint16]bool{}
	err := sockets.List(sockets.Query{States: sockets.Listen.Bit()}, func(s *sockets.Socket) {
		c.Listeners = append(c.Listeners, *s)
		served[s.Local.Port()] = true
	})
	// A list that changed while it was read may be wrong by some sockets; a census is not that exact anyway.
	if err != nil && !errors.Is(err, sys.ErrSocketsChanged) {
		return nil, err
	}
	c.States[sockets.Listen] = len(c.Listeners)
	q := sockets.Query{States: sockets.All &^ sockets.Listen.Bit(), Information: true}
	err = sockets.List(q, func(s *sockets.Socket) { c.count(s, served[s.Local.Port()]) })
	if err != nil && !errors.Is(err, sys.ErrSocketsChanged) {
		return nil, err
	}
	return c, nil
}

func (c *Census) count(s *sockets.Socket, served bool) {
	c.States[s.State]++
	if !served && s.State != sockets.SynReceived && s.State != sockets.Close {
		c.dialled(s)
	}
	switch s.State {
	case sockets.CloseWait:
		c.keep(&c.Left, s)
	case sockets.Established:
		c.established(s)
	}
	// Behind a byte that was sent in vain again and again there is nobody.
	if s.Timer == sockets.RetransmitTimer && s.Retries >= vanishedRetries && s.State != sockets.SynSent &&
		s.State != sockets.SynReceived {
		c.keep(&c.Vanished, s)
	}
	if n := s.Information.Retransmissions; n > 0 {
		if _, known := c.Lossy[s.Remote.Addr()]; !known && len(c.Lossy) == censusEntries {
			c.Crowded = true
			return
		}
		c.Lossy[s.Remote.Addr()] += uint64(n)
	}
}

func (c *Census) dialled(s *sockets.Socket) {
	route := Route{s.Local.Addr(), s.Remote}
	d := c.Routes[route]
	if d == nil {
		if len(c.Routes) == censusEntries {
			c.Crowded = true
			return
		}
		d = &Dialled{}
		c.Routes[route] = d
	}
	if s.State != sockets.TimeWait {
		d.Open++
		if s.State == sockets.SynSent && s.Retries > 0 {
			d.Unanswered++
		}
		return
	}
	d.Waiting++
	if s.Expires > timeWait-freshTime {
		d.Fresh++
	}
	if s.Expires > timeWait-recentTime {
		d.Recent++
	}
}

func (c *Census) established(s *sockets.Socket) {
	if s.Remote.Addr().IsLoopback() {
		return
	}
	c.Elsewhere++
	switch {
	case s.Timer == sockets.NoTimer:
		c.Silent++
	case s.Timer == sockets.KeepAliveTimer && s.Expires > lateProbe:
		c.Late++
	}
	if s.Information.Known && !s.Information.WindowScaling {
		c.Unscaled++
	}
}

func (c *Census) keep(list *[]Connection, s *sockets.Socket) {
	if len(*list) == censusEntries {
		c.Crowded = true
		return
	}
	*list = append(*list, Connection{
		Local: s.Local, Remote: s.Remote, Inode: s.Inode, Quiet: s.Information.LastHeard,
		Unread: s.ReceiveQueue, Unsent: s.SendQueue, Retries: s.Retries,
	})
}

// owners finds who has the sockets; with a process that is asked about, only what that has is known.
func (h *Host) owners(inodes map[uint32]bool) (*sockets.Ownership, error) {
	return sockets.Owners(h.Proc, h.PID, inodes)
}

// byOwner sorts connections to the processes that have them; those that nobody has are under the zero Process. With a
// process that is asked about, those of others are left out.
func (h *Host) byOwner(list []Connection) (owned map[sockets.Process][]Connection, hidden int, err error) {
	inodes := map[uint32]bool{}
	for _, c := range list {
		inodes[c.Inode] = true
	}
	owners, err := h.owners(inodes)
	if err != nil {
		return nil, 0, err
	}
	owned = map[sockets.Process][]Connection{}
	for _, c := range list {
		p, known := owners.Owner(c.Inode)
		if known || h.PID == 0 {
			owned[p] = append(owned[p], c)
		}
	}
	return owned, owners.Closed, nil
}

// largest are the keys of a map by falling weight, at most count of them. Keys of one weight are in the order of their
// text, so that two reports on the same host are alike.
func largest[K comparable, V any](m map[K]V, count int, weight func(V) int, text func(K) string) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int {
		return cmp.Or(cmp.Compare(weight(m[b]), weight(m[a])), cmp.Compare(text(a), text(b)))
	})
	return keys[:min(len(keys), count)]
}
