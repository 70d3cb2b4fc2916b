package web

import (
	"errors"
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
// A client that takes nothing has Timeouts.Write, as long as there is memory. When that is short, see conn.Conn.Room,
// what is queued for those who take nothing is what others wait for: stallTime is enough then. Each looks at its own
// time, so that those go first who have stood still for longest, and no more of them than it takes.

const (
	// firstLook is the part of Timeouts.Write after which it is looked for the first time what the client has
	// acknowledged.
	firstLook = 4
	// lookTime is the time between two looks, if that part is longer.
	lookTime = 2 * time.Second
	// stallTime is how long a client may take nothing while memory is short. One that only reads slowly has its machine
	// acknowledge now and then, in steps of a part of its buffer.
	stallTime = 4 * time.Second
)

// errStalled is why a connection was ended that held memory which others waited for.
var errStalled = errors.New("the client took nothing while memory was short")

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
	at := after(x.progress, limit)
	switch {
	case queued > 0:
		at = min(at, after(x.ticked, min(limit/firstLook, lookTime)))
	case x.answering != streaming || x.settled():
		return never
	case !x.looked:
		at = after(x.progress, limit/firstLook)
	}
	return at
}

// stir begins the wait for output to be taken.
func (x *Exchange) stir() {
	x.progress, x.looked = x.c.Now(), false
	x.ticked = x.progress
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
	now, first := x.c.Now(), !x.looked
	x.ticked = now
	over := after(x.progress, x.handler.timeouts.Write) <= now
	if !first && !over && !x.crowded() {
		return nil
	}
	before := x.acked
	behind := x.look()
	switch {
	case first && behind > 0, !first && x.acked > before:
		x.progress = now
	case first:
	case over:
		return conn.ErrTimeout
	case after(x.progress, stallTime) <= now:
		return errStalled
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

// crowded says that memory is short, as far as the connection can tell: it may queue no more, although what is queued
// is less than it may hold. One that was told that there will be no more may not either, and goes by what others have
// found.
func (x *Exchange) crowded() bool {
	h, now, queued := x.handler, x.c.Now(), x.c.Queued()
	switch {
	case queued == 0 || x.c.State() > conn.Open:
		return false
	case x.shut:
		return h.crowded != 0 && now-h.crowded <= int64(lookTime)
	case x.c.Room() > 0 || queued > h.limits.OutputBytes/4*3: // blocks are not filled to the last byte
		return false
	}
	h.crowded = max(now, 1)
	return true
}
