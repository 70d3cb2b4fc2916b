package supervise

// Every worker has a seat: the lowest that no worker of its generation has. So in the end the seats of n workers are 0
// to n-1, and who follows a worker that has died or was replaced does the same part of the work.

// freeSeat is the seat of the worker that is started next.
func (m *Machine) freeSeat() int {
	for seat := 0; ; seat++ {
		if m.count(func(w *worker) bool { return w.live() && w.generation == m.target() && w.seat == seat }) == 0 {
			return seat
		}
	}
}

// priority is how much a worker is to go under LastSeat: above all one whose successor serves, then one whose seat is
// not to be any more.
func (m *Machine) priority(w *worker) int {
	switch {
	case m.count(func(other *worker) bool { return m.follows(other, w) && other.phase == Serving }) > 0:
		return 2
	case w.seat >= m.desired:
		return 1
	}
	return 0
}

// follows tells whether other has the seat of w, and is of the generation that is to be.
func (m *Machine) follows(other, w *worker) bool {
	return other.seat == w.seat && other.generation == m.target() && other.generation != w.generation && other.live()
}

// heir is who may take over the connections of a worker that is to go: the one that follows it in its seat, or else the
// one that its seat falls to. 0: nobody, as none is left.
func (m *Machine) heir(w *worker) ID {
	if m.mode != running {
		return 0
	}
	best := ID(0)
	for _, other := range m.workers {
		switch {
		case other == w || other.phase != Serving:
		case m.follows(other, w):
			return other.id
		case best == 0, other.seat == w.seat%m.desired:
			best = other.id
		}
	}
	return best
}

// seated tells whether a worker counts among those that there are to be: under LastSeat, whose seats matter, those in
// the first seats do.
func (m *Machine) seated(w *worker) bool {
	return w.live() && (m.policy.Retire != LastSeat || w.seat < m.desired)
}

// displaced are workers that have a later seat, as one of the first has lost its worker when fewer were wanted. They
// stay until that one is taken.
func (m *Machine) displaced(w *worker) bool { return w.live() && !m.seated(w) }

// inPlace are those that do what one that is displaced was kept for.
func (m *Machine) inPlace(w *worker) bool { return m.seated(w) && w.phase == Serving }
