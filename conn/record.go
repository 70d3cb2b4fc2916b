package conn

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// ErrOperator ends a connection that somebody who looks after the server wants to be gone.
var ErrOperator = errors.New("closed by the operator")

// Record is a connection at one moment, as whoever runs it knows it: a copy, good for ever.
type Record struct {
	ID uint64
	// Worker is the number of the loop, and Listener that of the site's listener; -1 for a connection that was dialled.
	Worker, Listener int
	State            State
	// Idle says that it waits for its peer between two exchanges, Paused that it is not read from.
	Idle, Paused bool
	// Switched says that what is attached to it is a Handler: it speaks another protocol than that of its listener.
	Switched bool
	// Age is the time since it was accepted or dialled. Quiet is the time since anything happened to it; while it is idle,
	// since it became so. Both are exact to about a tenth of a second under models with loops.
	Age, Quiet time.Duration
	// In and Out are bytes received and sent, Queued those that the kernel has not taken yet.
	In, Out uint64
	Queued  int64
	// Requests counts the requests that came, or that were passed on by a connection to an upstream: see Counter.
	Requests uint32
	// Local and Remote are known after AskLocal and AskPeer, and TCP after AskState and AskQueues.
	Local, Remote netip.AddrPort
	TCP           TCP
	// Why is the reason that Handler.Closed was told, and Ended when that was in Unix seconds, for one that is over.
	Why   error
	Ended int64
}

// TCP is what the kernel knows of a connection.
type TCP struct {
	// State is the kernel's name, such as "ESTABLISHED"; empty where there is nothing to know.
	State string
	RTT   time.Duration
	// Retransmits counts segments since the connection began. Window and Unacked are segments: the congestion window, and
	// what is on its way.
	Retransmits, Window, Unacked uint32
	// Receiving and Sending are bytes in the kernel's queues.
	Receiving, Sending int64
}

// Ask says what a Record is to hold beyond what costs nothing.
type Ask uint8

// What can be asked for. Each costs a system call for a connection; AskQueues two or three.
const (
	AskPeer   Ask = 1 << iota // Remote
	AskLocal                  // Local
	AskState                  // TCP without the queues
	AskQueues                 // the queues of TCP

	AskAddresses = AskPeer | AskLocal
	AskTCP       = AskState | AskQueues
)

// Counter is a Conn that counts requests for those who list it. Only who reads the protocol knows what a request is.
type Counter interface {
	// CountRequest counts one; for the connection's own thread of control.
	CountRequest()
}

// CountRequest counts a request of a connection, if it can count.
func CountRequest(c Conn) {
	if n, counts := c.(Counter); counts {
		n.CountRequest()
	}
}

// ListMost is how many records one call of Roster.List copies at most.
const ListMost = 1024

// Roster lists the connections of one worker. Its methods may be called from any goroutine but the worker's own.
type Roster interface {
	// List copies records of the connections from a place on, which is 0 at first, and returns how many it copied and the
	// place to go on from; 0: there are no more. dst has room for ListMost. A connection that is there all the time is
	// listed once; one that comes or goes meanwhile may be missed. After an error dst still belongs to the worker.
	List(ctx context.Context, from uint32, dst []Record, ask Ask) (n int, next uint32, err error)
	// Find copies records of connections by ID, at most ListMost; those that are gone are left out. With each that it can
	// it calls describe, if that is set, on the connection's own thread of control. After an error dst and describe still
	// belong to the worker.
	Find(ctx context.Context, ids []uint64, dst []Record, ask Ask, describe func(c Conn, at int)) (n int, err error)
	// End aborts a connection, soon, with a reason. It reports false when the connection is known to be gone.
	End(id uint64, why error) bool
	// Ended copies records of connections that have ended lately, the last ones last.
	Ended(ctx context.Context) ([]Record, error)
}

// Look asks the kernel about the socket of a connection.
func (r *Record) Look(fd int, ask Ask) {
	if ask&AskPeer != 0 {
		r.Remote = unmapped(sys.RemoteAddress(fd))
	}
	if ask&AskLocal != 0 {
		r.Local = unmapped(sys.LocalAddress(fd))
	}
	if ask&AskState != 0 {
		r.TCP = TCP(sys.ConditionOf(fd))
	}
	if ask&AskQueues != 0 {
		r.TCP.Receiving, r.TCP.Sending = sys.Unread(fd), sys.Unacknowledged(fd)
	}
}

// unmapped is an address as people write it; one that is gone is the zero address.
func unmapped(a netip.AddrPort, _ error) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// memoryEnds is how many ends of each kind a Memory keeps.
const memoryEnds = 512

// Memory keeps the last connections that have ended. Those that ended in order do not push out those that did not. Its
// zero value is ready. It is for one thread of control.
type Memory struct {
	orderly, broken []Record
	ends            [2]int
}

// Keep remembers the record of a connection that has ended.
func (m *Memory) Keep(r *Record) {
	ring, end := &m.orderly, &m.ends[0]
	if r.Why != nil {
		ring, end = &m.broken, &m.ends[1]
	}
	if *ring == nil {
		*ring = make([]Record, 0, memoryEnds)
	}
	if len(*ring) < memoryEnds {
		*ring = append(*ring, *r)
		return
	}
	(*ring)[*end] = *r
	*end = (*end + 1) % memoryEnds
}

// Recall copies what is remembered: those that ended in order, and then the others; within each the last ones last.
func (m *Memory) Recall() []Record {
	all := make([]Record, 0, len(m.orderly)+len(m.broken))
	for i, ring := range [][]Record{m.orderly, m.broken} {
		all = append(append(all, ring[m.ends[i]:]...), ring[:m.ends[i]]...)
	}
	return all
}
