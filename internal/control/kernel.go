package control

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

// Place is a listener or an endpoint, with the sockets that the kernel has there. They are more than the connections:
// those in TIME_WAIT, and those that have been closed with bytes left to be sent, belong to no process any more.
type Place struct {
	Listener string `json:"listener,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// States counts the sockets by the kernel's state, and Orphans those of no process.
	States  map[string]int `json:"states"`
	Orphans int            `json:"orphans"`

	at    netip.AddrPort
	local bool
}

// Socket is one of them.
type Socket struct {
	State       string  `json:"state"`
	Local       string  `json:"local"`
	Peer        string  `json:"peer"`
	Orphan      bool    `json:"orphan"`
	RTT         int64   `json:"rtt_microseconds,omitempty"`
	Retransmits uint32  `json:"retransmits"`
	Receiving   uint32  `json:"receive_queue_bytes"`
	Sending     uint32  `json:"send_queue_bytes"`
	Expires     Seconds `json:"expires_seconds,omitempty"` // what the kernel waits for, such as the end of TIME_WAIT
}

// Sockets are the places, and, where a state was asked for, sockets that are in it.
type Sockets struct {
	Places  []Place  `json:"places"`
	Sockets []Socket `json:"sockets,omitempty"`
}

// places are where this server's sockets can be.
func (s *Server) places() (all []Place) {
	add := func(p Place, text string) {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return // a Unix socket: it has no states
		}
		p.at, p.States = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), map[string]int{}
		all = append(all, p)
	}
	for _, l := range s.app.Listeners() {
		if scheme, address, _ := strings.Cut(l.Address, "://"); scheme != "udp" {
			add(Place{Listener: l.Address, local: true}, address)
		}
	}
	for _, p := range s.app.Pools() {
		add(Place{Upstream: p.Upstream, Endpoint: p.Endpoint}, p.Endpoint)
	}
	return all
}

// holds tells whether a socket belongs to the place. The ends of both sides may be on this machine: a listener has
// those at its own address, an endpoint those that lead there.
func (p *Place) holds(s *sockets.Socket) bool {
	end := s.Remote
	if p.local {
		end = s.Local
	}
	return end.Port() == p.at.Port() && (p.at.Addr().IsUnspecified() || end.Addr().Unmap() == p.at.Addr())
}

func (s *Server) sockets(w http.ResponseWriter, r *http.Request) {
	var wanted sockets.States
	limit := defaultLimit
	var err error
	for name, values := range r.URL.Query() {
		for _, value := range values {
			switch name {
			case "state":
				var state sockets.State
				state, err = sockets.ParseState(value)
				wanted |= state.Bit()
			case "limit":
				limit, err = parseCount(value, mostLimit)
			default:
				err = errors.New(name + ": there is no such parameter; there are state, limit")
			}
			if err != nil {
				refuse(w, http.StatusBadRequest, err, "")
				return
			}
		}
	}
	s.look(w, r, func(context.Context) (any, error) { return s.listSockets(wanted, limit) })
}

// listSockets asks the kernel for all sockets, and copies so many of those in the wanted states.
func (s *Server) listSockets(wanted sockets.States, limit int) (*Sockets, error) {
	found := &Sockets{Places: s.places()}
	q := sockets.Query{States: sockets.All &^ sockets.Listen.Bit(), Information: wanted != 0}
	err := sockets.List(q, func(o *sockets.Socket) {
		i := slices.IndexFunc(found.Places, func(p Place) bool { return p.holds(o) })
		if i < 0 {
			return
		}
		found.Places[i].States[o.State.String()]++
		if o.Inode == 0 {
			found.Places[i].Orphans++
		}
		if wanted.Has(o.State) && len(found.Sockets) < limit {
			found.Sockets = append(found.Sockets, Socket{
				State: o.State.String(), Local: o.Local.String(), Peer: o.Remote.String(), Orphan: o.Inode == 0,
				RTT: o.Information.RTT.Microseconds(), Retransmits: o.Information.Retransmissions,
				Receiving: o.ReceiveQueue, Sending: o.SendQueue, Expires: Seconds(o.Expires),
			})
		}
	})
	if err != nil && !errors.Is(err, sys.ErrSocketsChanged) {
		return nil, err
	}
	return found, nil
}
