package upstream

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
)

// Before a connection that is made ahead of need is tried again, after one that could not be made or was lost.
const (
	firstWarmDelay = 100 * time.Millisecond
	lastWarmDelay  = 10 * time.Second
)

// dial begins a connection to an endpoint from a source, for a want or, with nil, for the pool. Its place and its port
// have been taken.
func (a *Agent) dial(e *Endpoint, w *Want, source uint8) {
	now := a.dialer.Now()
	s := a.shareOf(e)
	l := &Link{
		Endpoint: e, share: s, want: w, source: source, phase: dialling, flags: holdsPlace,
		born: milliseconds(now), since: milliseconds(now),
	}
	if len(e.gauges) > 0 {
		l.flags |= holdsPort
	}
	s.links++
	s.dials = append(s.dials, l)
	a.tally.add(Dialled)
	if w != nil {
		w.link = l
		w.attempts++
		l.setBusy()
	} else {
		a.tally.add(Warmed)
	}
	l.Conn = a.dialer.Dial(&e.targets[source], a, l)
	l.Conn.SetTimer(int64(a.group.options.ConnectTimeout))
}

// dialled is told that a connection is open.
func (a *Agent) dialled(l *Link) {
	l.Conn.SetTimer(0)
	s := l.share
	s.forgetDial(l)
	s.warmDelay = int64(firstWarmDelay)
	l.Endpoint.connected.Add(1)
	l.Endpoint.accepted(a.dialer.Now())
	if w := l.want; w != nil {
		a.grant(l, w)
		return
	}
	if !a.mayKeep(l) {
		a.leave(l)
		a.freed()
		return
	}
	l.phase = idle
	a.offer(l)
}

// notDialled is told that a connection could not be made, and tries another endpoint.
func (a *Agent) notDialled(l *Link, why error) {
	now, s, e := a.dialer.Now(), l.share, l.Endpoint
	s.forgetDial(l)
	l.vacate()
	a.tally.add(DialFailed)
	s.warmAt = now + s.warmDelay
	s.warmDelay = min(2*s.warmDelay, int64(lastWarmDelay))
	var failed error = &DialError{Endpoint: e, Err: why}
	ours := isOurs(why)
	switch {
	case why == syscall.EADDRNOTAVAIL && len(e.gauges) > 0:
		failed = e.noPorts(l.source, now, true)
	case !ours:
		e.failed.Add(1)
		e.refused(now, why)
	}
	if w := l.want; w != nil {
		l.want, w.link = nil, nil
		w.Tried(e)
		if ours || int(w.attempts) >= a.group.options.Attempts {
			a.deny(w, failed)
		} else if !a.place(w, failed, false) {
			a.enqueue(w)
		}
	}
	a.freed()
	a.warm(s, now)
}

// isOurs reports that it was this process that could not make a connection, whatever the endpoint.
func isOurs(why error) bool {
	switch why {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, conn.ErrStopping,
		conn.ErrPressure, conn.ErrAborted:
		return true
	}
	return errors.Is(why, listen.ErrLimit)
}

func (s *share) forgetDial(l *Link) {
	if i := slices.Index(s.dials, l); i >= 0 {
		s.dials = slices.Delete(s.dials, i, i+1)
	}
}

// warm makes the connections that an endpoint is to have before they are needed, this agent's part of them.
func (a *Agent) warm(s *share, now int64) {
	o, e := &a.group.options.Pool, s.endpoint
	agents := max(1, int(a.group.running.Load()))
	part := (o.Min + agents - 1) / agents
	if part == 0 || o.Off || a.dialer.Stopping() || a.group.closed.Load() {
		return
	}
	for s.links < part && e.open.Load() < int64(o.Min) {
		status := e.status.Load()
		if status != 0 && (status != statusEjected || e.outlier.answers.Load()) {
			return // whoever brings it back pokes
		}
		if now < s.warmAt {
			a.arm(s.warmAt)
			return
		}
		if !e.available(now) {
			a.arm(e.outlier.retryAt.Load())
			return
		}
		if !e.reserve(min(int64(o.Min), e.limit.Load())) {
			return
		}
		source, ok := e.choosePort(now)
		if !ok {
			e.open.Add(-1)
			s.warmAt = now + int64(lastWarmDelay)
			continue
		}
		a.dial(e, nil, source)
	}
}
