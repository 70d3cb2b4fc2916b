package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// This file ends connections whose peers take nothing while memory is short: what is queued for them is what others
// wait for. What counts is what the peer's machine has acknowledged, because the kernel takes more for a slow peer only
// when a good part of its buffer is free again. The last quarter of the blocks goes round without their help, so that
// there is time: who reads, however slowly, is not to be taken for one that does not.

const (
	// stallTime is how long a peer may take nothing while memory is short. The machine of one that reads acknowledges in
	// steps, of a sixteenth of its buffer or a segment, whichever is more, and a segment on loopback has 64 KiB: reading
	// 20 KB in a second, it takes three seconds for one.
	stallTime = 15 * time.Second
	// stallLook is the time between two looks.
	stallLook = time.Second
)

// standstill is since when a peer has taken nothing of what is queued for it, as far as that was looked at.
type standstill struct {
	taken  uint64 // what it had acknowledged then
	behind int64  // what it had not
	since  int64  // zero: nothing is queued, or it was not looked at yet
}

// guard begins to look, and goes on as long as memory is short.
func (l *Loop) guard() {
	l.forgive()
	l.guards = l.dials.Every(stallLook, l.endStalled)
}

// forgive forgets how long everybody has stood still: it was not looked at in the meantime.
func (l *Loop) forgive() {
	for _, w := range l.working {
		w.still = standstill{}
	}
}

// endStalled ends those that have stood still for too long, the longest first, until half of the blocks are free or
// will be.
func (l *Loop) endStalled() {
	if !l.scant() {
		l.guards()
		l.guards = nil
		return
	}
	var stalled []*connection
	for index := range l.made {
		c := l.at(index)
		if c.work == 0 || c.state != conn.Open && c.state != conn.Draining {
			continue
		}
		if since := l.stands(c); since > 0 && l.now-since >= int64(stallTime) {
			stalled = append(stalled, c)
		}
	}
	slices.SortFunc(stalled, func(a, b *connection) int {
		return cmp.Compare(l.has(a).still.since, l.has(b).still.since)
	})
	ended, size := 0, int64(l.blocks.BlockSize())
	for left := l.blocks.Left(); ended < len(stalled) && left < l.blocks.Limit()/2; ended++ {
		c := stalled[ended]
		left += int((l.has(c).memory + size - 1) / size)
		c.flags |= flagReset // the peer must not take what it has for all
		l.end(c, conn.ErrStalled)
	}
	if ended > 0 {
		l.log.Warn("connections are closed whose peers take nothing while memory is short", "closed", ended,
			"blocks", l.blocks.Limit(), "mend", "raise engine.blocks")
	}
}

// stands looks what the peer has taken, and returns since when that is all; zero if nothing is queued in memory.
func (l *Loop) stands(c *connection) int64 {
	w := l.has(c)
	if w.memory == 0 {
		w.still = standstill{}
		return 0
	}
	behind := c.Unacknowledged()
	taken := c.bytesOut - min(c.bytesOut, uint64(behind))
	// What the kernel has taken of a send in flight is told when that is over: until then only what is behind moves.
	if w.still.since == 0 || taken > w.still.taken || behind != w.still.behind {
		w.still = standstill{taken, behind, max(l.now, 1)}
	}
	return w.still.since
}
