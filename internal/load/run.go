package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/internal/sys"
)

// Live is what a run looks like while it goes on.
type Live struct {
	Phase       string
	Elapsed     time.Duration // of the run; negative while connections are being made
	Length      time.Duration // of the run
	Begun       int64
	Good        int64
	Failed      int64
	Dropped     int64
	Connections int64
	Wanted      int
	PerSecond   float64
}

// beginSlack is what it takes all workers to hear that the run begins, so that they begin together.
const beginSlack = commandPatience + 5*time.Millisecond

// progressEvery is how often Run tells how far it is.
const progressEvery = 250 * time.Millisecond

// run is a run in progress.
type run struct {
	plan     *Plan
	workers  []*worker
	group    sync.WaitGroup
	mu       sync.Mutex
	reached  []phase
	changed  chan struct{}
	server   *server
	keeper   *keeper // nil without very many idle connections
	progress func(Live)
	report   *Report

	lastGood int64
	lastTime time.Time
}

// Run carries a plan out and reports. progress, if not nil, is called now and then from one goroutine. When ctx ends
// the run ends early, in order, and the report says so.
func Run(ctx context.Context, plan Plan, progress func(Live)) (*Report, error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	factory, passed, err := standard.Driver(plan.Driver)
	if err != nil {
		return nil, err
	}
	if plan.Open() && plan.Requests == 0 {
		plan.Duration = min(plan.Duration, stagesLength(plan.Stages)-min(plan.WarmUp, stagesLength(plan.Stages)))
	}
	limit, _, err := sys.RaiseDescriptors()
	if err != nil {
		return nil, err
	}
	if runtime.GOMAXPROCS(0) < plan.Threads+1 {
		runtime.GOMAXPROCS(plan.Threads + 1)
	}
	r := &run{plan: &plan, changed: make(chan struct{}, 1), server: findServer(&plan), progress: progress}
	if r.keeper, err = newKeeper(&plan, limit, len(r.server.pids) > 0); err != nil {
		return nil, err
	}
	r.report = newReport(&plan, factory.Name, passed, r.server)
	r.make()
	return r.perform(ctx, factory)
}

func stagesLength(stages []Stage) (d time.Duration) {
	for _, s := range stages {
		d += s.For
	}
	return d
}

// spare is how many descriptors a run needs besides those of connections.
const spare = 64

// make makes the workers, each with its part of the connections.
func (r *run) make() {
	p := r.plan
	sources := sourcesOf(p)
	start := time.Now()
	clock := func() int64 { return int64(time.Since(start)) }
	r.reached = make([]phase, p.Threads)
	for i := range p.Threads {
		w := &worker{plan: p, number: i, speech: speak(p), places: newPlaces(p, sources, i), clock: clock}
		for _, part := range []struct {
			n    int
			kind kind
		}{{p.Connections, active}, {p.Slow.Connections, slow}, {p.Idle, idle}} {
			if part.kind == idle && r.keeper != nil {
				continue
			}
			n := part.n / p.Threads
			if i < part.n%p.Threads {
				n++
			}
			for range n {
				w.clients = append(w.clients, client{kind: part.kind})
			}
		}
		w.told = func(reached phase) { r.reach(i, reached) }
		r.workers = append(r.workers, w)
	}
}

// reach notes that a worker has come to a phase.
func (r *run) reach(i int, p phase) {
	r.mu.Lock()
	r.reached[i] = p
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// slowest is the phase that all workers have reached.
func (r *run) slowest() phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := phaseOver
	for _, p := range r.reached {
		least = min(least, p)
	}
	return least
}

// command tells all workers which phase the run is to be in.
func (r *run) command(p phase) {
	for _, w := range r.workers {
		w.command.Store(int32(p))
	}
}

