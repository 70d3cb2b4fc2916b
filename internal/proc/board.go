package proc

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// The layout of a board, in words of 8 bytes. Everything begins at a line of 16 words, which is two lines of a cache:
// processors fetch them in pairs, and what one thread writes shares none with what another does.
//
//	line 0              the header
//	then for each slot  one line that its worker writes, and one for each loop of it
//
// The major version changes when words move; the minor one when words are added where there was nothing, which older
// processes do not write and newer ones read as zero.
const (
	boardMagic = 0x4d59_5244_424f_4152
	boardMajor = 1
	boardMinor = 0
	lineWords  = 16
	wordBytes  = 8
)

// Words of the header.
const (
	headMagic = iota
	headVersion
	headSlots
	headLoops
	headLineWords
)

// Words of a slot's first line.
const (
	slotSequence = iota // odd while the worker of the slot changes
	slotPID
	slotState
	slotWorker
	slotGeneration
	slotStarted
	slotLoops
)

// Words of a loop's line.
const (
	loopBeat = iota
	loopOpen
	loopAccepted
	loopRequests
	loopTurns
)

// Limits of a board.
const (
	MostSlots     = 1024 // workers
	MostSlotLoops = 256  // loops of a worker
)

// State is what a worker says of itself on the board.
type State uint64

// The states, in the order in which a worker goes through them.
const (
	Vacant   State = iota // nobody has the slot
	Starting              // not ready yet
	Serving               // ready
	Draining              // takes no new connections
	Leaving               // has nothing left, or has been told not to wait for it
)

