package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

var localPorts = Check{
	Name: "local-ports",
	About: "Each connection that is dialled takes a local port, and connections from one address to one destination (an " +
		"address and a port) cannot share one. There are as many as net.ipv4.ip_local_port_range has, 28,232 by default. " +
		"TIME_WAIT holds a port for a minute after whoever dialled closed first. When they are used up connect(2) fails " +
		"with EADDRNOTAVAIL, and long before that the search for a free port costs the kernel hundreds of microseconds a " +
		"connection. The check counts ports by source and destination, and foresees from the rate of closing where " +
		"TIME_WAIT will end. Lasting cures, in this order: keep connections to upstreams instead of closing them; widen " +
		"the range; more source addresses or more destination ports. Who binds an address before dialling needs " +
		"IP_BIND_ADDRESS_NO_PORT, or its ports are counted for all destinations together.",
	Needs: NeedsSockets,
	Run:   checkLocalPorts,
}

const portRange = "net.ipv4.ip_local_port_range"

// narrowRange is a port range that is smaller than what kernels come with.
const narrowRange = 28000

// The widest range that is advised leaves alone what services listen on by tradition.
const lowestPort, highestPort = 10000, 65535

func checkLocalPorts(h *Host) ([]Finding, error) {
	ports, err := h.portRange()
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	reuse, err := h.SysctlNumber("net.ipv4.tcp_tw_reuse")
	if err != nil {
		return nil, err
	}
	var findings []Finding
	weight := func(d *Dialled) int { return d.Open + max(d.Waiting, d.expected()) }
	const most = 3
	for _, route := range largest(census.Routes, most, weight, Route.String) {
		if f, ok := portFinding(route, census.Routes[route], ports, reuse); ok {
			findings = append(findings, f)
		}
	}
	if ports.free() < narrowRange && len(findings) == 0 {
		findings = append(findings, Finding{
			Harm:     Info,
			Title:    fmt.Sprintf("there are %d local ports to dial from", ports.free()),
			Evidence: ports.evidence(),
			Cause:    "the range is narrower than the kernel's own, which gives 28,232 for each destination",
			Fix:      fmt.Sprintf("sysctl -w %s='%v'", portRange, ports.widest()),
			Recheck:  "sysctl " + portRange,
			Settings: []Setting{{portRange, ports.String(), ports.widest().String()}},
		})
	}
	return findings, nil
}

// portFinding judges one route: what is taken now, and what will be when those that were closed of late stay for their
// minute at the same rate.
func portFinding(route Route, d *Dialled, ports ports, reuse int64) (Finding, bool) {
	blocked, expected := d.Waiting, d.expected()
	if reusable(reuse, route.To.Addr()) {
		blocked, expected = d.Fresh, d.expected()/int(timeWait/freshTime)
	}
	free := int64(ports.free())
	harm, ok := filling(int64(d.Open+blocked), free)
	title := fmt.Sprintf("%d of %d local ports are in use to %v", d.Open+blocked, free, route.To)
	if !ok && d.Recent >= leastRecent {
		harm, ok = filling(int64(d.Open+expected), free)
		harm = min(harm, Warning)
		title = fmt.Sprintf("local ports to %v are about to be used up", route.To)
	}
	if !ok {
		return Finding{}, false
	}
	rate := float64(d.Recent) / recentTime.Seconds()
	f := Finding{
		Harm: harm, Title: title,
		Evidence: append(ports.evidence(),
			fmt.Sprintf("sock_diag: %v: %d open, %d in TIME_WAIT, %.3g closed a second in the last %v", route, d.Open,
				d.Waiting, rate, recentTime),
			fmt.Sprintf("forecast: at this rate %d ports will be in TIME_WAIT at a time%s", expected,
				runOut(free-int64(d.Open+blocked), rate, int64(d.Open+expected) > free))),
		Cause:   "connections are dialled and closed again, and each closed one holds its port for a minute",
		Better:  "keep connections open between requests (a pool), or dial from more addresses",
		Recheck: fmt.Sprintf("ss -tanH state all dst %s dport = %d | wc -l", route.To.Addr(), route.To.Port()),
	}
	if d.Open > d.Waiting {
		f.Cause = "so many connections are open at a time from one address to one destination"
		f.Better = ""
	}
	f.Fix = "dial from more addresses, or to more ports"
	if wide := ports.widest(); wide.free() > ports.free() {
		f.Fix = fmt.Sprintf("sysctl -w %s='%v'", portRange, wide)
		f.Better = cmp.Or(f.Better, "dial from more addresses, or to more ports")
		f.Settings = []Setting{{portRange, ports.String(), wide.String()}}
	}
	return f, true
}

// leastRecent is how many must have been closed of late for a forecast.
const leastRecent = 20

// expected is how many will be in TIME_WAIT when connections go on to be closed as in the last seconds.
func (d *Dialled) expected() int { return int(time.Duration(d.Recent) * (timeWait / recentTime)) }

// runOut says when the last port is taken.
func runOut(left int64, rate float64, will bool) string {
	if !will || rate <= 0 {
		return ""
	}
	return fmt.Sprintf("; the last one is taken in %.3g s", max(float64(left), 0)/rate)
}

// reusable tells whether the kernel gives a port in TIME_WAIT to a new connection to the same destination: 1 is always,
// 2 within the host, see tcp_tw_reuse in tcp(7).
func reusable(reuse int64, to netip.Addr) bool { return reuse == 1 || reuse == 2 && to.IsLoopback() }

// String is the route as evidence.
func (r Route) String() string { return fmt.Sprintf("%v -> %v", r.From, r.To) }

// ports are those that the kernel may give to a connection that is dialled.
type ports struct{ low, high, reserved int }

func (p ports) free() int { return max(p.high-p.low+1-p.reserved, 0) }

func (p ports) String() string { return fmt.Sprintf("%d %d", p.low, p.high) }

// widest is the range that is advised, never narrower than what there is.
func (p ports) widest() ports {
	return ports{min(lowestPort, p.low), max(highestPort, p.high), p.reserved}
}

func (p ports) evidence() []string {
	line := fmt.Sprintf("%s: %v, %d ports", portRange, p, p.high-p.low+1)
	if p.reserved > 0 {
		line += fmt.Sprintf(", %d of them in net.ipv4.ip_local_reserved_ports", p.reserved)
	}
	return []string{line}
}

func (h *Host) portRange() (ports, error) {
	numbers, err := h.SysctlNumbers(portRange, 2)
	if err != nil {
		return ports{}, err
	}
	p := ports{low: int(numbers[0]), high: int(numbers[1])}
	reserved, err := h.Sysctl("net.ipv4.ip_local_reserved_ports")
	if err != nil {
		return ports{}, err
	}
	for part := range strings.SplitSeq(reserved, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		first, last, _ := strings.Cut(part, "-")
		low, err := strconv.Atoi(first)
		if err != nil {
			return ports{}, fmt.Errorf("net.ipv4.ip_local_reserved_ports is %q", reserved)
		}
		high, err := strconv.Atoi(cmp.Or(last, first))
		if err != nil {
			return ports{}, fmt.Errorf("net.ipv4.ip_local_reserved_ports is %q", reserved)
		}
		p.reserved += max(min(high, p.high)-max(low, p.low)+1, 0)
	}
	return p, nil
}
