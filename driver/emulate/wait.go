package emulate

import (
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

var errNoRoom = errors.New("driver: Wait needs room for one completion")

// Wait goes round until there is something to return: poll, attempt, look.
func (m *machine) Wait(dst []driver.Completion, d time.Duration) (int, error) {
	if m.closed {
		return 0, ErrClosed
	}
	if len(dst) == 0 {
		return 0, errNoRoom
	}
	m.room = len(dst)
	limit := patience{left: d, brief: m.recent}
	for {
		pause := limit.pause()
		if m.pending() {
			pause = 0
		}
		n, lost, err := m.poller.Poll(m.hints[:], pause)
		if err != nil && err != syscall.EINTR {
			m.room = math.MaxInt
			return m.collect(dst), err
		}
		m.note(m.hints[:n])
		if lost {
			m.noteAll()
		}
		m.serve()
		woken := m.woken.Load()
		if woken {
			// Who wakes from here on tells the poller again; who did so before
			// is served by this return.
			m.woken.Store(false)
		}
		if m.urgent > 0 || woken || m.full() && m.results.size() > 0 || limit.spent(pause, err == nil && n == 0 && !lost) {
			m.room = math.MaxInt
			m.recent = m.urgent > 0 || woken
			return m.collect(dst), nil
		}
	}
}

// pending tells whether there is anything to do or to say without the poller.
func (m *machine) pending() bool {
	return m.urgent > 0 || m.turn.size() > 0 || m.woken.Load() || m.full() && m.results.size() > 0
}

// note puts what the hints are about into the turn.
func (m *machine) note(hints []Hint) {
	for i := range hints {
		h := &hints[i]
		e := m.entry(h.FD)
		if e == nil {
			continue
		}
		unwanted := e.want
		if h.What&Readable != 0 {
			if e.dry&Readable == 0 || h.What&Hangup != 0 {
				e.marks |= doubt
			}
			e.dry &^= Readable
			if e.read != 0 {
				m.again(e.read-1, m.slots.at(e.read-1))
			}
		}
		if h.What&Writable != 0 {
			e.dry &^= Writable
			if e.write != 0 {
				m.again(e.write-1, m.slots.at(e.write-1))
			}
		}
		if e.read != 0 {
			unwanted &^= Readable
		}
		if e.write != 0 {
			unwanted &^= Writable
		}
		// Interest outlives its operation, because most often another one
		// follows; it ends with the first hint that nobody waits for.
		unwanted &= h.What
		if unwanted != 0 && m.poller.Set(h.FD, e.want, e.want&^unwanted) == nil {
			e.want &^= unwanted
		}
	}
}

// noteAll treats everything as hinted.
func (m *machine) noteAll() {
	for i := range m.table {
		e := &m.table[i]
		if e.marks&adopted == 0 {
			continue
		}
		e.dry = 0
		e.marks |= doubt
		if e.read != 0 {
			m.again(e.read-1, m.slots.at(e.read-1))
		}
		if e.write != 0 {
			m.again(e.write-1, m.slots.at(e.write-1))
		}
	}
}

// serve attempts what has a place in the turn, each once, while there is room.
func (m *machine) serve() {
	for count := m.turn.size(); count > 0 && m.urgent < m.room; count-- {
		slot, o := m.slots.find(m.turn.pop())
		if o == nil {
			continue // cancelled
		}
		o.marks &^= queued
		switch o.code {
		case driver.Accept:
			m.accept(slot, o, acceptsTurn)
		case driver.Recv, driver.RecvFrom, driver.SpliceIn:
			m.attemptRead(slot, o, blocksTurn)
		default:
			m.attemptWrite(slot, o, m.cargoes.at(o.cargo))
		}
	}
}

// collect moves results into dst, oldest first.
func (m *machine) collect(dst []driver.Completion) int {
	n := 0
	for n < len(dst) && m.results.size() > 0 {
		r := m.results.pop()
		if !r.lazy {
			m.urgent--
		}
		dst[n] = r.Completion
		n++
	}
	return n
}

// patience is how long a Wait may still take. While there is traffic the clock is
// not read: the first pause is brief and counts in full.
type patience struct {
	left     time.Duration // < 0: for ever
	deadline time.Time     // zero until the first long pause
	brief    bool
}

// pause is how long the next Poll may take.
func (p *patience) pause() time.Duration {
	if p.brief {
		if p.left < 0 {
			return sys.BriefWait
		}
		return min(p.left, sys.BriefWait)
	}
	if p.left > 0 && p.deadline.IsZero() {
		p.deadline = time.Now().Add(p.left)
	}
	return p.left
}

// spent tells whether the time is up after a Poll of at most pause; full says that
// nothing cut it short.
func (p *patience) spent(pause time.Duration, full bool) bool {
	if p.left == 0 {
		return true
	}
	if p.left < 0 {
		p.brief = p.brief && pause == 0
		return false
	}
	if !p.deadline.IsZero() {
		p.left = max(0, time.Until(p.deadline))
		return p.left == 0
	}
	if full {
		p.left -= pause
	}
	p.brief = p.brief && pause == 0
	return p.left == 0
}
