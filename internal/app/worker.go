package app

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// This file is the listening sockets of a server of several processes. The process above the workers opens and keeps
// them, so that what waits in a backlog outlives a worker.

// Given is one listening socket that a worker gets.
type Given struct {
	// Listener is its place in the configuration, and Place which of the worker's sockets for that listener it is.
	Listener int `json:"listener"`
	Place    int `json:"place"`
	// Bound is the address with its port; it has none for a unix socket.
	Bound netip.AddrPort `json:"bound"`
	// Extra says that the socket is that of a seat that nobody has: it is accepted from besides the worker's own.
	Extra bool `json:"extra,omitempty"`
	Seat  int  `json:"seat,omitempty"` // then
	// Lent says that a service manager has opened the socket, and keeps it.
	Lent bool `json:"lent,omitempty"`
	FD   int  `json:"-"`
}

// Sockets are the listening sockets of all workers, by seat. A worker has a seat, and whoever follows it there has the
// same sockets. It is safe for use by several goroutines: what a change of the configuration does, the end may undo.
type Sockets struct {
	mu    *sync.Mutex  // that of all configurations, which share sets
	sets  []*socketSet // by listener
	seats int          // of the sets that are spread: how many have sockets
}

// socketSet is the sockets of one listener.
type socketSet struct {
	name     string // what all processes call the listener
	listener *config.Listener
	spec     listen.Spec
	each     int // how many a worker needs
	spread   bool
	lone     bool // one worker alone serves it: datagrams that cannot be spread
	parent   bool // the process above the workers accepts, and the first seat's socket is its own
	apart    bool // each seat has a port of its own, and the process above serves the entry
	lent     int  // the socket that a service manager has opened, for the entry or for all; 0: none
	entry    *listen.Group
	entryFD  int
	seats    []*seatSockets
	deaf     []int // sockets at which nothing comes, for workers that have no other
}

// seatSockets are those of one seat; of the first alone where the sockets are not spread.
type seatSockets struct {
	group *listen.Group
	fds   []int
}

// OpenSockets opens what the workers of a plan listen on, for a number of seats. What before has for the same addresses
// is taken over; what it has besides stays open until Retire. With an error nothing new is open.
func OpenSockets(p *Plan, seats int, before *Sockets) (*Sockets, error) {
	s := &Sockets{mu: new(sync.Mutex), seats: seats}
	if before != nil {
		s.mu = before.mu
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before != nil {
		s.seats = max(seats, before.seats)
	}
	keys := listenerKeys(p)
	for i := range p.Config.Listeners {
		l := &p.Config.Listeners[i]
		set := s.inherit(l, before) // of those that are alike the first ones stay: their names do
		if set == nil {
			set = newSocketSet(p, l, p.lent[i])
			set.name = keys[i].where
		}
		s.sets = append(s.sets, set)
		if err := set.fill(s.seats); err != nil {
			s.retire(before)
			return nil, fmt.Errorf("listeners[%d]: %w", i, err)
		}
	}
	return s, nil
}

// inherit is the set of an earlier configuration for a listener, or nil.
func (s *Sockets) inherit(l *config.Listener, before *Sockets) *socketSet {
	if before == nil {
		return nil
	}
	for _, set := range before.sets {
		if set.listener.Address == l.Address && datagrams(set.listener) == datagrams(l) && !slices.Contains(s.sets, set) {
			return set
		}
	}
	return nil
}

func newSocketSet(p *Plan, l *config.Listener, lent int) *socketSet {
	set := &socketSet{listener: l, each: 1, lent: lent}
	model, stream := p.Config.Engine.ProcessModel, !datagrams(l)
	internet := l.Address.Network != config.Unix
	shares := internet && l.ReusePort != config.No
	set.parent = stream && model == config.ProcessPrefork
	set.apart = stream && internet && model == config.ProcessPorts
	set.spread = set.apart || lent == 0 && shares && (model == config.ProcessReusePort || !stream)
	set.lone = !stream && !set.spread
	if shares && set.spread && p.Accept == serve.ReusePort {
		set.each = max(p.Loops, 1)
	}
	set.spec = specOf(l, shares && set.spread)
	return set
}

// fill opens what is missing for a number of seats.
func (s *socketSet) fill(seats int) error {
	if !s.spread {
		seats = 1
	}
	if s.apart && s.entry == nil {
		if err := s.openEntry(); err != nil {
			return err
		}
	}
	for len(s.seats) < seats {
		seat := &seatSockets{group: s.groupOf(s.specFor(len(s.seats)), s.apart)}
		open := seat.group.Open
		first := len(s.seats) == 0 || s.apart
		if first && s.spec.ReusePort && s.listener.ReusePort == config.Auto && !datagrams(s.listener) {
			open = alone(s.specFor(len(s.seats)), seat.group)
		}
		for i := range s.each {
			fd, err := open(i)
			if err != nil {
				seat.group.Close()
				return err
			}
			seat.fds = append(seat.fds, fd)
		}
		s.seats = append(s.seats, seat)
	}
	return nil
}

// groupOf opens sockets, or is the one that there is, unless they are others beside it.
func (s *socketSet) groupOf(spec listen.Spec, beside bool) *listen.Group {
	if s.lent > 0 && !beside {
		return listen.Lent(spec, s.lent)
	}
	return listen.NewGroup(spec)
}

// specFor is what the sockets of a seat are opened from.
func (s *socketSet) specFor(seat int) listen.Spec {
	spec := s.spec
	switch port := spec.Address.Port(); {
	case s.apart && port != 0:
		spec.Address = netip.AddrPortFrom(spec.Address.Addr(), port+1+uint16(seat))
	case !s.apart && seat > 0:
		spec = s.seats[0].group.Spec() // with the port
	}
	return spec
}

// Grow opens the sockets of more seats. With an error those that there are go on.
func (s *Sockets) Grow(seats int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		if err := set.fill(seats); err != nil {
			return err
		}
	}
	s.seats = max(s.seats, seats)
	return nil
}

