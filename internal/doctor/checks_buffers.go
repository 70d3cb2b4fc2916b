package doctor

import (
	"fmt"
	"os"
	"strconv"
)

var tcpMemory = Check{
	Name: "tcp-memory",
	About: "All bytes in the buffers of all TCP sockets together are bounded by net.ipv4.tcp_mem, in pages: below the " +
		"first number nothing happens, from the second on (pressure) the kernel shrinks windows and drops what came out " +
		"of order, and at the third it drops what arrives and fails what is written; orphans are reset " +
		"(TCPAbortOnMemory). Idle connections hold no such bytes; slow readers do. The numbers are set at boot from the " +
		"memory there was, and belong to the host: in a container they cannot be seen.",
	Needs: NeedsRates,
	Run:   checkTCPMemory,
}

const tcpMemoryLimit = "net.ipv4.tcp_mem"

func checkTCPMemory(h *Host) ([]Finding, error) {
	marks, err := h.SysctlNumbers(tcpMemoryLimit, 3)
	if err != nil {
		return nil, err
	}
	used, err := h.Sockstat("TCP", "mem")
	if err != nil {
		return nil, err
	}
	pressures, err := h.Counter("TcpExt", "TCPMemoryPressures")
	if err != nil {
		return nil, err
	}
	aborted, err := h.Counter("TcpExt", "TCPAbortOnMemory")
	if err != nil {
		return nil, err
	}
	f := Finding{
		Title: fmt.Sprintf("TCP has %d of %d pages for its buffers", used, marks[2]),
		Cause: "connections whose peers or programs do not read hold their bytes in the kernel, or the limit is low for " +
			"the traffic of this host",
		Evidence: []string{
			fmt.Sprintf("net/sockstat: TCP mem %d pages of %d bytes", used, os.Getpagesize()),
			fmt.Sprintf("%s: pressure from %d on, the end at %d", tcpMemoryLimit, marks[1], marks[2]),
			"TcpExt TCPMemoryPressures: " + pressures.String(), "TcpExt TCPAbortOnMemory: " + aborted.String(),
		},
		Better:  "find who does not read, by Recv-Q and Send-Q: ss -tanp | sort -nk2 | tail",
		Recheck: "grep TCP: /proc/net/sockstat; sysctl " + tcpMemoryLimit,
	}
	low, _ := filling(used, marks[1])
	_, high := filling(used, marks[2])
	switch {
	case used >= marks[2] || aborted.Over > 0 && aborted.Grown > 0:
		f.Harm = Outage
	case high, used >= marks[1], pressures.Over > 0 && pressures.Grown > 0:
		f.Harm = Hurting
	case low != Info:
		f.Harm = Warning
	default:
		return nil, nil
	}
	want, err := h.moreTCPMemory(marks)
	if err != nil {
		return []Finding{f}, err
	}
	have := fmt.Sprintf("%d %d %d", marks[0], marks[1], marks[2])
	f.Fix = fmt.Sprintf("sysctl -w %s='%s'", tcpMemoryLimit, want)
	f.Settings = []Setting{{tcpMemoryLimit, have, want}}
	return []Finding{f}, nil
}

// moreTCPMemory lets TCP have a quarter of the memory, and twice what it has if that is more.
func (h *Host) moreTCPMemory(marks []int64) (string, error) {
	total, err := h.memoryFact("meminfo", "MemTotal")
	if err != nil {
		return "", err
	}
	most := max(total/int64(os.Getpagesize())/4, marks[2]*2)
	return fmt.Sprintf("%d %d %d", max(most/2, marks[0]), max(most/4*3, marks[1]), most), nil
}

var socketBuffers = Check{
	Name: "socket-buffers",
	About: "A connection moves at most one buffer in a round trip. The kernel grows the buffers of each connection to " +
		"what its path needs, between the three numbers of net.ipv4.tcp_rmem and tcp_wmem: least, first and most. 6 MiB " +
		"(the default) fill 500 Mbit/s over 100 ms. A small maximum makes far clients slow, whatever the link; a large " +
		"first number costs each busy connection memory. net.ipv4.tcp_moderate_rcvbuf = 0 turns the growing off, and so " +
		"does a program that sets SO_RCVBUF itself. Idle connections hold nothing. When what arrives finds no room the " +
		"kernel prunes (PruneCalled, TCPRcvCollapsed): work without use.",
	Needs: NeedsRates,
	Run:   checkSocketBuffers,
}

