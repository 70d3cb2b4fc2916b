package sim

import "math/rand/v2"

// Faults are probabilities, each between 0 and 1, that something goes other than
// smoothly at one occasion. The zero value is a kernel that does all at once.
type Faults struct {
	ShortRead   float64 // a receive brings fewer bytes than there are
	ShortWrite  float64 // the kernel takes fewer bytes of a send than there is room for, for now
	PartialFile float64 // a SendFile completes with less than all
	Delay       float64 // an attempt, or a completion after it, comes later
	LateStart   float64 // an operation begins with the next Wait rather than at Submit
	LateLazy    float64 // a lazy success is held back to the latest moment
	Reorder     float64 // completions of different descriptors change places
	Batch       float64 // Wait goes on collecting for a moment
	EmptyWait   float64 // Wait returns early with nothing
	Full        float64 // Submit answers ErrFull
	NoBlock     float64 // a Recv finds no block although the pool has some
	AcceptError float64 // an accept fails: EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED
	CancelRace  float64 // a cancelled operation does something first
	Reset       float64 // a connection is reset by its peer at some moment of its first seconds
	Jump        float64 // the clock jumps ahead in a Wait
}

// Draw makes faults by chance: each kind is left out of half of the runs, so that
// they do not hide each other, and is rare or common in the others.
func Draw(r *rand.Rand) Faults {
	var f Faults
	for _, kind := range []struct {
		field *float64
		most  float64
	}{
		{&f.ShortRead, 0.9},
		{&f.ShortWrite, 0.9},
		{&f.PartialFile, 0.3},
		{&f.Delay, 0.9},
		{&f.LateStart, 1},
		{&f.LateLazy, 1},
		{&f.Reorder, 1},
		{&f.Batch, 1},
		{&f.EmptyWait, 0.2},
		{&f.Full, 0.1},
		{&f.NoBlock, 0.1},
		{&f.AcceptError, 0.1},
		{&f.CancelRace, 1},
		{&f.Reset, 0.2},
		{&f.Jump, 0.002},
	} {
		chance, share := r.Float64(), r.Float64()
		if chance < 0.5 {
			*kind.field = kind.most * share
		}
	}
	return f
}