// Retire closes what kept does not have too, once. Workers that still have a socket go on with it.
func (s *Sockets) Retire(kept *Sockets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retire(kept)
}

func (s *Sockets) retire(kept *Sockets) {
	for _, set := range s.sets {
		if kept != nil && slices.Contains(kept.sets, set) {
			continue
		}
		for _, seat := range set.seats {
			seat.group.Close()
			seat.fds = nil
		}
		for _, fd := range set.deaf {
			_ = sys.Close(fd)
		}
		set.deaf = nil
		if set.entry != nil {
			set.entry.Close()
			set.entryFD = -1
		}
	}
}

// For is what the worker of a seat gets: its own sockets, and those of more seats, which nobody has any more. The
// descriptors stay with s.
func (s *Sockets) For(seat int, more []int) ([]Given, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forSeat(seat, more)
}

func (s *Sockets) forSeat(seat int, more []int) ([]Given, error) {
	var given []Given
	for i, set := range s.sets {
		some, err := set.of(seat)
		if err != nil {
			return nil, err
		}
		for place, fd := range some {
			lent := set.lent > 0 && !set.apart
			given = append(given, Given{Listener: i, Place: place, Bound: set.bound(seat), Lent: lent, FD: fd})
		}
	}
	for _, seat := range more {
		given = append(given, s.extra(seat)...)
	}
	return given, nil
}

// Extra is what another worker gets of a seat that nobody has any more, so that nobody waits at its sockets in vain.
func (s *Sockets) Extra(seat int) []Given {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.extra(seat)
}

func (s *Sockets) extra(seat int) (given []Given) {
	for i, set := range s.sets {
		if !set.spread || seat >= len(set.seats) {
			continue
		}
		for place, fd := range set.seats[seat].fds {
			given = append(given, Given{Listener: i, Place: place, Bound: set.bound(seat), Seat: seat, Extra: true, FD: fd})
		}
	}
	return given
}

// Seats is how many seats have sockets.
func (s *Sockets) Seats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seats
}

// Fresh is what For gives of listeners that before does not have.
func (s *Sockets) Fresh(seat int, more []int, before *Sockets) ([]Given, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given, err := s.forSeat(seat, more)
	return slices.DeleteFunc(given, func(g Given) bool { return slices.Contains(before.sets, s.sets[g.Listener]) }), err
}

func (s *socketSet) of(seat int) ([]int, error) {
	switch {
	case s.spread:
		return s.seats[seat].fds, nil
	case s.parent:
		return s.deafListener()
	case !s.lone || seat == 0:
		return s.seats[0].fds, nil
	}
	for len(s.deaf) == 0 {
		fd, err := sys.Socket(sys.Inet4, sys.Datagram, true)
		if err != nil {
			return nil, err
		}
		s.deaf = append(s.deaf, fd)
	}
	return s.deaf, nil
}

func (s *socketSet) bound(seat int) netip.AddrPort {
	if !s.spread {
		seat = 0
	}
	return s.seats[seat].group.Spec().Address
}

// URLs are where the sockets listen, in the order of the listeners, and what is to be said about them.
func (s *Sockets) URLs() (urls, warnings []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		group := set.seats[0].group
		if set.apart {
			group = set.entry
		}
		urls = append(urls, url(set.listener.Protocol, group.Spec()))
		if w := group.Warning(); w != "" {
			warnings = append(warnings, w)
		}
	}
	return urls, warnings
}

// errNoSocket is told of a listener for which a worker was given nothing.
var errNoSocket = errors.New("this worker was given no socket for it")

// givenGroup is the group of a listener whose sockets another process has opened. It takes them out of what was given.
func (g *generation) givenGroup(listener int, spec listen.Spec) (*listen.Group, error) {
	if fd, ok := g.plan.lent[listener]; ok {
		return listen.Lent(spec, fd), nil
	}
	a := g.App
	a.giving.Lock()
	defer a.giving.Unlock()
	var fds []int
	lent := false
	a.given = slices.DeleteFunc(a.given, func(g Given) bool {
		if g.Listener != listener || g.Extra {
			return false
		}
		for len(fds) <= g.Place {
			fds = append(fds, -1)
		}
		fds[g.Place] = g.FD
		lent = lent || g.Lent
		if g.Bound.IsValid() {
			spec.Address = g.Bound
		}
		return true
	})
	if fds == nil {
		return nil, fmt.Errorf("listen on %s: %w", spec, errNoSocket)
	}
	switch {
	case lent:
		return listen.Lent(spec, fds[0]), nil
	case !a.options.Worker:
		return listen.Succeeding(spec, fds), nil
	}
	return listen.Inherited(spec, fds), nil
}

// Give adds sockets for the listeners of a plan that is to be reloaded to, or, with Extra, for those in effect. They
// belong to the server from then on.
func (a *App) Give(given []Given) {
	a.giving.Lock()
	defer a.giving.Unlock()
	a.given = append(a.given, given...)
}

// Ungive closes what was given and not taken.
func (a *App) Ungive() {
	a.giving.Lock()
	defer a.giving.Unlock()
	for _, g := range a.given {
		_ = sys.Close(g.FD)
	}
	a.given = nil
}
