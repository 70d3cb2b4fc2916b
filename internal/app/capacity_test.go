package app

import (
	"math"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/config"
)

// roomy is a host on which nothing is short.
func roomy() Host {
	return Host{
		Processors: 4, Descriptors: 1_000_000, Files: 10_000_000, MemoryBytes: 64 << 30, Threads: 100_000,
		Signals: 100_000, Backlog: 4096,
	}
}

// usual is what a reactor with the epoll driver wants.
func usual() Demand {
	return Demand{
		Model: "reactor", Driver: "epoll", Direct: config.DirectAuto, Loops: 2, Listeners: 1, Workers: 128, Queue: 1024,
		BlockBytes: 16 << 10, Blocks: 4096, Backlog: 4096,
	}
}

type capacityCase struct {
	name      string
	change    func(h *Host, d *Demand)
	wall      string
	at, limit int
	direct    bool
	busy      string
	busyAt    int
	waiting   string
	waitingAt int
}

// The reserve of usual is 64 descriptors of the process, 8 for each of two loops, and a listener in each.
const reserve = 64 + 2*8 + 2

var capacityCases = []capacityCase{
	{
		name: "descriptors are short", change: func(h *Host, _ *Demand) { h.Descriptors = 1024 },
		wall: "descriptors", at: 1024 - reserve, limit: 1024 - reserve,
	},
	{
		name: "few descriptors", change: func(h *Host, _ *Demand) { h.Descriptors = 160 },
		wall: "descriptors", at: 160 - 20 - 2*8 - 2, limit: 160 - 20 - 2*8 - 2,
	},
	{
		name: "hardly any descriptors", change: func(h *Host, _ *Demand) { h.Descriptors = 16 },
		wall: "descriptors", at: 1, limit: 1,
	},
	{
		name:   "what is open already is not opened again",
		change: func(h *Host, _ *Demand) { h.Files = 500; h.Keep(1000) },
		wall:   "files", at: 1500, limit: 1500,
	},
	{
		name:   "nor does it take memory again",
		change: func(h *Host, _ *Demand) { h.MemoryBytes = 128 << 20; h.Keep(100_000) },
		wall:   "memory", at: 94_736, limit: 94_736,
	},
	{
		name:   "cached files take a quarter",
		change: func(h *Host, d *Demand) { h.Descriptors, d.CachedFiles = 20_000, 1<<20 },
		wall:   "descriptors", at: 15_000 - reserve, limit: 15_000 - reserve,
	},
	{
		name: "configured", change: func(_ *Host, d *Demand) { d.Connections = 100 },
		wall: "configuration", at: 100, limit: 100,
	},
	{
		name:   "configured beyond the descriptors",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Connections = 20_000, 50_000 },
		wall:   "descriptors", at: 20_000 - reserve, limit: 20_000 - reserve,
	},
	{
		name: "direct descriptors when they are needed",
		change: func(h *Host, d *Demand) {
			h.Descriptors, d.Connections, d.Driver = 20_000, 1_000_000, "uring"
		},
		wall: "configuration", at: 1_000_000, limit: 1_000_000, direct: true,
	},
	{
		name:   "no direct descriptors when they are not",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Connections, d.Driver = 20_000, 10_000, "uring" },
		wall:   "configuration", at: 10_000, limit: 10_000,
	},
	{
		name: "never direct descriptors",
		change: func(h *Host, d *Demand) {
			h.Descriptors, d.Connections, d.Driver, d.Direct = 20_000, 50_000, "uring", config.DirectNever
		},
		wall: "descriptors", at: 20_000 - reserve, limit: 20_000 - reserve,
	},
	{
		name:   "a proxy needs two descriptors for each connection",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Upstream = 20_000, math.MaxInt32 },
		wall:   "descriptors", at: (20_000 - reserve) / 2, limit: (20_000 - reserve) / 2,
	},
	{
		name:   "a proxy whose upstream takes few connections",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Upstream = 20_000, 1000 },
		wall:   "descriptors", at: 20_000 - reserve - 1000, limit: 20_000 - reserve - 1000,
	},
	{
		name:   "a proxy holds its clients without descriptors",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Upstream, d.Driver = 20_000, math.MaxInt32, "uring" },
		wall:   "descriptors", at: 20_000 - reserve, limit: 20_000 - reserve, direct: true,
	},
	{
		name:   "pipes of proxied connections take descriptors",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Upstream, d.Pipes = 20_000, math.MaxInt32, 2*512 },
		wall:   "descriptors", at: (20_000 - reserve - 2*512) / 2, limit: (20_000 - reserve - 2*512) / 2,
	},
	{
		name:   "pipes take no more than proxied connections can use",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Upstream, d.Pipes = reserve+600, math.MaxInt32, 2*512 },
		wall:   "descriptors", at: 100, limit: 100,
	},
	{
		name:   "sessions of datagrams take descriptors",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Sessions = 20_000, 8192 },
		wall:   "descriptors", at: 20_000 - reserve - 8192, limit: 20_000 - reserve - 8192,
	},
	{
		name:   "sessions of datagrams take half of the descriptors",
		change: func(h *Host, d *Demand) { h.Descriptors, d.Sessions = 20_000, 1<<20 },
		wall:   "descriptors", at: 10_000 - reserve, limit: 10_000 - reserve,
	},
	{
		name: "a proxy that has enough descriptors", change: func(h *Host, d *Demand) {
			h.Descriptors, d.Upstream, d.Driver, d.Connections = 20_000, math.MaxInt32, "uring", 9000
		},
		wall: "configuration", at: 9000, limit: 9000,
	},
	{
		name: "a proxy that never uses direct descriptors", change: func(h *Host, d *Demand) {
			h.Descriptors, d.Upstream, d.Driver, d.Direct = 20_000, math.MaxInt32, "uring", config.DirectNever
		},
		wall: "descriptors", at: (20_000 - reserve) / 2, limit: (20_000 - reserve) / 2,
	},
	{
		name: "a proxy without descriptors for its clients, whose upstream takes few connections",
		change: func(h *Host, d *Demand) {
			h.Descriptors, d.Upstream, d.Driver, d.Connections = 20_000, 1000, "uring", 100_000
		},
		wall: "configuration", at: 100_000, limit: 100_000, direct: true,
	},
	{
		name: "always direct descriptors: memory is the wall",
		change: func(h *Host, d *Demand) {
			h.Descriptors, h.MemoryBytes, d.Driver, d.Direct = 1024, 128<<20+4864*1000, "uring", config.DirectAlways
		},
		wall: "memory", at: 1000, limit: 1000, direct: true,
	},
	{
		name: "direct descriptors are of uring alone", change: func(_ *Host, d *Demand) { d.Direct = config.DirectAlways },
		wall: "descriptors", at: 1_000_000 - reserve, limit: 1_000_000 - reserve,
	},
	{
		name: "the system's files", change: func(h *Host, _ *Demand) { h.Files = 5000 },
		wall: "files", at: 5000, limit: 5000,
	},
	{
		name: "a loop's slots",
		change: func(h *Host, d *Demand) {
			h.Descriptors, h.Files, h.MemoryBytes, d.Loops = math.MaxInt64, math.MaxInt64, math.MaxInt64, 1
		},
		wall: "slots", at: 1<<24 - 1, limit: 1<<24 - 1, busyAt: 4096,
	},
	{
		name:   "more memory for blocks than there is",
		change: func(h *Host, _ *Demand) { h.MemoryBytes = 1 << 20 }, wall: "memory", at: 1, limit: 1,
	},
	{
		name: "threads", change: func(h *Host, d *Demand) { d.Model, d.Driver, d.Loops, h.Threads = "thread", "", 0, 2000 },
		wall: "threads", at: 1000 - 64, limit: 1000 - 64, busyAt: 4096,
	},
	{
		name: "the goroutine model has no loops", change: func(h *Host, d *Demand) {
			d.Model, d.Driver, d.Loops, h.Descriptors = "goroutine", "", 0, 1000
		},
		wall: "descriptors", at: 1000 - 65, limit: 1000 - 65, busyAt: 4096,
	},
	{
		name: "workers and their queue", change: func(_ *Host, d *Demand) { d.Model, d.Driver, d.Loops = "workpool", "", 0 },
		wall: "workers", at: 1152, limit: 1_000_000 - 65, busy: "workers", busyAt: 128,
	},
	{
		name: "one at a time", change: func(_ *Host, d *Demand) { d.Model, d.Driver, d.Loops = "single", "", 0 },
		wall: "model", at: 1, limit: 1_000_000 - 65, busy: "model", busyAt: 1,
	},
	{
		name: "queued signals", change: func(h *Host, d *Demand) { h.Signals, d.Driver = 100, "rtsig" },
		wall: "descriptors", at: 1_000_000 - reserve, limit: 1_000_000 - reserve, busy: "signals", busyAt: 100,
	},
	{
		name: "queued signals are of rtsig alone", change: func(h *Host, _ *Demand) { h.Signals = 100 },
		wall: "descriptors", at: 1_000_000 - reserve, limit: 1_000_000 - reserve,
	},
	{
		name: "somaxconn", change: func(h *Host, d *Demand) { h.Backlog, d.Connections = 128, 10 },
		wall: "configuration", at: 10, limit: 10, waiting: "somaxconn", waitingAt: 128,
	},
}

