package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// told is one way in which the kernel tells a loop of connections.
type told struct {
	name, driver string
	more         []string
}

func allTold() []told {
	return []told{
		{name: "select", driver: "select"},
		{name: "poll", driver: "poll"},
		{name: "epoll", driver: "epoll"},
		{name: "rtsig", driver: "rtsig"},
		{name: "rtsig-per-fd", driver: "rtsig", more: []string{"--set", "engine.signal=per_descriptor"}},
		{name: "uring", driver: "uring"},
		{name: "sweep", driver: "sweep"},
	}
}

func (t told) arguments() []string {
	return append([]string{"--driver", t.driver, "--model", "reactor", "--loops", "1"}, t.more...)
}

// dispatchSizes is how much of dispatch is measured.
type dispatchSizes struct {
	idle   []int
	rates  []float64
	length time.Duration
}

func dispatch() Experiment {
	return Experiment{
		Name: "dispatch", Title: "Which way of telling a loop keeps up beside idle connections?",
		Seeds: []string{"000", "003"},
		Claim: "select and poll look at every descriptor in every call, O(n), select at most at 1,024; epoll and real-time " +
			"signals return only what is ready, O(1). With 256 and more so with 6,000 idle connections the reply rate of " +
			"select and poll falls and their response time grows, and that of signals and epoll does not. Signals overflow " +
			"their queue (SIGIO), unless there is one for each descriptor. A sweep every 10 ms wastes the processor.",
		Varied: "the driver, the idle connections beside the load, the requests that become due in a second",
		Method: "One server process of the reactor model with one loop for each driver, on a processor of its own; the " +
			"idle connections have asked once, and the server has become quiet. Requests become due at random (Poisson) over " +
			"64 connections, and a response time counts from when its request was due. The processor time is the kernel's " +
			"account of the process within the measured second. For the overflow, 512 connections ask at once while the " +
			"process may have 64 queued signals, and strace counts the SIGIO.",
		Takes: 12 * minute, Quick: quickest, Full: 25 * minute,
		measure: measureDispatch, judge: judgeDispatch,
	}
}

const active = 64

func measureDispatch(ctx context.Context, s *Stand, r *Result) error {
	sizes := dispatchSizes{[]int{0, 256, 6000, 15000}, []float64{1000, 4000, 10000, 20000}, time.Second}
	if s.Quick {
		sizes = dispatchSizes{[]int{0, 256}, []float64{300, 1000}, 300 * time.Millisecond}
	}
	t := r.table("replies", []string{"driver", "idle connections", "requests due a second"},
		Column{"reply rate", "replies/s"}, Column{"CPU per reply", "us"}, Column{"CPU share", "%"},
		Column{"median response", "ms"}, Column{"p99 response", "ms"}, Column{"not answered", "requests"})
	for round := range s.Rounds {
		for _, idle := range sizes.idle {
			for _, i := range rotated(len(allTold()), round) {
				if err := measureDriver(ctx, s, r, t, allTold()[i], idle, sizes); err != nil {
					return err
				}
			}
		}
	}
	for _, rate := range []float64{sizes.rates[0], sizes.rates[len(sizes.rates)-1]} {
		r.draw(Figure{
			Title: fmt.Sprintf("Processor time of a reply, %.0f due a second", rate), Table: t.Name, Column: "CPU per reply",
			Line: "driver", Over: "idle connections", LogY: true,
			Only: map[string]string{"requests due a second": strconv.Itoa(int(rate))},
		})
	}
	for _, idle := range sizes.idle {
		only := map[string]string{"idle connections": strconv.Itoa(idle)}
		r.draw(Figure{
			Title: fmt.Sprintf("Reply rate, %d idle", idle), Table: t.Name, Column: "reply rate", Line: "driver",
			Over: "requests due a second", Only: only,
		})
		r.draw(Figure{
			Title: fmt.Sprintf("Processor time of a reply, %d idle", idle), Table: t.Name, Column: "CPU per reply",
			Line: "driver", Over: "requests due a second", Only: only, LogY: true,
		})
		r.draw(Figure{
			Title: fmt.Sprintf("Response time, 99th percentile, %d idle", idle), Table: t.Name, Column: "p99 response",
			Line: "driver", Over: "requests due a second", Only: only, LogY: true,
		})
	}
	return measureOverflow(ctx, s, r)
}

