package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/sockets"
)

const (
	defaultLimit = 100
	mostLimit    = 10_000
	// mostReach bounds what a listing keeps in memory: the page and all that comes before it.
	mostReach = 100_000
)

// Selection says which connections are meant, in which order, and which page of them.
type Selection struct {
	// States are words of ours or the kernel's names of TCP's; any of them. Empty: all.
	States []string
	// Peer is where the peer is, Local the own address; an invalid one is any.
	Peer netip.Prefix
	// Listener is a listener's number, or dialled; nil: any.
	Listener *int
	// Loop is the number of the loop; nil: any.
	Loop *int
	// Protocol is one that Connection.Protocol may be; empty: any.
	Protocol string
	// Older is the least age, Quiet the least time without anything happening, and Bytes how many were moved at least.
	Older, Quiet time.Duration
	Bytes        uint64

	Sort       string
	Descending bool
	Offset     int
	Limit      int
}

// dialled is the listener of connections that were dialled.
const dialled = -1

// order is a thing to sort by.
type order struct {
	name    string
	ask     conn.Ask
	upwards bool // by default the smallest comes first
	compare func(a, b *conn.Record) int
}

// by compares connections by a number of theirs.
func by[N cmp.Ordered](of func(r *conn.Record) N) func(a, b *conn.Record) int {
	return func(a, b *conn.Record) int { return cmp.Compare(of(a), of(b)) }
}

var orders = []order{
	{"id", 0, true, by(func(r *conn.Record) uint64 { return r.ID })},
	{"age", 0, false, by(func(r *conn.Record) time.Duration { return r.Age })},
	{"idle", 0, false, by(func(r *conn.Record) time.Duration { return r.Quiet })},
	{"in", 0, false, by(func(r *conn.Record) uint64 { return r.In })},
	{"out", 0, false, by(func(r *conn.Record) uint64 { return r.Out })},
	{"bytes", 0, false, by(func(r *conn.Record) uint64 { return r.In + r.Out })},
	{"requests", 0, false, by(func(r *conn.Record) uint32 { return r.Requests })},
	{"queued", 0, false, by(func(r *conn.Record) int64 { return r.Queued })},
	{"rtt", conn.AskState, false, by(func(r *conn.Record) time.Duration { return r.TCP.RTT })},
	{"retransmits", conn.AskState, false, by(func(r *conn.Record) uint32 { return r.TCP.Retransmits })},
}

// Orders are the names of what can be sorted by.
func Orders() []string {
	var names []string
	for _, o := range orders {
		names = append(names, o.name)
	}
	return names
}

// parameters are the names that a selection's URL may have.
var parameters = []string{
	"state", "peer", "listener", "loop", "protocol", "older", "idle", "min_bytes", "sort", "order", "offset", "limit",
}

// ParseSelection reads a selection from the parameters of a URL. The listeners are those that may be named.
func ParseSelection(v url.Values, listeners []app.Listener) (s Selection, err error) {
	s.Sort, s.Limit = "id", defaultLimit
	for name, values := range v {
		for _, value := range values {
			if err := s.set(name, value, listeners); err != nil {
				return s, fmt.Errorf("%s=%s: %w", name, value, err)
			}
		}
	}
	if !v.Has("order") {
		s.Descending = !s.order().upwards
	}
	if s.Offset+s.Limit > mostReach {
		return s, fmt.Errorf("offset and limit are %d together; at most %d can be reached: select fewer", s.Offset+s.Limit,
			mostReach)
	}
	return s, nil
}