func TestCapacity(t *testing.T) {
	for _, test := range capacityCases {
		t.Run(test.name, func(t *testing.T) {
			h, d := roomy(), usual()
			test.change(&h, &d)
			if test.busy == "" {
				test.busy = "blocks"
			}
			if test.busyAt == 0 {
				test.busyAt = 8192
				if d.Upstream > 0 { // seven eighths of the blocks, two for each client
					test.busyAt = 3584
				}
			}
			if test.waiting == "" {
				test.waiting, test.waitingAt = "backlog", 4096
			}
			c := Compute(h, d)
			if first := c.First(); first.Name != test.wall || first.At != test.at {
				t.Errorf("the first wall is %s at %d, want %s at %d", first.Name, first.At, test.wall, test.at)
			}
			if c.Limit != test.limit || c.Direct != test.direct {
				t.Errorf("the limit is %d, direct %v; want %d and %v", c.Limit, c.Direct, test.limit, test.direct)
			}
			if c.Busy.Name != test.busy || c.Busy.At != test.busyAt {
				t.Errorf("at work are %d by %s, want %d by %s", c.Busy.At, c.Busy.Name, test.busyAt, test.busy)
			}
			if c.Waiting.Name != test.waiting || c.Waiting.At != test.waitingAt {
				t.Errorf("waiting are %d by %s, want %d by %s", c.Waiting.At, c.Waiting.Name, test.waitingAt, test.waiting)
			}
			if c.Limiter.At != test.limit || c.Limiter.Why == "" {
				t.Errorf("the limit of %d is said to come from %+v", test.limit, c.Limiter)
			}
			for i, wall := range c.Walls {
				if wall.Why == "" || wall.Fix == "" || i > 0 && wall.At < c.Walls[i-1].At {
					t.Errorf("wall %d is unexplained or out of order: %+v", i, wall)
				}
			}
			if text := c.String(); !strings.Contains(text, test.wall) || strings.Contains(text, "\n") {
				t.Errorf("the line for the operator: %q", text)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 16 << 10: "16 KiB", 1536: "1.5 KiB", 64 << 30: "64 GiB", 5 << 40: "5 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