// What buffers must be able to grow to, and should not begin with.
const (
	leastMaximum = 4 << 20
	mostFirst    = 1 << 20
	// Pruning is judged from so many a second on.
	muchPruning = 10
)

func checkSocketBuffers(h *Host) ([]Finding, error) {
	var findings []Finding
	for _, side := range []struct{ key, what string }{
		{"net.ipv4.tcp_rmem", "receive"}, {"net.ipv4.tcp_wmem", "send"},
	} {
		sizes, err := h.SysctlNumbers(side.key, 3)
		if err != nil {
			return findings, err
		}
		have := fmt.Sprintf("%d %d %d", sizes[0], sizes[1], sizes[2])
		f := Finding{Evidence: []string{side.key + ": " + have}, Recheck: "sysctl " + side.key, Harm: Warning}
		var want string
		switch {
		case sizes[2] < leastMaximum:
			want = fmt.Sprintf("%d %d %d", sizes[0], sizes[1], leastMaximum)
			f.Title = fmt.Sprintf("%s buffers grow to %s at most", side.what, byteSize(sizes[2]))
			f.Cause = fmt.Sprintf("over a round trip of 100 ms a connection moves %s a second at most", byteSize(sizes[2]*10))
			f.Settings = []Setting{{side.key, have, want}}
		case sizes[1] > mostFirst:
			want = fmt.Sprintf("%d %d %d", sizes[0], 1<<17, sizes[2])
			f.Title = fmt.Sprintf("%s buffers begin with %s", side.what, byteSize(sizes[1]))
			f.Cause = "a connection that is not read from may hold so much before anybody asks whether its path needs it"
		default:
			continue
		}
		f.Fix = fmt.Sprintf("sysctl -w %s='%s'", side.key, want)
		findings = append(findings, f)
	}
	growing, err := h.SysctlNumber("net.ipv4.tcp_moderate_rcvbuf")
	if err != nil {
		return findings, err
	}
	if growing == 0 {
		findings = append(findings, Finding{
			Harm: Warning, Title: "receive buffers do not grow with what a path needs",
			Evidence: []string{"net.ipv4.tcp_moderate_rcvbuf: 0"},
			Cause:    "every connection keeps the buffer that it began with: far peers send slowly",
			Fix:      "sysctl -w net.ipv4.tcp_moderate_rcvbuf=1", Recheck: "sysctl net.ipv4.tcp_moderate_rcvbuf",
			Settings: []Setting{{"net.ipv4.tcp_moderate_rcvbuf", "0", "1"}},
		})
	}
	pruning, err := h.pruning()
	return append(findings, pruning...), err
}

func (h *Host) pruning() ([]Finding, error) {
	pruned, err := h.Counter("TcpExt", "PruneCalled")
	if err != nil {
		return nil, err
	}
	collapsed, err := h.Counter("TcpExt", "TCPRcvCollapsed")
	if err != nil {
		return nil, err
	}
	if pruned.Over == 0 || float64(pruned.Grown) < max(pruned.Over.Seconds(), 1)*muchPruning {
		return nil, nil
	}
	return []Finding{{
		Harm:  Warning,
		Title: "what arrives finds no room: the kernel prunes receive buffers",
		Evidence: []string{
			"TcpExt PruneCalled: " + pruned.String(), "TcpExt TCPRcvCollapsed: " + collapsed.String(),
		},
		Cause: "programs read more slowly than their peers send, in many small segments, or have set a small SO_RCVBUF " +
			"themselves",
		Fix:     "ss -tanmp",
		Better:  "a program whose Recv-Q stays high there reads too slowly",
		Recheck: "nstat -az TcpExtPruneCalled TcpExtTCPRcvCollapsed",
	}}, nil
}