func (s *Selection) set(name, value string, listeners []app.Listener) (err error) {
	switch name {
	case "state":
		for word := range strings.SplitSeq(value, ",") {
			state, err := parseState(word)
			if err != nil {
				return err
			}
			s.States = append(s.States, state)
		}
	case "peer":
		s.Peer, err = parsePrefix(value)
	case "listener":
		s.Listener, err = parseListener(value, listeners)
	case "loop":
		var n int
		n, err = parseCount(value, 1<<16)
		s.Loop = &n
	case "protocol":
		s.Protocol = value
		known := []string{"http", "tcp", "echo", "discard", switchedProtocol, dialledProtocol}
		if !slices.Contains(known, value) {
			err = fmt.Errorf("there are %s", strings.Join(known, ", "))
		}
	case "older":
		s.Older, err = parseDuration(value)
	case "idle":
		s.Quiet, err = parseDuration(value)
	case "min_bytes":
		s.Bytes, err = strconv.ParseUint(value, 10, 63)
	case "sort":
		s.Sort = value
		if !slices.Contains(Orders(), value) {
			err = fmt.Errorf("there are %s", strings.Join(Orders(), ", "))
		}
	case "order":
		s.Descending = value == "desc"
		if value != "asc" && value != "desc" {
			err = fmt.Errorf("write asc or desc")
		}
	case "offset":
		s.Offset, err = parseCount(value, mostReach)
	case "limit":
		s.Limit, err = parseCount(value, mostLimit)
	default:
		err = fmt.Errorf("there is no such parameter; there are %s", strings.Join(parameters, ", "))
	}
	return err
}

func parseState(word string) (string, error) {
	if low := strings.ToLower(word); slices.Contains(states, low) {
		return low, nil
	}
	state, err := sockets.ParseState(word)
	if err != nil {
		return "", fmt.Errorf("there is no state %q: there are %s, and those of TCP such as CLOSE_WAIT", word,
			strings.Join(states, ", "))
	}
	return state.String(), nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("write an address such as 192.0.2.7, or a range such as 192.0.2.0/24")
	}
	return p.Masked(), nil
}

// parseListener finds a listener by its number or its address, with what stands before it or without.
func parseListener(text string, listeners []app.Listener) (*int, error) {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(listeners) {
		return &n, nil
	}
	var names []string
	for i, l := range listeners {
		_, bare, _ := strings.Cut(l.Address, "://")
		if text == l.Address || text == bare {
			return &i, nil
		}
		names = append(names, l.Address)
	}
	return nil, fmt.Errorf("there is no such listener; there are %s", strings.Join(names, ", "))
}

func parseCount(text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("write a number from 0 to %d", most)
	}
	return n, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("write a duration such as 30s or 5m")
	}
	return d, nil
}

func (s *Selection) order() *order {
	for i := range orders {
		if orders[i].name == s.Sort {
			return &orders[i]
		}
	}
	return &orders[0]
}

// filters reports that some connections are not meant.
func (s *Selection) filters() bool {
	return len(s.States) > 0 || s.Peer.IsValid() || s.Listener != nil || s.Loop != nil || s.Protocol != "" ||
		s.Older > 0 || s.Quiet > 0 || s.Bytes > 0
}

// ask is what the selection has to know of every connection.
func (s *Selection) ask() conn.Ask {
	ask := s.order().ask
	if s.Peer.IsValid() {
		ask |= conn.AskPeer
	}
	for _, state := range s.States {
		if strings.ToUpper(state) == state {
			ask |= conn.AskState
		}
	}
	return ask
}

// selects reports that a connection is meant.
func (s *Selection) selects(r *conn.Record, listeners []app.Listener) bool {
	switch {
	case s.Older > r.Age, s.Quiet > r.Quiet, s.Bytes > r.In+r.Out:
		return false
	case s.Loop != nil && *s.Loop != r.Worker, s.Listener != nil && *s.Listener != r.Listener:
		return false
	case len(s.States) > 0 && !slices.Contains(s.States, stateOf(r)) && !slices.Contains(s.States, r.TCP.State):
		return false
	case s.Peer.IsValid() && !s.Peer.Contains(r.Remote.Addr().WithZone("")):
		return false
	}
	return s.Protocol == "" || s.Protocol == protocolOf(r, listeners)
}

// before reports that a comes before b. The ID decides between equals, so that pages fit together.
func (s *Selection) before(a, b *conn.Record) bool {
	order := s.order().compare(a, b)
	if s.Descending {
		order = -order
	}
	if order == 0 {
		order = cmp.Compare(a.ID, b.ID)
	}
	return order < 0
}
