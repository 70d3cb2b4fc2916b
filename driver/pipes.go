package driver

// Pipe is a pipe with bytes in it, between the SpliceIn that filled it and the SpliceOut that empties it. Whoever holds
// it releases it; SpliceOut takes it over.
type Pipe struct {
	// Bytes is how many are in it. Drivers keep it up to date.
	Bytes int
	// Read and Write are the two ends.
	Read, Write int

	pool *Pipes
}

// Release gives the pipe back. One that still holds bytes is closed, so that they reach nobody else.
func (p *Pipe) Release() {
	o := p.pool
	o.lent--
	if p.Bytes > 0 || o.limit == 0 {
		p.Bytes = 0
		o.end(p)
		return
	}
	o.idle = append(o.idle, p)
}

// Pipes is a loop's pool of pipes, for its thread only. There are as many as bytes are under way in, not as many as
// connections: a driver takes one only when bytes have arrived, as it does with blocks.
type Pipes struct {
	open  func() (read, write int, err error)
	close func(fd int) error
	idle  []*Pipe
	spare []*Pipe // without a kernel's pipe
	lent  int
	limit int
	least int // of idle, since the last Trim
}

// NewPipes makes a pool that opens at most limit pipes, each of which costs two descriptors.
func NewPipes(limit int, open func() (read, write int, err error), closeEnd func(fd int) error) *Pipes {
	return &Pipes{open: open, close: closeEnd, limit: limit}
}

// Take lends an empty pipe, the one that was given back last, or returns nil when the limit is reached or the kernel
// has none. It returns nil for a nil pool.
func (o *Pipes) Take() *Pipe {
	if o == nil {
		return nil
	}
	if n := len(o.idle); n > 0 {
		p := o.idle[n-1]
		o.idle = o.idle[:n-1]
		o.least = min(o.least, n-1)
		o.lent++
		return p
	}
	if o.lent >= o.limit {
		return nil
	}
	read, write, err := o.open()
	if err != nil {
		return nil
	}
	p := &Pipe{pool: o}
	if n := len(o.spare); n > 0 {
		p, o.spare = o.spare[n-1], o.spare[:n-1]
	}
	p.Read, p.Write = read, write
	o.lent++
	return p
}

// Lent is the number of pipes that are out.
func (o *Pipes) Lent() int { return o.lent }

// Idle is the number of pipes that wait to be lent.
func (o *Pipes) Idle() int { return len(o.idle) }

// Trim closes as many idle pipes as were never needed since the last Trim. It returns how many are left open.
func (o *Pipes) Trim() int {
	for unused := o.least; unused > 0; unused-- {
		o.drop()
	}
	o.least = len(o.idle)
	return o.lent + len(o.idle)
}

// Shed closes the idle pipes: descriptors are needed elsewhere. It does nothing to a nil pool.
func (o *Pipes) Shed() {
	for o != nil && len(o.idle) > 0 {
		o.drop()
	}
}

// Close closes the idle pipes. Those that are out are closed when they come back, and no more are lent.
func (o *Pipes) Close() {
	o.limit = 0
	o.Shed()
}

func (o *Pipes) drop() {
	n := len(o.idle) - 1
	p := o.idle[n]
	o.idle = o.idle[:n]
	o.least = min(o.least, n)
	o.end(p)
}

func (o *Pipes) end(p *Pipe) {
	_ = o.close(p.Read)
	_ = o.close(p.Write)
	o.spare = append(o.spare, p)
}