var windowScaling = Check{
	Name: "window-scaling",
	About: "Without window scaling (RFC 7323) at most 64 KiB are on their way: 5 Mbit/s over 100 ms, however good the " +
		"link. Both ends must offer it in the handshake. If the host does (net.ipv4.tcp_window_scaling = 1, the default) " +
		"and connections are without nevertheless, something between removes the option, or the connections were made by " +
		"SYN cookies without timestamps.",
	Needs: NeedsSockets,
	Run:   checkWindowScaling,
}

// unscaledFew is how many connections without scaling may be peers' own oddity.
const unscaledFew = 10

func checkWindowScaling(h *Host) ([]Finding, error) {
	const key = "net.ipv4.tcp_window_scaling"
	on, err := h.SysctlNumber(key)
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	f := Finding{
		Evidence: []string{
			key + ": " + strconv.FormatInt(on, 10),
			fmt.Sprintf("sock_diag: %d of %d connections to other hosts are without it", census.Unscaled, census.Elsewhere),
		},
		Recheck: "sysctl " + key + "; ss -tinOH state established | grep -vc wscale",
	}
	switch {
	case on == 0:
		f.Harm, f.Title = Warning, "window scaling is off: far peers get 64 KiB a round trip"
		f.Cause = "the host does not offer it"
		f.Fix = "sysctl -w " + key + "=1"
		f.Settings = []Setting{{key, "0", "1"}}
	case census.Unscaled >= unscaledFew && census.Unscaled > census.Elsewhere/4:
		f.Harm = Info
		f.Title = fmt.Sprintf("%d of %d connections are without window scaling", census.Unscaled, census.Elsewhere)
		f.Cause = "the host offers it: their peers do not, or something between removes the option, or they began while " +
			"it was off or by SYN cookies"
		f.Fix = "tcpdump -ni any 'tcp[tcpflags] & tcp-syn != 0'"
		f.Better = "see there whose SYN is without wscale"
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}

var fastOpen = Check{
	Name: "fast-open",
	About: "TCP Fast Open (RFC 7413) lets a client that was here before send its request with the SYN, a round trip " +
		"earlier. net.ipv4.tcp_fastopen is a set of bits: 1 for dialling, 2 for accepting, both only for programs that " +
		"ask for it. Its queue is bounded by what the program says, and beyond that clients fall back to the ordinary " +
		"handshake (TCPFastOpenListenOverflow). Some networks drop such SYNs: the kernel then turns dialling with it off " +
		"for an hour (TCPFastOpenBlackhole).",
	Needs: NeedsRates,
	Run:   checkFastOpen,
}

func checkFastOpen(h *Host) ([]Finding, error) {
	const key = "net.ipv4.tcp_fastopen"
	bits, err := h.SysctlNumber(key)
	if err != nil {
		return nil, err
	}
	overflow, err := h.Counter("TcpExt", "TCPFastOpenListenOverflow")
	if err != nil {
		return nil, err
	}
	lost, err := h.Counter("TcpExt", "TCPFastOpenBlackhole")
	if err != nil {
		return nil, err
	}
	f := Finding{
		Harm: Info,
		Evidence: []string{
			fmt.Sprintf("%s: %d", key, bits), "TcpExt TCPFastOpenListenOverflow: " + overflow.String(),
			"TcpExt TCPFastOpenBlackhole: " + lost.String(),
		},
		Recheck: "sysctl " + key + "; nstat -az | grep FastOpen",
	}
	switch {
	case overflow.Over > 0 && overflow.Grown > 0:
		f.Harm, f.Title = Warning, fmt.Sprintf("%d clients did not get Fast Open: its queue is full", overflow.Grown)
		f.Cause = "more requests came with their SYN than the listener wants to have waiting"
		f.Fix = "raise the queue that the program asks for (TCP_FASTOPEN of its listener)"
	case bits&3 == 0:
		f.Title = "TCP Fast Open is off for all programs"
		f.Cause = "somebody has turned it off: programs that ask for it have the ordinary handshake"
		f.Fix = fmt.Sprintf("sysctl -w %s=%d", key, bits|3)
		f.Settings = []Setting{{key, strconv.FormatInt(bits, 10), strconv.FormatInt(bits|3, 10)}}
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}
