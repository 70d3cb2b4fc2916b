package web

import (
	"bytes"
	"errors"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
)

// piece is output that waits for room: bytes, or a piece of a file.
type piece struct {
	bytes  []byte
	file   conn.File
	off, n int64
	end    bool // of a file that may have changed in the meantime
}

// Changing is a conn.File that can tell whether its content has changed since it was described. Of a large piece of it
// the end is sent only if it has not: a client that was given some of the old and some of the new must not take it for
// a whole.
type Changing interface {
	conn.File
	// Changed looks; it may cost a system call.
	Changed() bool
}

// ErrChanged ends a connection whose answer is a file that was changed while it was sent.
var ErrChanged = errors.New("the file changed while it was sent")

// endedBytes is from which size on a piece of a file has an end, of paceBytes, that is queued when the rest has left.
const endedBytes = 4 * paceBytes

// paceBytes is how much of what is not copied is queued at a time.
const paceBytes = 64 << 10

// pace is that under the server's limit on output. Half of the limit is for it and half for what cannot wait.
func (x *Exchange) pace() int64 { return min(paceBytes, max(1, x.rules.limits.OutputBytes/2)) }

// put queues a copy of bytes, behind what waits.
func (x *Exchange) put(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(x.waits) > 0 {
		x.wait(piece{bytes: bytes.Clone(b)})
		return
	}
	x.stirring()
	x.c.Write(b)
	x.written += int64(len(b))
}

// lend queues bytes that do not change, piece by piece as there is room, so that a large answer holds little memory.
func (x *Exchange) lend(b []byte) {
	if len(x.waits) == 0 && int64(len(b)) <= x.pace() {
		x.put(b)
		return
	}
	x.waits = append(x.waits, piece{bytes: b})
	x.pump()
}

// putFile queues a piece of a file, behind what waits, and takes over one hold of it.
func (x *Exchange) putFile(f conn.File, off, n int64) {
	waits := len(x.waits) > 0
	if n > endedBytes {
		f.Hold()
		defer x.waitForEnd(f, off+n-paceBytes)
		n -= paceBytes
	}
	if waits {
		x.waits = append(x.waits, piece{file: f, off: off, n: n})
		return
	}
	x.stirring()
	x.c.SendFile(f, off, n)
	x.written += n
}

// waitForEnd keeps the end of a piece of a file for later.
func (x *Exchange) waitForEnd(f conn.File, off int64) {
	x.waits = append(x.waits, piece{file: f, off: off, n: paceBytes, end: true})
}

// putBlock queues a piece of a block, behind what waits, and takes over one hold of it.
func (x *Exchange) putBlock(b *buf.Block, from, to int) {
	if len(x.waits) > 0 {
		x.wait(piece{bytes: bytes.Clone(b.Bytes()[from:to])})
		b.Release()
		return
	}
	x.stirring()
	x.c.Send(b, from, to)
	x.written += int64(to - from)
}

// wait keeps a copy for later. There is a limit to what a handler may have copied.
func (x *Exchange) wait(p piece) {
	if x.waitsFor += int64(len(p.bytes)); x.waitsFor > x.rules.limits.OutputBytes {
		x.Abort(conn.ErrOutputLimit)
		return
	}
	x.waits = append(x.waits, p)
}

// pump queues what waits, as far as there is room.
func (x *Exchange) pump() {
	gone := 0
	for pace := x.pace(); gone < len(x.waits) && x.c.Queued() < pace; {
		p := &x.waits[gone]
		if f, ok := p.file.(Changing); ok && p.end && f.Changed() {
			x.cause = fileChanged
			x.waits = x.waits[:copy(x.waits, x.waits[gone:])]
			x.Abort(ErrChanged)
			return
		}
		room := pace
		if p.file == nil {
			if room = min(pace, x.c.Room()); room <= 0 {
				break
			}
		}
		x.stirring()
		if p.file != nil {
			x.c.SendFile(p.file, p.off, p.n)
			x.written += p.n
			gone++
			continue
		}
		n := min(room, int64(len(p.bytes)))
		x.c.Write(p.bytes[:n])
		x.written += n
		if p.bytes = p.bytes[n:]; len(p.bytes) == 0 {
			gone++
		}
		if x.c.State() > conn.Open {
			break
		}
	}
	rest := copy(x.waits, x.waits[gone:])
	clear(x.waits[rest:])
	if x.waits = x.waits[:rest]; rest == 0 {
		x.waitsFor = 0
	}
}

// dropWaits lets go of what will never be queued.
func (x *Exchange) dropWaits() {
	for i := range x.waits {
		if f := x.waits[i].file; f != nil {
			f.Release()
		}
	}
	clear(x.waits)
	x.waits, x.waitsFor = x.waits[:0], 0
}
