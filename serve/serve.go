// Package serve is the contract of the serving models: who runs which connection.
// The same handlers give the same bytes under every model; what differs is how
// many connections one thread of control looks after, and what an idle one costs.
//
// A model serves a [Site] from [Model.Serve] on, until its context ends. Then it
// winds down:
//
//  1. It stops accepting: it takes what the kernel has queued, as far as the limits
//     allow, because those clients are connected and know nothing of a stop; then it
//     closes the listening descriptors and tells [Listener.Closed].
//  2. It tells each open connection once, with [conn.Handler.Stopped]. Connections
//     that were accepted at the last moment are opened, and then told.
//  3. It serves on until the last connection is closed, or until [Limits.Drain] has
//     passed or [Site.Kill] is closed. Whatever is still open then is aborted with
//     [conn.ErrStopping].
//
// Serve returns after the last Handler.Closed has returned, and holds no thread,
// no goroutine and no descriptor any more. An orderly end is no error. An error means
// that the site could not be served, or not any longer.
//
// What every model promises, and package servetest checks: a handler is called by
// one thread of control at a time; Resume brings input that is left over again, also
// when nothing new has come; the limit on output counts memory, not files; running
// out of descriptors or memory costs idle connections (the oldest first,
// [conn.ErrPressure]) and time, never a connection at work and never a spinning
// processor.
//
// Connections may also come from another process and leave for one, see [Steering]:
// those that were only accepted come under every model, established ones where there
// are loops. A connection that leaves is closed to its handler with [conn.ErrMoved],
// and nothing is said to the peer. One that arrives keeps its traffic and its number
// of requests, and gets another ID.
//
// The package also holds what the models share that give each connection a thread
// of control of its own: see [Blocking].
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
)

// Model runs the connections of a site. It holds no state of its own: one Model may
// serve several sites at the same time.
type Model interface {
	// Name is what the operator calls it.
	Name() string
	// Driver names what moves the bytes when the model brings it along: "blocking"
	// for system calls that block, "runtime" for Go's own poller. It is empty for
	// models that open Site.Driver.
	Driver() string
	// Serve serves s until ctx is done and the last connection has been closed, as the
	// package comment describes. s must not change any more.
	Serve(ctx context.Context, s *Site) error
}

// Steering changes what a model serves while it serves it. Its methods are for any
// goroutine, and wait for the threads of the model: not for these themselves.
type Steering interface {
	// Listen serves one more listener, and returns its number: the site's own have 0 and
	// up, in their order, and each further one has the next. It serves it wholly or, with an
	// error, not at all.
	Listen(l Listener) (number int, err error)
	// Leave gives a listener up, as the end of the site would: what its backlog holds is
	// taken, its descriptors are closed, and its connections are told with
	// [conn.Handler.Stopped], evenly over half of the drain, so that their clients do not
	// all come back at once. What is still open when the drain has passed is aborted with
	// [conn.ErrStopping]. The address is free a moment after Leave has returned, or, under a
	// model that serves one connection at a time, when that one has ended. gone, if set, is
	// called when the last of its connections has been closed, from any goroutine.
	Leave(number int, drain time.Duration, gone func())
	// Succeed has the handlers that h makes serve what a listener accepts from now on. The
	// connections that it has accepted stay with theirs.
	Succeed(number int, h func() conn.Handler) error
	// Resume has a listener of datagrams received from that is [Listener.Paused], or has
	// departed.
	Resume(number int) error
	// Each calls f on each thread that can dial, and returns when all calls have. Models
	// that cannot dial call it never.
	Each(f func(d conn.Dialer))
	// Arrive goes on with a connection that was accepted, or served, in another process. Where
	// the parcel has no State it has only been accepted: the handler of its listener is told
	// Opened, and every model can do it. Otherwise that handler must be [conn.Portable], and
	// is told Unpack. Arrive returns when the thread that the connection is for has taken or
	// refused it. Then the descriptors are the model's; after an error, such as [ErrFull],
	// they are the caller's as before, under the numbers that p has by then. A connection
	// that arrives where a departure is under way stays: it comes back, as a rule.
	Arrive(p *conn.Parcel) error
	// ArriveMany is Arrive for many at once, and waits but once: for those who get tens of
	// thousands in a second. It returns as many errors, nil for each that was taken.
	ArriveMany(parcels []*conn.Parcel) []error
	// Depart has connections leave for another process, each as soon as its handler lets it:
	// see [conn.Portable]. The listening sockets that are meant are closed at once, because
	// the other process serves the same ones, and [Listener.Closed] is told; what waits there
	// is taken, because the kernel may have woken nobody else for it. Datagram sockets are
	// not read from any more, until the site ends or Resume; their sessions leave all at
	// once, also where there is no Room, if the handler is [conn.PortableDatagrams], or else
	// go on to send. Depart returns when they have left, or after a second. One departure
	// goes on until stop is called, from any thread but those of the model: what has not left
	// by then stays and goes on. Models that cannot say [ErrNotPortable], and nothing is
	// changed.
	Depart(d Departure) (stop func(), err error)
}