// String is the state's name.
func (s State) String() string {
	names := [...]string{"vacant", "starting", "serving", "draining", "leaving"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// ErrTaken means that a slot of a board has another worker, or one that died and was not cleared away.
var ErrTaken = errors.New("the slot of the board is taken")

// Board is memory shared between processes in which every worker has a slot that it alone writes, and that everybody
// may read at any time, without locks. What stands there outlives the worker: its end is when it is of interest. A
// board of processes whose loops number in the hundreds is some ten kilobytes for each.
//
// Close is for when nobody reads or writes any more in this process: the memory is gone then.
type Board struct {
	fd          int
	words       []atomic.Uint64
	memory      []byte
	slots       int
	loops, line int
}

// NewBoard makes a board for a number of workers, each with up to a number of loops.
func NewBoard(slots, loops int) (*Board, error) {
	if slots < 1 || slots > MostSlots || loops < 1 || loops > MostSlotLoops {
		return nil, fmt.Errorf("a board of %d workers with %d loops; it can have 1 to %d with 1 to %d", slots, loops,
			MostSlots, MostSlotLoops)
	}
	size := (1 + slots*(1+loops)) * lineWords * wordBytes
	fd, err := sys.SharedMemory("myriad-board", size)
	if err != nil {
		return nil, fmt.Errorf("board: %w", os.NewSyscallError("memfd_create", err))
	}
	words, memory, err := sys.MapWords(fd, size)
	if err != nil {
		_ = sys.Close(fd)
		return nil, fmt.Errorf("board: %w", os.NewSyscallError("mmap", err))
	}
	words[headVersion].Store(boardMajor<<32 | boardMinor)
	words[headSlots].Store(uint64(slots))
	words[headLoops].Store(uint64(loops))
	words[headLineWords].Store(lineWords)
	words[headMagic].Store(boardMagic) // the last: what is not whole is no board
	return &Board{fd: fd, words: words, memory: memory, slots: slots, loops: loops, line: lineWords}, nil
}

// OpenBoard maps the board of another process and owns the descriptor, whatever it returns. *VersionError when the
// other process lays it out in another way. Nothing of it is believed before it was checked.
func OpenBoard(fd int) (*Board, error) {
	b, err := openBoard(fd)
	if err != nil {
		_ = sys.Close(fd)
		return nil, fmt.Errorf("board: %w", err)
	}
	return b, nil
}

func openBoard(fd int) (*Board, error) {
	if err := sys.SetCloseOnExec(fd); err != nil {
		return nil, err
	}
	size, sealed, err := sys.SharedSize(fd)
	if err != nil {
		return nil, err
	}
	const most = (1 + MostSlots*(1+MostSlotLoops)) * lineWords * wordBytes
	if !sealed || size < lineWords*wordBytes || size > most || size%wordBytes != 0 {
		return nil, fmt.Errorf("%d bytes (sealed: %t) are no board", size, sealed)
	}
	words, memory, err := sys.MapWords(fd, int(size))
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	slots, loops := words[headSlots].Load(), words[headLoops].Load()
	line, version := words[headLineWords].Load(), words[headVersion].Load()
	switch {
	case words[headMagic].Load() != boardMagic:
		err = errors.New("it has no magic number")
	case version>>32 != boardMajor || line != lineWords:
		err = &VersionError{What: "board", Theirs: uint32(version >> 32), Ours: boardMajor}
	case slots < 1 || slots > MostSlots || loops < 1 || loops > MostSlotLoops ||
		uint64(size) != (1+slots*(1+loops))*lineWords*wordBytes:
		err = fmt.Errorf("%d bytes are no board of %d workers with %d loops", size, slots, loops)
	}
	if err != nil {
		_ = sys.Unmap(memory)
		return nil, err
	}
	return &Board{fd: fd, words: words, memory: memory, slots: int(slots), loops: int(loops), line: lineWords}, nil
}

// FD is the descriptor by which a child inherits the board.
func (b *Board) FD() int { return b.fd }

// Slots is how many workers have room.
func (b *Board) Slots() int { return b.slots }

// Loops is how many loops of a worker have room.
func (b *Board) Loops() int { return b.loops }

// Close gives the memory back, after the last use of the board and its slots in this process.
func (b *Board) Close() {
	_, _ = sys.Unmap(b.memory), sys.Close(b.fd)
	b.words, b.memory = nil, nil
}

// own is the first line of a slot.
func (b *Board) own(slot int) []atomic.Uint64 {
	at := b.line * (1 + slot*(1+b.loops))
	return b.words[at : at+b.line]
}

// of is the line of a loop.
func (b *Board) of(slot, loop int) []atomic.Uint64 {
	at := b.line * (2 + slot*(1+b.loops) + loop)
	return b.words[at : at+b.line]
}

func (b *Board) check(slot int) error {
	if slot < 0 || slot >= b.slots {
		return fmt.Errorf("the board has no slot %d: it has %d", slot, b.slots)
	}
	return nil
}

// Identity is who has a slot.
type Identity struct {
	PID        int
	Worker     uint64    // the number that its supervisor gave it
	Generation uint64    // of its configuration and binary
	Started    time.Time // to the nanosecond; years from 1970 to 2262
	Loops      int       // how many it has
}

// Claim takes a slot for the calling worker. ErrTaken when another has it.
func (b *Board) Claim(slot int, who Identity) (*Slot, error) {
	if err := b.check(slot); err != nil {
		return nil, err
	}
	if who.PID <= 0 || who.Loops < 0 || who.Loops > b.loops {
		return nil, fmt.Errorf("the board has no room for %d loops of process %d: it has room for %d", who.Loops,
			who.PID, b.loops)
	}
	own := b.own(slot)
	if !own[slotPID].CompareAndSwap(0, uint64(who.PID)) {
		return nil, fmt.Errorf("%w: slot %d by process %d", ErrTaken, slot, own[slotPID].Load())
	}
	own[slotSequence].Add(1)
	own[slotState].Store(uint64(Starting))
	own[slotWorker].Store(who.Worker)
	own[slotGeneration].Store(who.Generation)
	own[slotStarted].Store(uint64(who.Started.UnixNano()))
	own[slotLoops].Store(uint64(who.Loops))
	own[slotSequence].Add(1)
	return &Slot{board: b, number: slot, loops: who.Loops}, nil
}

// Clear empties the slot of a worker that has died, so that another can have it. Only who knows of the death may.
func (b *Board) Clear(slot int) error {
	if err := b.check(slot); err != nil {
		return err
	}
	own := b.own(slot)
	own[slotSequence].Store(own[slotSequence].Load() | 1)
	for i := range b.loops {
		for w := range b.of(slot, i) {
			b.of(slot, i)[w].Store(0)
		}
	}
	for w := slotState; w < len(own); w++ {
		own[w].Store(0)
	}
	own[slotSequence].Add(1)
	own[slotPID].Store(0) // the last: from here on it can be claimed
	return nil
}
