package lab

import (
	"context"
	"fmt"
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
	watch       int // a process to look at while the load is on it
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
	watched   watched
}

// watched is what a process was like under load.
type watched struct {
	first, last usage
	between     time.Duration // the two looks
	looks       int
}

// switches is the context switches in a second, of the threads that lived at both looks.
func (w *watched) switches() float64 {
	if w.between <= 0 {
		return 0
	}
	return float64(w.last.switches-w.first.switches) / w.between.Seconds()
}

// look is what the generator calls now and then.
func (w *watched) look(pid int, every time.Duration) func(load.Live) {
	var begin, next time.Time
	return func(l load.Live) {
		now := time.Now()
		if pid == 0 || l.Phase != "running" || now.Before(next) {
			return
		}
		u, err := used(pid)
		if err != nil {
			return
		}
		if w.looks == 0 {
			begin, w.first = now, u
		}
		w.last, w.between, next = u, now.Sub(begin), now.Add(every)
		w.looks++
	}
}

// ask puts a target under load, in this process and on its processor. The generator is the one of myriad bench.
func (s *Stand) ask(ctx context.Context, d demand) (o outcome, err error) {
	plan := load.Default()
	if plan.Target, err = load.ParseTarget(ctx, d.target); err != nil {
		return o, err
	}
	plan.Connections, plan.Duration, plan.WarmUp, plan.Think = d.connections, d.length, d.warmUp, d.think
	plan.PerConnect, plan.Seed = d.perConnect, s.Seed
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
	return outcome{
		perSecond: r.Requests.PerSecond, good: r.Requests.Good, failed: r.Requests.Failed, begun: r.Requests.Begun,
		p50: milliseconds(r.Latency.P50), p99: milliseconds(r.Latency.P99), mean: milliseconds(r.Latency.Mean),
		made: r.Connections.Made, dropped: r.Requests.Dropped + r.Requests.Left, errors: r.Errors, watched: w,
	}, nil
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

// leave closes them. They are reset, so that none is left in TIME_WAIT.
func (c crowd) leave() {
	for _, one := range c {
		if tcp, ok := one.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = one.Close()
	}
}