// measureDriver starts one server, puts idle connections beside the load, and goes through the rates.
func measureDriver(ctx context.Context, s *Stand, r *Result, t *Table, d told, idle int, sizes dispatchSizes) error {
	s.Tell("dispatch: %s, %d idle", d.name, idle)
	p, err := s.serve(ctx, d.name, 0, d.arguments()...)
	if err != nil {
		return err
	}
	beside, err := gather(ctx, p.address, idle)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	defer beside.leave()
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	answered := int64(idle)
	for _, rate := range sizes.rates {
		o, err := s.ask(ctx, demand{
			target: "http://" + p.address + "/", connections: active, rate: rate, length: sizes.length,
			timeout: 5 * time.Second, server: p.pid,
		})
		if err != nil {
			return err
		}
		t.add([]string{d.name, strconv.Itoa(idle), strconv.Itoa(int(rate))}, o.perSecond, o.cpu, o.share, o.p50, o.p99,
			float64(o.failed+o.dropped))
		r.check(o.good > 0 && o.good+o.failed == o.begun, "%s, %d idle, %v due: requests ended as answers or errors: %d and "+
			"%d of %d", d.name, idle, rate, o.good, o.failed, o.begun)
		answered += int64(o.good)
	}
	a, err := p.account(ctx)
	if err != nil {
		return err
	}
	r.check(a.Driver == d.driver, "the server of %s runs the driver %s", d.name, a.Driver)
	r.check(a.Requests >= answered, "%s counts as many requests as were answered, or more: %d, %d", d.name, a.Requests,
		answered)
	beside.leave() // a server that ends waits for those that are still there
	return s.end(p)
}

// measureOverflow shows that the queue of signals overflows, and that every request is answered all the same.
func measureOverflow(ctx context.Context, s *Stand, r *Result) error {
	if _, err := exec.LookPath("strace"); err != nil {
		r.note("strace is not installed: overflows of the signal queue were not counted")
		return nil
	}
	const queued, connections = 64, 512
	t := r.table("overflow of 64 signals", []string{"driver"}, Column{"overflows", "SIGIO"},
		Column{"signals taken", "signals"}, Column{"answers", "requests"}, Column{"not answered", "requests"})
	length := 3 * time.Second
	if s.Quick {
		length = time.Second
	}
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			d := allTold()[3+i]
			p, err := s.serve(ctx, d.name, queued, d.arguments()...)
			if err != nil {
				return err
			}
			trace := filepath.Join(s.dir, fmt.Sprintf("trace-%s-%d", d.name, round))
			tracer, err := s.start(ctx, spec{name: "strace", command: []string{
				"strace", "-f", "-qq", "-e", "trace=rt_sigtimedwait", "-o", trace, "-p", strconv.Itoa(p.pid),
			}})
			if err != nil {
				return err
			}
			if err := traced(ctx, p.pid); err != nil {
				return err
			}
			o, err := s.ask(ctx, demand{target: "http://" + p.address + "/", connections: connections, length: length})
			if err != nil {
				return err
			}
			if err := s.end(tracer); err != nil {
				return err
			}
			text, err := os.ReadFile(trace)
			if err != nil {
				return err
			}
			overflows := strings.Count(string(text), "(SIGIO)")
			taken := strings.Count(string(text), "(SIGRT_") + strings.Count(string(text), "(SIGRTMIN")
			t.add([]string{d.name}, float64(overflows), float64(taken), float64(o.good), float64(o.failed))
			r.check(o.failed == 0 && o.good > 0, "%s: all of %d requests were answered, the queue overflowing or not", d.name,
				o.begun)
			r.check(overflows > 0, "%s: the queue of %d signals overflowed: %d times", d.name, queued, overflows)
			if err := s.end(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// traced waits until a process has a tracer.
func traced(ctx context.Context, pid int) error {
	again := time.NewTicker(tryEvery)
	defer again.Stop()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || number(string(text), "TracerPid:") > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

func judgeDispatch(r *Result) Verdict {
	t := r.find("replies")
	last := t.Rows[len(t.Rows)-1].Key // the most idle connections and the highest rate
	idle := last[1]
	ratio := func(driver string) float64 {
		lowest := t.row(driver, idle, last[2]).Cells[1].Median
		return lowest / t.median("CPU per reply", driver, "0", last[2])
	}
	why := fmt.Sprintf("With %s idle connections a reply costs, against none, select %.1f, poll %.1f, epoll %.2f, "+
		"signals %.2f, io_uring %.2f times the processor time.", idle, ratio("select"), ratio("poll"), ratio("epoll"),
		ratio("rtsig"), ratio("uring"))
	why += " select is not held to 1,024 descriptors here: its sets are sized by the highest one."
	if ratio("select") > 3 && ratio("poll") > 3 && ratio("epoll") < 1.5 && ratio("rtsig") < 1.5 {
		return Verdict{Holds, why}
	}
	if ratio("select") > 2*ratio("epoll") || ratio("poll") > 2*ratio("epoll") {
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
