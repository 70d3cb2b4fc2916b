package web

import (
	"time"

	"github.com/myriad-server/myriad/conn"
)

// This file finds out whether a client takes its output.
//
// The kernel takes more for a client only when a good part of its buffer is free again, and a slow client needs minutes
// to empty that much: until then what its machine acknowledges is all there is to see. To make the buffer smaller
// (TCP_NOTSENT_LOWAT) would show the same at the price of more turns for every large answer, so the kernel is asked
// instead, and only about those who seem to stand still. It is the other way round with a client that is gone behind a
// window that is open: the kernel takes megabytes for it. An answer that goes on is therefore watched until all of it
// is acknowledged.
//
// A client that takes nothing has Timeouts.Write. When memory is short, the serving model may end it sooner:
// conn.ErrStalled.

const (
	// firstLook is the part of Timeouts.Write after which it is looked for the first time what the client has
	// acknowledged.
	firstLook = 4
	// lookTime is when it is looked, if that part is longer and the kernel takes nothing.
	lookTime = 2 * time.Second
)

// outputDeadline is when the client must have taken some of its output, or when to look whether it has. It notices what
// has left since the last time.
func (x *Exchange) outputDeadline() int64 {
	queued := x.c.Queued()
	if gone := x.written - queued; gone != x.gone {
		x.gone = gone
		if queued > 0 {
			x.stir()
		}
	}
	limit := x.handler.timeouts.Write
	switch {
	case queued == 0 && (x.answering != streaming || x.settled()):
		return never
	case x.looked:
	case queued > 0:
		limit = min(limit/firstLook, lookTime)
	default:
		limit /= firstLook
	}
	return after(x.progress, limit)
}

// stir begins the wait for output to be taken.
func (x *Exchange) stir() {
	x.progress, x.looked = x.c.Now(), false
}

// stirring begins the wait for output to be taken, if there is none yet that is waited for.
func (x *Exchange) stirring() {
	if x.c.Queued() == 0 && (x.answering != streaming || x.settled()) {
		x.stir()
	}
}

// settled says that the client had acknowledged all that was queued when that was last looked at.
func (x *Exchange) settled() bool { return x.acked == x.written }

// stalled says, when outputDeadline has come, why the client is to be given up; nil: it is not. What was acknowledged
// before the first look is not known, hence the client is given the benefit of the doubt.
func (x *Exchange) stalled() error {
	first, before := !x.looked, x.acked
	behind := x.look()
	switch {
	case first && behind > 0, !first && x.acked > before:
		x.progress = x.c.Now()
	case !first:
		return conn.ErrTimeout
	}
	return nil
}

// look asks what the client has acknowledged, and returns how many bytes it has not.
func (x *Exchange) look() (behind int64) {
	queued := x.c.Queued()
	behind = x.c.Unacknowledged()
	x.acked, x.looked = x.written-queued-behind, true
	return behind
}