// await waits until all workers have reached a phase, telling how far it is meanwhile. It reports false when the
// context ended before.
func (r *run) await(ctx context.Context, p phase) bool {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for r.slowest() < p {
		select {
		case <-r.changed:
		case <-ticker.C:
			r.tell(p)
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// perform goes through the phases.
func (r *run) perform(ctx context.Context, factory driver.Factory) (*Report, error) {
	rep := r.report
	before := counters()
	ownBefore, _ := anonymous("self")
	serverBefore, _ := r.server.memory()
	began := time.Now()
	whole := true
	if r.keeper != nil { // first, so that no active connection waits for them
		go r.keeper.run(ctx)
		whole = r.awaitKeeper(ctx)
	}
	for _, w := range r.workers {
		r.group.Go(func() {
			w.run(factory)
			r.reach(w.number, phaseOver)
		})
	}
	whole = whole && r.await(ctx, phaseReady)
	rep.Connecting.Took = time.Since(began)
	if whole && r.slowest() == phaseReady && !r.alone() {
		rep.Memory = r.weigh(before, ownBefore, serverBefore)
		rep.Begin = census(r.plan, r.standing())
		whole = r.measure(ctx)
	}
	r.command(phaseDrain)
	r.await(context.WithoutCancel(ctx), phaseQuiet)
	rep.End = census(r.plan, r.standing())
	r.command(phaseClose)
	r.group.Wait()
	r.dismissKeeper()
	rep.Counters = counters().since(before)
	rep.TimeWaitBefore = before.TimeWait
	rep.Interrupted = !whole
	var failures []error
	for _, w := range r.workers {
		failures = append(failures, w.failed)
	}
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	r.collect()
	if r.report.Connections.Made == 0 {
		return nil, fmt.Errorf("no connection to %s could be made: %s", r.plan.Target.Text, rep.firstError())
	}
	return rep, nil
}

// alone reports that connections were to be there from the beginning, and none could be made: nobody has to wait for
// the end of a run to hear that its target is wrong.
func (r *run) alone() bool {
	made := r.standing()
	for _, w := range r.workers {
		made += int(w.live.made.Load())
	}
	return made == 0 && r.plan.PerConnect != 1
}

// standing is how many connections the workers hold. They must have nothing under way.
func (r *run) standing() (n int) {
	for _, w := range r.workers {
		n += int(w.live.standing.Load())
	}
	if r.keeper != nil {
		n += int(r.keeper.standing.Load())
	}
	return n
}

// awaitKeeper waits until the idle connections have been made.
func (r *run) awaitKeeper(ctx context.Context) bool {
	if r.keeper == nil {
		return true
	}
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.keeper.made:
			return ctx.Err() == nil
		case <-ticker.C:
			r.tell(phaseReady)
		}
	}
}

// dismissKeeper has the idle connections closed, and counts what could not be made.
func (r *run) dismissKeeper() {
	k := r.keeper
	if k == nil {
		return
	}
	held := uint64(k.standing.Load())
	close(k.leave)
	<-k.over
	c := &r.report.Connections
	c.Made, c.ClosedByUs, c.Unmade = held, held, uint64(k.lost)
	if k.lost > 0 {
		r.report.Errors[k.cause()] += uint64(k.lost)
	}
}

// weighable is how many connections there must be before memory can be divided by their number.
const weighable = 100

// weigh is what the connections cost in memory, all of them made and none of them at work.
func (r *run) weigh(before Counters, own, server int64) (m Memory) {
	n := r.standing()
	if n < weighable {
		return m // whatever else the processes did meanwhile would be more
	}
	ownNow, _ := anonymous("self")
	m.OwnPerConnection = float64(ownNow-own) / float64(n)
	m.KernelPerConnection = float64(counters().Slab-before.Slab) / float64(n)
	if serverNow, ok := r.server.memory(); ok {
		perConnection := float64(serverNow-server) / float64(n)
		m.ServerPerConnection = &perConnection
	}
	m.Connections = n
	return m
}

// measure is the run itself: it waits for the measured time to begin, reads what the processors have done then and when
// it ends.
func (r *run) measure(ctx context.Context) bool {
	at := r.workers[0].clock() + int64(beginSlack)
	for _, w := range r.workers {
		w.beginAt.Store(at)
	}
	r.command(phaseRun)
	timer := time.NewTimer(beginSlack + r.plan.WarmUp)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	begin, good := time.Now(), r.answered()
	r.lastGood, r.lastTime = good, begin
	serverBegin, known := r.server.used()
	ownBegin, _ := sys.ProcessTime(ownPID)
	whole := r.await(ctx, phaseDrain)
	r.command(phaseDrain)
	r.report.CPU.Length = time.Since(begin)
	answers := float64(r.answered() - good)
	ownEnd, _ := sys.ProcessTime(ownPID)
	r.report.CPU.Own = ownEnd - ownBegin
	if serverEnd, ok := r.server.used(); ok && known {
		used := serverEnd - serverBegin
		r.report.CPU.Server = &used
		if answers > 0 {
			per := float64(used) / 1e3 / answers
			r.report.CPU.ServerPerRequest = &per
		}
	}
	if answers > 0 {
		r.report.CPU.OwnPerRequest = float64(r.report.CPU.Own) / 1e3 / answers
	}
	return whole
}

// answered is how many requests have been answered by now, the slow and those of the warm-up included.
func (r *run) answered() (n int64) {
	for _, w := range r.workers {
		n += w.live.answers.Load()
	}
	return n
}

// tell reports progress.
func (r *run) tell(towards phase) {
	if r.progress == nil {
		return
	}
	p := r.plan
	l := Live{
		Phase: "connecting", Elapsed: -1, Length: p.WarmUp + p.Duration,
		Wanted: p.Connections + p.Idle + p.Slow.Connections,
	}
	switch {
	case towards == phaseDrain:
		l.Phase = "running"
		l.Elapsed = time.Duration(r.workers[0].clock() - r.workers[0].beginAt.Load())
	case towards > phaseDrain:
		l.Phase = "waiting for answers"
		l.Elapsed = l.Length
	}
	for _, w := range r.workers {
		l.Begun += w.live.begun.Load()
		l.Good += w.live.good.Load()
		l.Failed += w.live.failed.Load()
		l.Dropped += w.live.dropped.Load()
	}
	l.Connections = int64(r.standing())
	answers, now := r.answered(), time.Now()
	if d := now.Sub(r.lastTime).Seconds(); d > 0 && !r.lastTime.IsZero() {
		l.PerSecond = float64(answers-r.lastGood) / d
	}
	r.lastGood, r.lastTime = answers, now
	r.progress(l)
}

// ownPID names the calling process in the calls of package sys.
const ownPID = 0