// Site is what a model serves. It is not changed while it is served, but by what Steer
// is given.
type Site struct {
	// Listeners are what is accepted and received from; at least one.
	Listeners []Listener
	// Driver is opened once for each loop by the models that have loops, with Options.
	// Options.Blocks is set by the model, from Limits.
	Driver  driver.Factory
	Options driver.Options
	// Accept says how connections come to the loops; one loop needs no choice.
	Accept Accept
	// Spread chooses the loop of a connection under OneAcceptor; round robin if nil.
	Spread balance.Policy
	Limits Limits
	// Kill, if set, ends the drain when it is closed: what is still open is aborted.
	// It does nothing before the context has ended.
	Kill <-chan struct{}
	// Ready, if set, is called once, when every listener is being served. It is not
	// called when Serve fails before. It must not block.
	Ready func()
	// Steer, if set, is called once before Ready, with what changes the listeners. It may
	// be used until the context ends.
	Steer func(s Steering)
	// Meter, if set, is called once for each worker (a loop, or a thread of control that
	// accepts or serves) before it counts anything, with what it will count in, from
	// any goroutine. Workers are numbered from 0 in the order of the calls. Several
	// workers may share a set.
	Meter func(worker int, set *meter.Set)
	// Roster, if set, is called once for each loop, or once by models without loops, before it serves, with what lists its
	// connections until Serve returns; from any goroutine.
	Roster func(worker int, r conn.Roster)
	// Recording is what is recorded of the connections; nothing if zero. Models without loops tell of the ends alone.
	Recording conn.Recording
	// Log gets a line when accepting pauses, and when it goes on. Nothing is logged if nil.
	Log *slog.Logger
}

// Listener is one listening socket, or one per loop that share an address.
type Listener struct {
	// Name is what the operator calls it, in errors and logs.
	Name string
	// Network is "tcp", "udp" or "unix".
	Network string
	// Open returns the listening descriptor, bound, non-blocking and close-on-exec. It
	// is called once with worker 0; under ReusePort once for each loop, unless Alone. The
	// descriptor belongs to the model, which closes it. -1 stands for a socket that
	// another process accepts from: connections come by Arrive of [Steering].
	Open func(worker int) (fd int, err error)
	// Alone says that there is one descriptor for all loops, whatever the site says.
	Alone bool
	// Closed, if set, is told that the descriptor of Open(worker) has been closed.
	Closed func(worker int)
	// Handler makes handlers for the connections of a stream socket: one for each loop,
	// or as many as serve at the same time. Handlers are kept and used again. Models
	// that have no loops call it from any goroutine, but never from two at once.
	Handler func() conn.Handler
	// Datagram makes handlers for a datagram socket, one for each descriptor. Exactly
	// one of Handler and Datagram is set.
	Datagram func() conn.DatagramHandler
	// Paused leaves datagrams in the socket until Resume of [Steering]: another process still
	// reads from it, and its sessions are to Arrive first.
	Paused bool
}

// Accept says how connections are spread over loops.
type Accept uint8

// The ways to spread connections.
const (
	// ReusePort: each loop has a listening socket of its own, and the kernel spreads.
	ReusePort Accept = iota
	// OneAcceptor: one loop accepts, and a balance policy places.
	OneAcceptor
)

// String is the name that operators use.
func (a Accept) String() string {
	if a == OneAcceptor {
		return "acceptor"
	}
	return "reuseport"
}

// Limits bound what a site may use. Zero is never infinity.
type Limits struct {
	// Loops is the number of event loops.
	Loops int
	// Workers is the number of threads of the workpool, and Queue how many accepted
	// connections may wait for one.
	Workers int
	Queue   int
	// Connections is the largest number of open connections of the site. At the limit
	// idle connections make room, and without any accepting pauses; the backlog of the
	// kernel holds what comes. What was accepted together with the last one is served,
	// so that the limit may be passed by a few.
	Connections int
	// BlockBytes is the size of a block, and Blocks how many there may be of them: in
	// each loop, or in the whole site for models without loops.
	BlockBytes int
	Blocks     int
	// OutputBytes is how much memory the queued output of one connection may hold.
	OutputBytes int64
	// Drain is how long the connections that are open at the stop may go on.
	Drain time.Duration
}

// leastBlock is the smallest block that is worth a system call.
const leastBlock = 512

// Validate reports everything that makes the listener impossible to serve.
func (l *Listener) Validate() error {
	var wrong []error
	if l.Open == nil {
		wrong = append(wrong, fmt.Errorf("serve: listener %q has no Open", l.Name))
	}
	if (l.Handler == nil) == (l.Datagram == nil) {
		wrong = append(wrong, fmt.Errorf("serve: listener %q must have either a Handler or a Datagram", l.Name))
	}
	if l.Network == "udp" && l.Datagram == nil {
		wrong = append(wrong, fmt.Errorf("serve: listener %q is udp and needs a Datagram", l.Name))
	}
	return errors.Join(wrong...)
}

// Validate reports everything that makes the site impossible to serve under any
// model. Loops, Workers and Queue may be zero here: a model that needs one of them
// refuses to serve without it.
func (s *Site) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(s.Listeners) == 0 {
		add("serve: the site has no listener")
	}
	for i := range s.Listeners {
		if err := s.Listeners[i].Validate(); err != nil {
			wrong = append(wrong, err)
		}
	}
	l := &s.Limits
	for _, limit := range []struct {
		name         string
		value, least int64
	}{
		{"Loops", int64(l.Loops), 0},
		{"Workers", int64(l.Workers), 0},
		{"Queue", int64(l.Queue), 0},
		{"Connections", int64(l.Connections), 1},
		{"BlockBytes", int64(l.BlockBytes), leastBlock},
		{"Blocks", int64(l.Blocks), 2},
		{"OutputBytes", l.OutputBytes, 1},
		{"Drain", int64(l.Drain), 1},
	} {
		if limit.value < limit.least {
			add("serve: Limits.%s is %d; it must be %d or more", limit.name, limit.value, limit.least)
		}
	}
	return errors.Join(wrong...)
}
