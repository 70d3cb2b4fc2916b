package app

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
)

// KeptSet is the sockets of one listener as they are written down for the program that goes on with them in the same
// process: by the numbers of their descriptors.
type KeptSet struct {
	Name  string     `json:"name"`
	Entry *KeptSeat  `json:"entry,omitempty"`
	Seats []KeptSeat `json:"seats"`
	Deaf  []int      `json:"deaf,omitempty"`
	// Lent is the socket that a service manager has opened, among the others; 0: there is none.
	Lent int `json:"lent,omitempty"`
}

// KeptSeat is the sockets of one seat.
type KeptSeat struct {
	Bound netip.AddrPort `json:"bound"`
	FDs   []int          `json:"fds"`
}

// Keep writes the sockets down, in the order of the listeners.
func (s *Sockets) Keep() (kept []KeptSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		k := KeptSet{Name: set.name, Deaf: set.deaf, Lent: set.lent}
		for _, seat := range set.seats {
			k.Seats = append(k.Seats, KeptSeat{Bound: seat.group.Spec().Address, FDs: seat.fds})
		}
		if set.entry != nil {
			k.Entry = &KeptSeat{Bound: set.entry.Spec().Address, FDs: []int{set.entryFD}}
		}
		kept = append(kept, k)
	}
	return kept
}

// Descriptors are all of a listener.
func (k *KeptSet) Descriptors() (all []int) {
	for _, seat := range k.Seats {
		all = append(all, seat.FDs...)
	}
	if k.Entry != nil {
		all = append(all, k.Entry.FDs...)
	}
	return append(all, k.Deaf...)
}

// KeptSockets are those that were written down, for the plan that they were opened for and as many seats. They become
// close-on-exec.
func KeptSockets(p *Plan, seats int, kept []KeptSet) (*Sockets, error) {
	if len(kept) != len(p.Config.Listeners) {
		return nil, fmt.Errorf("sockets of %d listeners are left, and there are %d", len(kept), len(p.Config.Listeners))
	}
	s := &Sockets{mu: new(sync.Mutex), seats: seats}
	for i := range p.Config.Listeners {
		set, err := keptSet(newSocketSet(p, &p.Config.Listeners[i], kept[i].Lent), &kept[i])
		if err != nil {
			return nil, fmt.Errorf("listeners[%d]: %w", i, err)
		}
		s.sets = append(s.sets, set)
		if err := set.fill(seats); err != nil { // nothing is missing, unless this version spreads more
			return nil, fmt.Errorf("listeners[%d]: %w", i, err)
		}
	}
	return s, nil
}

func keptSet(set *socketSet, k *KeptSet) (*socketSet, error) {
	if len(k.Seats) == 0 || set.apart != (k.Entry != nil) {
		return nil, errors.New("this version spreads its connections in another way")
	}
	for _, fd := range k.Descriptors() {
		if err := sys.SetCloseOnExec(fd); err != nil {
			return nil, err
		}
	}
	set.name, set.deaf = k.Name, k.Deaf
	for _, of := range k.Seats {
		group, err := keptGroup(set.spec, of, k.Lent > 0 && !set.apart)
		if err != nil {
			return nil, err
		}
		set.seats = append(set.seats, &seatSockets{group: group, fds: of.FDs})
	}
	if k.Entry == nil {
		return set, nil
	}
	spec := set.spec
	spec.ReusePort = false
	var err error
	set.entry, err = keptGroup(spec, *k.Entry, k.Lent > 0)
	set.entryFD = k.Entry.FDs[0]
	return set, err
}

func keptGroup(spec listen.Spec, of KeptSeat, lent bool) (*listen.Group, error) {
	if of.Bound.IsValid() {
		spec.Address = of.Bound
	}
	group := listen.Inherited(spec, append([]int(nil), of.FDs...))
	if lent {
		group = listen.Lent(spec, of.FDs[0])
	}
	for place := range of.FDs {
		if _, err := group.Open(place); err != nil {
			return nil, err
		}
	}
	group.Own()
	return group, nil
}
