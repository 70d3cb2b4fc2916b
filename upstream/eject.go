package upstream

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// outlier counts what goes wrong in a row, and knows until when the endpoint is passed over.
type outlier struct {
	refused atomic.Int32 // connections not accepted in a row
	failed  atomic.Int32 // uses that went wrong in a row

	retryAt  atomic.Int64  // when one use may try it
	triedAt  atomic.Int64  // when one has last begun to, or has found that it is still out
	trial    atomic.Uint32 // one does: noTrial and others
	answers  atomic.Bool   // it is out for what it answers, not for accepting no connection
	times    int           // ejections in a row; under Group.mu
	returned int64         // under Group.mu
}

// What outlier.trial says of the use that tries an ejected endpoint.
const (
	noTrial    uint32 = iota // there is none
	dueTrial                 // the time of the endpoint had come
	earlyTrial               // it had not, but there was no other endpoint
)

// trialPatience is how long a trial has before another may be made: whoever had it may have been cancelled.
const trialPatience = int64(10 * time.Second)

// resortSpace is the least time between two trials of an endpoint that accepts no connection, when there is no other: a
// refusal costs next to nothing, and what the endpoint costs its clients by being restarted should not be more than the
// restart takes.
const resortSpace = int64(20 * time.Millisecond)

// available reports that the endpoint may be used; that of an ejected one takes up the trial.
func (e *Endpoint) available(now int64) bool {
	status := e.status.Load()
	if status == 0 {
		return true
	}
	if status != statusEjected {
		return false
	}
	at := e.outlier.retryAt.Load()
	if now < at || !e.outlier.retryAt.CompareAndSwap(at, now+trialPatience) {
		return false
	}
	e.outlier.triedAt.Store(now)
	e.outlier.trial.Store(dueTrial)
	return true
}

// lastResort reports that an ejected endpoint may be tried although its time has not come, because there is no other:
// a service is not to be out for longer than its endpoints are. One that accepts no connection is tried by one request
// at a time, again and again; one that answers badly, or has not yet said whether it accepts, once in each first wait.
func (e *Endpoint) lastResort(now int64) bool {
	if e.status.Load() != statusEjected {
		return false
	}
	o := &e.outlier
	space := int64(e.group.options.Eject.Base)
	if !o.answers.Load() && o.trial.Load() == noTrial {
		space = min(space, resortSpace)
	}
	at := o.triedAt.Load()
	if now-at < space || !o.triedAt.CompareAndSwap(at, now) {
		return false
	}
	o.trial.Store(earlyTrial)
	return true
}

// went is told of a use that went well.
func (e *Endpoint) went(now int64) {
	if e.outlier.failed.Load() != 0 {
		e.outlier.failed.Store(0)
	}
	if e.status.Load()&statusEjected != 0 {
		e.readmit(now)
	}
}

// accepted is told of a connection that was made.
func (e *Endpoint) accepted(now int64) {
	if e.outlier.refused.Load() != 0 {
		e.outlier.refused.Store(0)
	}
	if e.status.Load()&statusEjected != 0 && !e.outlier.answers.Load() {
		e.readmit(now)
	}
}

// refused is told of a connection that could not be made.
func (e *Endpoint) refused(now int64, why error) {
	if e.from != nil {
		e.from.doubt()
	}
	e.failsIn(&e.outlier.refused, now, false, Fault{}, why)
}

// Fault is how a use went wrong, for the log.
type Fault struct {
	// Status is what the endpoint answered, or 0 if it is not about that.
	Status int
	// Cause is a word for what it did instead, and Reason what else is known.
	Cause, Reason string
}

// String is the fault in a few words; empty if nothing is known.
func (f Fault) String() string {
	switch {
	case f.Status != 0:
		return "status " + strconv.Itoa(f.Status)
	case f.Reason != "":
		return f.Cause + " (" + f.Reason + ")"
	}
	return f.Cause
}

// wentWrong is told of a use that went wrong.
func (e *Endpoint) wentWrong(now int64, how Fault) {
	e.broken.Add(1)
	e.failsIn(&e.outlier.failed, now, true, how, nil)
}

// failsIn counts a failure, and ejects. how is that of a use, and why that of a connection that could not be made.
func (e *Endpoint) failsIn(row *atomic.Int32, now int64, answers bool, how Fault, why error) {
	o := e.group.options.Eject
	if o == nil {
		return
	}
	n := int(row.Add(1))
	out := e.status.Load()&statusEjected != 0
	if out && e.outlier.trial.Load() == noTrial || !out && n < o.Failures {
		return // one that is out is not told of what began before
	}
	g := e.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.status.Load()&statusGone != 0 || !out && answers && !g.mayEject() {
		return
	}
	if out {
		switch e.outlier.trial.Swap(noTrial) {
		case noTrial:
			return // another was quicker
		case earlyTrial: // which nobody had to make: the wait is what it was
			e.outlier.triedAt.Store(now)
			return
		}
	}
	if e.outlier.returned != 0 && now-e.outlier.returned > int64(o.Max) {
		e.outlier.times = 0 // it was well for long
	}
	wait := o.Base
	for range e.outlier.times {
		if wait = min(2*wait, o.Max); wait == o.Max {
			break
		}
	}
	e.outlier.times++
	e.outlier.returned = 0
	e.outlier.answers.Store(answers)
	e.outlier.retryAt.Store(now + int64(wait))
	e.outlier.triedAt.Store(now)
	what := fmt.Sprintf("%d connections in a row were not accepted, the last: %v; out for %v", n, why, wait)
	if answers {
		last := ""
		if text := how.String(); text != "" {
			last = ", the last: " + text
		}
		what = fmt.Sprintf("%d uses in a row failed%s; out for %v", n, last, wait)
	}
	if e.setStatus(statusEjected, what) {
		e.noteState("ejected", what)
	} else {
		g.poke()
	}
}

// mayEject reports that one more endpoint may be out for what it answers. Under mu.
func (g *Group) mayEject() bool {
	endpoints := g.set.Load().endpoints
	out := 0
	for _, e := range endpoints {
		if e.status.Load()&statusEjected != 0 && e.outlier.answers.Load() {
			out++
		}
	}
	most := len(endpoints) * g.options.Eject.Share / 100
	if len(endpoints) > 1 {
		most = max(most, 1)
	}
	return out < most
}

// readmit ends an ejection.
func (e *Endpoint) readmit(now int64) {
	g := e.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if !e.clearStatus(statusEjected) {
		return
	}
	e.outlier.trial.Store(noTrial)
	g.hasten(e, now)
	e.outlier.refused.Store(0)
	e.outlier.failed.Store(0)
	e.outlier.returned = max(now, 1)
	e.comesBack()
	e.noteState("back", "a trial went well")
}

// hasten has endpoints that accepted no connection tried at once, if the first of all has come back: what kept it away
// may have kept them too. Under mu.
func (g *Group) hasten(first *Endpoint, now int64) {
	endpoints := g.set.Load().endpoints
	for _, e := range endpoints {
		if e != first && e.status.Load() == 0 {
			return
		}
	}
	for _, e := range endpoints {
		if o := &e.outlier; e.status.Load()&statusEjected != 0 && !o.answers.Load() {
			o.times = 0
			o.retryAt.Store(min(o.retryAt.Load(), now))
		}
	}
}
