package app

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
)

// This file is the listeners whose connections come by the process above the workers.

// Front is a listening socket that the process above the workers serves itself.
type Front struct {
	// Name is what the workers call the listener.
	Name string
	FD   int
	// Ports are those of the workers, by seat. Nil: connections are accepted, and passed on.
	Ports []uint16
}

// Fronts are those of all listeners. The descriptors stay with s.
func (s *Sockets) Fronts() (fronts []Front) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		switch {
		case set.parent && len(set.seats[0].fds) > 0: // none: they are closed
			fronts = append(fronts, Front{Name: set.name, FD: set.seats[0].fds[0]})
		case set.apart:
			f := Front{Name: set.name, FD: set.entryFD}
			for _, seat := range set.seats {
				f.Ports = append(f.Ports, seat.group.Spec().Address.Port())
			}
			fronts = append(fronts, f)
		}
	}
	return fronts
}

// openEntry opens the socket at which clients are told where to go.
func (s *socketSet) openEntry() (err error) {
	spec := s.spec
	spec.ReusePort = false
	s.entry = s.groupOf(spec, false)
	if s.entryFD, err = s.entry.Open(0); err != nil {
		s.entry = nil
	}
	return err
}

// deafListener is a listening socket at which nothing comes, for a worker that accepts nothing itself: models listen
// somewhere. It is a Unix socket whose file is gone, so that nobody can connect to it.
func (s *socketSet) deafListener() ([]int, error) {
	if len(s.deaf) > 0 {
		return s.deaf, nil
	}
	folder, err := os.MkdirTemp("", "myriad-")
	if err != nil {
		return nil, err
	}
	socket, err := listen.Open(listen.Spec{Network: "unix", Name: filepath.Join(folder, "deaf"), Mode: 0o600, Backlog: 1})
	if err == nil {
		socket.RemoveFile()
		s.deaf = append(s.deaf, socket.FD)
	}
	return s.deaf, errors.Join(err, os.Remove(folder))
}

// Accepted goes on with connections that the process above has accepted at a listener. Those that cannot be served now
// are returned, and stay the caller's.
func (a *App) Accepted(listener string, fds []int) (back []int) {
	g := a.now()
	place := slices.Index(g.called, listener)
	if place < 0 || a.steering == nil {
		return fds
	}
	number := g.fronts[place].number
	parcels := make([]*conn.Parcel, len(fds))
	for i, fd := range fds {
		parcels[i] = &conn.Parcel{Listener: number, FD: fd}
	}
	for i, err := range a.steering.ArriveMany(parcels) {
		if err != nil && parcels[i].FD >= 0 {
			back = append(back, parcels[i].FD)
		}
	}
	return back
}
