package upstream

// picking is the state of one choice. It is in the agent, because the function that the policy calls is made once.
type picking struct {
	want *Want
	set  *set
	now  int64

	again    bool // also take what was passed over
	last     bool // and what is ejected, when its first wait is over
	strict   bool // but never what was tried
	homely   bool // do not ask other agents
	only     bool // choose only, for what is not a link
	passed   bool // some were passed over
	full     bool // some have as many connections as they may
	portless *Endpoint

	endpoint *Endpoint // what was found,
	link     *Link     // with a link to it,
	lender   *Agent    // or somebody who has one,
	source   uint8     // or a place and a port to dial from
}

// place finds a want a link, an agent that may lend one, or an endpoint to dial; or it denies it. It reports false,
// with nothing done, if the want must wait because what is available is full. failed is why the last endpoint that
// was dialled for it did not accept: then only another will do.
func (a *Agent) place(w *Want, failed error, homely bool) bool {
	if a.group.closed.Load() {
		a.deny(w, ErrClosed)
		return true
	}
	if !a.find(w, picking{strict: failed != nil, homely: homely || a.group.options.Pool.Alone}) {
		switch {
		case a.pick.full:
			return false
		case failed != nil:
			a.deny(w, failed)
		default:
			a.deny(w, a.pick.why())
		}
		return true
	}
	switch p := &a.pick; {
	case p.link != nil:
		a.grant(p.link, w)
	case p.lender != nil:
		a.ask(p.lender, p.endpoint, w)
	default:
		a.dial(p.endpoint, w, p.source)
	}
	return true
}

// why is the reason for having found nothing.
func (p *picking) why() error {
	if p.portless != nil {
		return p.portless.noPorts(p.source, p.now, false)
	}
	if p.set.nameless != nil {
		return p.set.nameless
	}
	return ErrNoEndpoint
}

// find chooses an endpoint: the preferred one, the policy's choice, then also what was passed over, and at last what is
// ejected.
func (a *Agent) find(w *Want, p picking) bool {
	p.want, p.set, p.now = w, a.group.set.Load(), a.dialer.Now()
	a.pick = p
	if w.Prefer != nil && a.take(w.Prefer) {
		return true
	}
	if p.set.picker.Pick(w.Key, a.accept) >= 0 {
		return true
	}
	if a.pick.passed {
		a.pick.again = true
		if p.set.picker.Pick(w.Key, a.accept) >= 0 {
			return true
		}
	}
	if a.pick.full || a.pick.portless != nil {
		return false
	}
	a.pick.last = true
	return p.set.picker.Pick(w.Key, a.accept) >= 0
}

// take takes what there is of an endpoint for the want of the choice: a link, a lender, or a place. It must not call
// anybody who might choose.
func (a *Agent) take(e *Endpoint) bool {
	p := &a.pick
	if p.want.hasTried(e) {
		if p.strict {
			return false
		}
		if !p.again {
			p.passed = true
			return false
		}
	}
	if !p.again && e != p.want.Prefer && e.returned.Load() != 0 && e.ramping(p.now) {
		p.passed = true
		return false
	}
	if !e.available(p.now) && !(p.last && e.lastResort(p.now)) {
		return false
	}
	p.endpoint = e
	if p.only {
		if e.reserve(e.limit.Load()) {
			return true
		}
		p.full = true
		return false
	}
	s := a.shareOf(e)
	if !p.want.Fresh && s.shelf.Len() > 0 {
		if p.link = a.takeIdle(s, p.want.Look); p.link != nil {
			return true
		}
	}
	if !p.want.Fresh && !p.homely {
		if p.lender = a.lender(e, true); p.lender != nil {
			return true
		}
	}
	return a.takePlace(s)
}

// takePlace takes a place for a new connection, or what there is to be had in its stead.
func (a *Agent) takePlace(s *share) bool {
	p, e := &a.pick, s.endpoint
	if !e.reserve(e.limit.Load()) {
		if p.want.Fresh && s.shelf.Len() > 0 { // an idle link makes room for a new one
			a.retireOldest(s, RetiredSurplus)
			if e.reserve(e.limit.Load()) {
				return a.takePort(e)
			}
		}
		if !p.want.Fresh && !p.homely {
			if p.lender = a.lender(e, false); p.lender != nil {
				return true
			}
		}
		p.full = true
		return false
	}
	return a.takePort(e)
}

// takePort takes a port for a place that was taken.
func (a *Agent) takePort(e *Endpoint) bool {
	p := &a.pick
	var ok bool
	if p.source, ok = e.choosePort(p.now); ok {
		return true
	}
	e.open.Add(-1)
	p.portless = e
	return false
}

// enqueue has a want wait for something to become free.
func (a *Agent) enqueue(w *Want) {
	o := &a.group.options.Queue
	if a.queue.length >= o.Limit {
		a.deny(w, ErrQueueFull)
		return
	}
	now := a.dialer.Now()
	w.since = now
	a.queue.push(w)
	a.group.waiting.Add(1)
	a.tally.add(Queued)
	a.publishOldest()
	a.arm(now + int64(o.Timeout))
	if a.group.options.Pool.Alone {
		a.group.poke() // others may have idle links to give up
	}
}

// unqueue takes a want out of the queue.
func (a *Agent) unqueue(w *Want) {
	a.queue.remove(w)
	a.group.waiting.Add(-1)
	a.publishOldest()
}

// publishOldest tells other agents how long the first in the queue has waited.
func (a *Agent) publishOldest() {
	since := int64(0)
	if w := a.queue.first; w != nil {
		since = w.since + 1
	}
	if a.oldest.Load() != since {
		a.oldest.Store(since)
	}
}

// serve gives those who wait what there is.
func (a *Agent) serve() {
	if a.serving {
		return
	}
	a.serving = true
	for w := a.queue.first; w != nil; w = a.queue.first {
		a.queue.remove(w)
		a.group.waiting.Add(-1)
		if !a.place(w, nil, false) {
			a.queue.putBack(w)
			a.group.waiting.Add(1)
			break
		}
	}
	a.serving = false
	a.publishOldest()
}

// freed is called when a place may have become free. Others who wait are told only if one has: they would tell each
// other for ever.
func (a *Agent) freed() {
	if a.queue.length > 0 {
		a.serve()
	}
	g := a.group
	if !a.loose || g.waiting.Load() <= int64(a.queue.length) {
		return
	}
	a.loose = false
	for i := range g.top.Load() {
		if o := g.agents[i].Load(); o != nil && o != a && o.oldest.Load() != 0 {
			o.poke()
		}
	}
}

// passOn gives a link to the want that has waited longest, here or on another thread.
func (a *Agent) passOn(l *Link) bool {
	g := a.group
	var longest *Agent
	since := int64(0)
	for i := range g.top.Load() {
		o := g.agents[i].Load()
		if o == nil {
			continue
		}
		if s := o.oldest.Load(); s != 0 && (since == 0 || s < since) {
			longest, since = o, s
		}
	}
	switch {
	case longest == nil:
		return false
	case longest != a:
		if g.options.Pool.Alone {
			a.leave(l)
			longest.poke()
		} else {
			a.send(l, &Link{Endpoint: l.Endpoint, phase: borrowing}, longest)
		}
		return true
	}
	w := a.queue.first
	if w == nil {
		return false // serve has it in hand
	}
	if w.Fresh {
		a.leave(l)
		a.freed()
		return true
	}
	a.unqueue(w)
	a.grant(l, w)
	return true
}
