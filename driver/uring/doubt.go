package uring

import (
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

const (
	doubtAge   = int64(time.Second)           // of a doubt, before it is looked at
	doubtSlack = int64(64 * time.Millisecond) // what a wait may add to it, so that few waits end for many doubts
	doubtSteps = 256                          // doubts handled in one turn
	doubtLooks = 64                           // descriptors in one poll
	doubtRun   = 255                          // doubts in one piece of memory of four kilobytes
)

// doubts are receives that may wait for a reset of which the kernel will not tell them.
//
// When a multishot receive has taken what there is, and the socket then has no bytes left, the kernel does not try
// again. If the peer's reset came right behind the bytes, its wake-up was counted together with theirs and is spent.
// (An end is safe: it counts as a byte.) So a receive that brought bytes, none were left, and nothing has come of it
// for a second, is looked at once: an ordinary descriptor by poll(2), many with one call; a direct one, of which
// poll(2) knows nothing, by arming the receive again, which looks at the socket before it waits. That is also how a
// descriptor that is found in error has its receive complete.
//
// On the path of a request this is a mark, and a push for a connection that is not in doubt already.
type doubts struct {
	first *doubtPiece // the oldest; nil until there was one
	last  *doubtPiece
	spare *doubtPiece
	head  int   // of first: those before are over
	tail  int   // of last: how many there are
	now   int64 // when the last review was
	polls [doubtLooks]sys.PollEntry
	toks  [doubtLooks]uint64 // of polls
	held  int                // of polls in use
}

// doubt is an operation, and when it was put in doubt or last found to be fresh. That may be long ago if there were
// no doubts for long, and means only that it is found to be fresh at once.
type doubt struct {
	tok uint64
	at  int64
}

// doubtPiece is a piece of the queue. A crowd that came once is not paid for for ever, and leaves the collector little.
type doubtPiece struct {
	next  *doubtPiece
	items [doubtRun]doubt
}

func (q *doubts) empty() bool { return q.first == q.last && q.head == q.tail }

// add notes that a receive has brought bytes, and that none were left.
func (q *doubts) add(e *entry, tok uint64) {
	if e.marks&doubted == 0 {
		q.push(tok)
	}
	e.marks |= doubted | fresh
}

func (q *doubts) push(tok uint64) {
	if q.last == nil || q.tail == doubtRun {
		piece := q.spare
		if q.spare = nil; piece == nil {
			piece = new(doubtPiece)
		}
		if q.last == nil {
			q.first = piece
		} else {
			q.last.next = piece
		}
		q.last, q.tail = piece, 0
	}
	q.last.items[q.tail] = doubt{tok, q.now}
	q.tail++
}

// pop takes the oldest.
func (q *doubts) pop() (tok uint64) {
	tok = q.first.items[q.head].tok
	q.head++
	switch {
	case q.empty():
		q.head, q.tail = 0, 0
	case q.head == doubtRun:
		done := q.first
		q.first, q.head = done.next, 0
		done.next, q.spare = nil, done
	}
	return tok
}

// due is when the oldest is to be looked at.
func (q *doubts) due() int64 { return q.first.items[q.head].at + doubtAge }

// bound shortens a wait of left nanoseconds, for ever if negative, that begins right after a review.
func (q *doubts) bound(left int64) int64 {
	if q.empty() {
		return left
	}
	wait := q.due() - q.now
	if wait > 0 {
		wait += doubtSlack
	}
	wait = max(0, wait)
	if left >= 0 {
		wait = min(wait, left)
	}
	return wait
}

// review handles the doubts that are old enough.
func (d *uring) review() {
	q := &d.doubts
	q.now = d.now()
	for steps := 0; steps < doubtSteps && !q.empty() && q.due() <= q.now; steps++ {
		tok := q.pop()
		slot, e := d.ops.find(tok)
		switch {
		case e == nil || e.marks&canceled != 0:
		case e.marks&fresh != 0:
			e.marks &^= fresh
			q.push(tok)
		case e.marks&(local|peeking|renewed) != 0:
			e.marks &^= doubted // it is about to be armed anyhow
		case isDirect(int(e.fd)):
			d.renew(slot, e)
		default:
			if q.held == doubtLooks {
				d.look()
			}
			q.polls[q.held], q.toks[q.held] = sys.PollEntry{Fd: e.fd}, tok
			q.held++
		}
	}
	if q.held != 0 {
		d.look()
	}
}

// look polls the ordinary descriptors that were gathered. Errors are reported without being asked for.
func (d *uring) look() {
	q := &d.doubts
	polls := q.polls[:q.held]
	q.held = 0
	_, err := sys.Poll(polls, 0)
	for i, p := range polls {
		slot, e := d.ops.find(q.toks[i])
		switch {
		case err == syscall.EINTR:
			q.push(q.toks[i])
		case err != nil || p.Revents != 0: // poll(2) fails with fewer descriptors allowed than it is asked for
			d.renew(slot, e)
		default:
			e.marks &^= doubted
		}
	}
}

// renew ends a receive in the kernel so that it is armed again. What arrives meanwhile stays in the socket.
func (d *uring) renew(slot uint32, e *entry) {
	s := d.next(d.ringOf(int(e.fd)))
	if s == nil {
		d.doubts.push(token(slot, e))
		return
	}
	s.Cancel(token(slot, e), userIgnore)
	e.marks = e.marks&^doubted | renewed
}
