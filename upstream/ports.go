package upstream

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A connection takes a local port for its source and destination as long as it is open, and for a minute longer if we
// closed it first (TIME_WAIT). When there are no more, connect(2) fails with EADDRNOTAVAIL, after a long search. A
// gauge counts what this process has, for all groups alike, so that the end is seen before it comes.

// lingers is how long the kernel keeps a port after we closed a connection first; it is built into the kernel.
const lingers = 60 * time.Second

// route is what ports are counted for.
type route struct {
	source      netip.Addr
	destination netip.AddrPort
}

// gauge counts the ports in use from a source to a destination. Any goroutine may use it. The lock is taken when
// connections are made and closed, not when they are used again.
type gauge struct {
	route
	mu     sync.Mutex
	open   int
	linger int
	ring   [lingerSteps + 1]int // those that began to linger in each of the last steps
	step   int64                // the latest
	at     time.Time            // when that began, for those who do not know the threads' time
	width  int64                // of a step, in nanoseconds: a port lingers for lingerSteps of them
}

const lingerSteps = 60

// gauges holds the gauges of the process. One that counts nothing and that no endpoint uses is dropped.
var gauges = struct {
	sync.Mutex
	of    map[route]*gauge
	users map[*gauge]int
}{of: map[route]*gauge{}, users: map[*gauge]int{}}

// gaugeOf is the gauge of a route, until drop.
func gaugeOf(source netip.Addr, destination netip.AddrPort) *gauge {
	r := route{source, destination}
	gauges.Lock()
	defer gauges.Unlock()
	g := gauges.of[r]
	if g == nil {
		g = &gauge{route: r, width: int64(kernelPorts().lingering(destination.Addr())) / lingerSteps}
		gauges.of[r] = g
	}
	gauges.users[g]++
	return g
}

// drop ends the use of a gauge. What it still counts is given up with it only when nobody else comes for it.
func (g *gauge) drop() {
	gauges.Lock()
	defer gauges.Unlock()
	gauges.users[g]--
	for other, users := range gauges.users {
		other.mu.Lock()
		empty := other.open == 0
		other.mu.Unlock()
		if users == 0 && empty {
			delete(gauges.users, other)
			delete(gauges.of, other.route)
		}
	}
}

// used is how many ports are taken at a time in nanoseconds.
func (g *gauge) used(now int64) (open, lingering int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass(now)
	return g.open, g.linger
}

// take counts a port, unless as many as limit are in use.
func (g *gauge) take(now int64, limit int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass(now)
	if g.open+g.linger >= limit {
		return false
	}
	g.open++
	return true
}

// give counts a port as free, or as lingering.
func (g *gauge) give(now int64, lingering bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if lingering {
		g.pass(now)
		g.ring[g.step%int64(len(g.ring))]++
		g.linger++
	}
}

// pass forgets those that have lingered long enough.
func (g *gauge) pass(now int64) {
	step := now / g.width
	if step <= g.step {
		return // threads may differ by some milliseconds
	}
	if step-g.step >= int64(len(g.ring)) {
		clear(g.ring[:])
		g.linger = 0
	}
	for s := max(g.step-lingerSteps, 0); s < step-lingerSteps && g.linger > 0; s++ {
		at := &g.ring[s%int64(len(g.ring))]
		g.linger -= *at
		*at = 0
	}
	g.step, g.at = step, time.Now()
}

// usedLately is used for those who do not know the threads' time.
func (g *gauge) usedLately() (open, lingering int) {
	g.mu.Lock()
	now := g.step * g.width
	if !g.at.IsZero() {
		now += int64(time.Since(g.at))
	}
	g.mu.Unlock()
	return g.used(now)
}

// portRange is what the kernel has to give.
type portRange struct {
	capacity int
	reuse    int // net.ipv4.tcp_tw_reuse: 1: a lingering port is used again after a second, 2: to loopback addresses
}

// kernelPorts reads it once; a test may replace it.
var kernelPorts = sync.OnceValue(func() portRange {
	return portRange{
		capacity: countPorts(
			readSetting("/proc/sys/net/ipv4/ip_local_port_range"),
			readSetting("/proc/sys/net/ipv4/ip_local_reserved_ports"),
		),
		reuse: atoi(readSetting("/proc/sys/net/ipv4/tcp_tw_reuse")),
	}
})

// limit is how many of the ports are used: a fiftieth is left to others, and the kernel's search stays short.
func (p portRange) limit() int { return max(1, p.capacity-p.capacity/50) }

// lingering is how long a port towards an address is lost.
func (p portRange) lingering(destination netip.Addr) time.Duration {
	if p.reuse == 1 || p.reuse == 2 && destination.Unmap().IsLoopback() {
		return time.Second
	}
	return lingers
}

func readSetting(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "" // the defaults of the kernel are taken
	}
	return strings.TrimSpace(string(text))
}

func atoi(text string) int {
	n, _ := strconv.Atoi(text) // what is no number is 0
	return n
}

// countPorts reads "32768 60999" and "8080,40000-40010".
func countPorts(span, reserved string) int {
	first, last := 32768, 60999
	if fields := strings.Fields(span); len(fields) == 2 {
		first, last = atoi(fields[0]), atoi(fields[1])
	}
	count := last - first + 1
	for part := range strings.SplitSeq(reserved, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, high := max(atoi(from), first), min(atoi(to), last)
		count -= max(0, high-low+1)
	}
	return max(1, count)
}

// choosePort takes a port from the source that has most of them left, and returns the source's number.
func (e *Endpoint) choosePort(now int64) (source uint8, ok bool) {
	if len(e.gauges) == 0 {
		return 0, true
	}
	best := 0
	if len(e.gauges) > 1 {
		least := -1
		for i, g := range e.gauges {
			open, lingering := g.used(now)
			if used := open + lingering; least < 0 || used < least {
				best, least = i, used
			}
		}
	}
	return uint8(best), e.gauges[best].take(now, kernelPorts().limit())
}

// noPorts says that the port of a source was not to be had.
func (e *Endpoint) noPorts(source uint8, now int64, kernel bool) *PortsError {
	g := e.gauges[source]
	open, lingering := g.used(now)
	return &PortsError{
		Source: g.source, Destination: g.destination, Open: open, Lingering: lingering,
		Capacity: kernelPorts().capacity, Kernel: kernel,
	}
}
