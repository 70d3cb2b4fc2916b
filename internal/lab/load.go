package lab

import (
	"context"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

// demand is what a generator is asked for.
type demand struct {
	target      string // as the generator's targets are written
	connections int
	rate        float64 // requests a second that become due by themselves; 0: as fast as answers come
	length      time.Duration
	warmUp      time.Duration
	timeout     time.Duration // of a request; 0: 10 seconds
	think       time.Duration
	perConnect  int  // requests on a connection before it is closed; 0: no end
	any         bool // any content will do, not only hello
	rampUp      time.Duration
	server      int   // its process, whose processor time is told; 0: it is found by itself
	watch       []int // the processes to look at while the load is on them
}

// outcome is what a generator reports. Times are milliseconds.
type outcome struct {
	perSecond float64 // answered as expected
	good      uint64
	failed    uint64
	begun     uint64
	p50, p99  float64
	mean      float64
	made      uint64 // connections
	dropped   uint64 // due but never sent
	errors    map[string]uint64
	cpu       float64 // microseconds of the server's processor time for an answer, in the measured time; NaN if unknown
	share     float64 // of a processor that the server took in that time, in percent; NaN if unknown
	watched   watched
}

// watched is what a server's processes were like under load, all of them together.
type watched struct {
	first, last  usage
	good         [2]int64      // answers until the first look and the last
	between      time.Duration // the two looks
	looks        int
	proportional int64 // bytes, in the second half of the load
}

// switches is the context switches in a second, of the threads that lived at both looks.
func (w *watched) switches() float64 {
	if w.between <= 0 {
		return 0
	}
	return float64(w.last.switches-w.first.switches) / w.between.Seconds()
}

// cpu is the processor time of an answer in microseconds, between the two looks; all of it if there was no answer.
func (w *watched) cpu() float64 {
	return float64(w.last.time-w.first.time) / 1e3 / float64(max(1, w.good[1]-w.good[0]))
}

// look is what the generator calls now and then. The kernel walks through an address space to count shared pages by
// parts, so that is done once.
func (w *watched) look(pids []int, every time.Duration) func(load.Live) {
	var begin, next time.Time
	return func(l load.Live) {
		now := time.Now()
		if len(pids) == 0 || l.Phase != "running" || now.Before(next) {
			return
		}
		u, err := usedByAll(pids)
		if err != nil {
			return
		}
		if w.looks == 0 {
			begin, w.first, w.good[0] = now, u, l.Good
		}
		w.last, w.good[1], w.between, next = u, l.Good, now.Sub(begin), now.Add(every)
		w.looks++
		if w.proportional == 0 && l.Elapsed >= l.Length/2 {
			w.proportional, _ = proportional(pids) // what cannot be read stays 0, and a check fails
		}
	}
}

// ask puts a target under load, in this process and on its processor. The generator is the one of myriad bench.
func (s *Stand) ask(ctx context.Context, d demand) (o outcome, err error) {
	plan := load.Default()
	if plan.Target, err = load.ParseTarget(ctx, d.target); err != nil {
		return o, err
	}
	plan.Connections, plan.Duration, plan.WarmUp, plan.Think = d.connections, d.length, d.warmUp, d.think
	plan.PerConnect, plan.Seed, plan.PID = d.perConnect, s.Seed, d.server
	if !d.any {
		plan.Request.Expect = []byte(hello)
	}
	if d.timeout > 0 {
		plan.Timeout = d.timeout
	}
	if d.rate > 0 {
		plan.Stages = []load.Stage{{From: d.rate, To: d.rate, For: d.warmUp + d.length}}
		plan.Arrivals = load.Poisson
	}
	plan.RampUp = d.rampUp
	var w watched
	r, err := load.Run(ctx, plan, w.look(d.watch, d.length/4))
	if err != nil {
		return o, fmt.Errorf("the load on %s: %w", d.target, err)
	}
	if r.Interrupted {
		return o, fmt.Errorf("the load on %s was interrupted: %w", d.target, context.Cause(ctx))
	}
	s.mu.Lock()
	s.strains.heed(&r.CPU)
	s.mu.Unlock()
	o = outcome{
		perSecond: r.Requests.PerSecond, good: r.Requests.Good, failed: r.Requests.Failed, begun: r.Requests.Begun,
		p50: milliseconds(r.Latency.P50), p99: milliseconds(r.Latency.P99), mean: milliseconds(r.Latency.Mean),
		made: r.Connections.Made, dropped: r.Requests.Dropped + r.Requests.Left, errors: r.Errors, watched: w,
		cpu: math.NaN(), share: math.NaN(),
	}
	if per := r.CPU.ServerPerRequest; per != nil {
		o.cpu, o.share = *per, 100*float64(*r.CPU.Server)/float64(max(1, r.CPU.Length))
	}
	return o, nil
}

// add makes one outcome of two loads that ran at the same time, on different processes. Quantiles cannot be added: they
// are those of the load whose are the worst.
func (o *outcome) add(p *outcome) {
	good := float64(o.good + p.good)
	o.mean = (o.mean*float64(o.good) + p.mean*float64(p.good)) / max(1, good)
	o.p50, o.p99 = max(o.p50, p.p50), max(o.p99, p.p99)
	o.perSecond += p.perSecond
	o.good, o.failed, o.begun = o.good+p.good, o.failed+p.failed, o.begun+p.begun
	o.made, o.dropped = o.made+p.made, o.dropped+p.dropped
	for what, n := range p.errors {
		o.errors[what] += n
	}
	o.cpu, o.share = math.NaN(), math.NaN()
	w, v := &o.watched, &p.watched
	w.first.add(v.first)
	w.last.add(v.last)
	w.good[0], w.good[1] = w.good[0]+v.good[0], w.good[1]+v.good[1]
	w.between, w.looks = max(w.between, v.between), min(w.looks, v.looks)
	w.proportional += v.proportional
}

// strains is how often the generator was part of what was measured.
type strains struct{ loads, busy, hindered, behind int }

// heed keeps what the generator tells of itself.
func (n *strains) heed(c *load.CPU) {
	n.loads++
	busy, hindered, behind := c.Strained()
	for _, one := range []struct {
		count *int
		so    bool
	}{{&n.busy, busy}, {&n.hindered, hindered}, {&n.behind, behind}} {
		if one.so {
			*one.count++
		}
	}
}

// confess writes it into a result: a figure for which the generator was the bottleneck says little of the server.
func (n *strains) confess(r *Result) {
	for _, one := range []struct {
		count int
		what  string
	}{
		{n.busy, "its busiest thread was at work for more than 90 % of the time; a closed loop then shows the least that " +
			"the server can do, and response times with the generator's own queue in them"},
		{n.hindered, "others had its processor for a part of the time"},
		{n.behind, "it sent one request in a hundred late though a connection was free, which is part of the response times"},
	} {
		if one.count > 0 {
			r.note("Of the generator itself, in %d of %d loads: %s.", one.count, n.loads, one.what)
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// crowd is connections that are there and do nothing.
type crowd []net.Conn

// gather makes n connections, of which each has asked once and heard the answer.
func gather(ctx context.Context, address string, n int) (c crowd, err error) {
	request := []byte("GET / HTTP/1.1\r\nHost: " + address + "\r\n\r\n")
	answer := make([]byte, 4096)
	for range n {
		one, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", address)
		if err != nil {
			c.leave()
			return nil, fmt.Errorf("connection %d of %d: %w", len(c)+1, n, err)
		}
		c = append(c, one)
		_ = one.SetDeadline(time.Now().Add(startWithin))
		if _, err := one.Write(request); err != nil {
			c.leave()
			return nil, fmt.Errorf("the request of connection %d of %d: %w", len(c), n, err)
		}
	}
	for i, one := range c {
		_ = one.SetDeadline(time.Now().Add(startWithin))
		if _, err := one.Read(answer); err != nil {
			c.leave()
			return nil, fmt.Errorf("the answer of connection %d of %d: %w", i+1, n, err)
		}
		_ = one.SetDeadline(time.Time{})
	}
	return c, nil
}

// A server has become quiet when it takes less than a hundredth of a processor for a while. Some drivers look once at
// every connection that has fallen silent, a second after: that is not what an idle or a busy server costs.
const (
	quietShare  = 0.01
	quietLook   = 100 * time.Millisecond
	quietLooks  = 3
	settleLeast = 1500 * time.Millisecond
	settleMost  = 5 * time.Second
	settleQuick = 300 * time.Millisecond // a quick run judges nothing
)

// settle waits until a server that was given a crowd has become quiet, or, where it never does because its driver
// sweeps, for settleMost.
func (s *Stand) settle(ctx context.Context, p *process) error {
	least, most := settleLeast, settleMost
	if s.Quick {
		least, most = settleQuick, settleQuick
	}
	began := time.Now()
	last, err := used(p.pid)
	again := time.NewTicker(quietLook)
	defer again.Stop()
	for quiet := 0; err == nil; {
		if past := time.Since(began); past >= most || past >= least && quiet >= quietLooks {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var now usage
		if now, err = used(p.pid); now.time-last.time < time.Duration(quietShare*float64(quietLook)) {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return err
}

// leave closes them. They are reset, so that none is left in TIME_WAIT.
func (c crowd) leave() {
	for _, one := range c {
		if tcp, ok := one.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = one.Close()
	}
}
