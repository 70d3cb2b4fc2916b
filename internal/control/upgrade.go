package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
)

// farewellTime is how long answers that are being given at the end may take.
const farewellTime = time.Second

// leaveTime is how long they may take where the server goes on.
const leaveTime = 10 * time.Second

// upgradeMend is what to do about a successor that has failed.
const upgradeMend = "try the program with myriad check, see the log, and ask again"

// upgradingMend is what to do about an upgrade that is under way.
const upgradingMend = "wait for its end"

// upgrade has a new process take over. It answers when the connections have gone there.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	binary := r.URL.Query().Get("binary")
	if binary != "" && !filepath.IsAbs(binary) {
		refuse(w, http.StatusBadRequest, errors.New("binary="+binary+" is no absolute path"), documentMend)
		return
	}
	// Whoever has asked may go away: what has begun must not stop half-way.
	moved, err := s.app.UpgradeTo(context.WithoutCancel(r.Context()), binary)
	switch {
	case errors.Is(err, app.ErrNotServing), errors.Is(err, app.ErrNoUpgrade):
		refuse(w, http.StatusServiceUnavailable, err, "")
	case errors.Is(err, app.ErrUpgrading):
		refuse(w, http.StatusConflict, err, upgradingMend)
	case err != nil:
		refuse(w, http.StatusUnprocessableEntity, err, upgradeMend)
	default:
		answer(w, http.StatusOK, moved)
	}
}

// PlaceName is what two servers call the same place for an admin API. A place that depends on the process has no name.
func PlaceName(at config.AutoOrOffOrAddress) string {
	if at.Off || at.Auto() {
		return ""
	}
	return "admin " + at.String()
}

// Copy is a descriptor of the listening socket for a successor; -1 if there is none.
func (s *Server) Copy() int {
	held, ok := s.listener.(interface {
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		return -1
	}
	raw, err := held.SyscallConn()
	copied := -1
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if number, err := sys.Duplicate(int(fd)); err == nil {
				copied = number
			}
		})
	}
	if err != nil {
		return -1
	}
	return copied
}

// Lend has Start listen at a socket that a service manager has opened, and keeps: its file stays. 0 is none.
func (s *Server) Lend(fd int) { s.lent = fd }

// Lent reports that Lend has given a socket.
func (s *Server) Lent() bool { return s.lent > 0 }

// Own makes the file of a socket that was a predecessor's this server's, unless it is lent.
func (s *Server) Own() {
	if s.socket != nil && s.lent == 0 {
		s.socket.Own()
	}
}

// Bequeath leaves the socket to a successor, and its file. What was asked here is answered yet.
func (s *Server) Bequeath() {
	if s.socket != nil {
		s.socket.Disown()
		_ = s.listener.Close()
	}
}

// open opens the listening socket, or takes that of a predecessor, whose its file stays until Own.
func (s *Server) open(at config.AutoOrOffOrAddress) (net.Listener, error) {
	spec, err := place(at)
	if err != nil {
		return nil, err
	}
	switch {
	case s.lent > 0:
		s.socket = &listen.Socket{FD: s.lent, Spec: spec}
	case s.taken > 0:
		s.socket = &listen.Socket{FD: s.taken, Spec: spec}
		s.socket.Own()
	case s.app != nil && s.app.AdminSocket() > 0:
		s.socket = &listen.Socket{FD: s.app.AdminSocket(), Spec: spec}
	default:
		if s.socket, err = listen.Open(spec); err != nil {
			return nil, err
		}
	}
	file := os.NewFile(uintptr(s.socket.FD), "admin")
	l, err := net.FileListener(file) // which has a descriptor of its own
	_ = file.Close()
	if err != nil {
		s.socket.RemoveFile()
	}
	return l, err
}

// Take has Start answer at a listening socket that is open, which belongs to the server from then on.
func (s *Server) Take(fd int) { s.taken = fd }

// Leave ends the answering as Close does, and leaves the socket, with those who wait there, to the caller; 0 if there
// is none. Answers that are being given have more time.
func (s *Server) Leave() int {
	if s.end == nil {
		return 0
	}
	fd := max(s.Copy(), 0)
	s.Bequeath()
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	s.end() // those who follow events do not end by themselves
	if err != nil {
		_ = s.farewell(leaveTime) // whoever is cut off asks again
	}
	s.group.Wait()
	return fd
}

// farewell ends the answering. Answers that are being given are finished, if they can be.
func (s *Server) farewell(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if s.http.Shutdown(ctx) == nil {
		return nil
	}
	return s.http.Close()
}
