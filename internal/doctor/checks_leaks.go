package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/myriad-server/myriad/internal/sockets"
)

var closeWait = Check{
	Name: "close-wait",
	About: "In CLOSE_WAIT the peer has closed and the program here has not. The kernel waits for it without end: no " +
		"sysctl closes such a socket, only the program does, by close(2). Keepalive only hides it: once the peer's end " +
		"is gone the socket becomes CLOSE, which no list shows, and its descriptor stays lost. A few for a moment are " +
		"normal. Many, or old ones, are a leak of the process that is named: it does not read (and so never sees the end " +
		"of the stream), it waits for something else while holding the connection, or it has lost the descriptor. Until " +
		"it is mended each takes a descriptor and kernel memory. The age is what TCP_INFO knows at the least: since when " +
		"nothing was heard of the peer.",
	Needs: NeedsSockets,
	Run:   checkCloseWait,
}

// A connection in CLOSE_WAIT that is older than leftLong is forgotten and not slow; leakMany of one process are a leak
// even when they are young, and leakLoss is where it costs what others need.
const (
	leftLong = time.Minute
	leakFew  = 10
	leakMany = 100
	leakLoss = 1000
)

func checkCloseWait(h *Host) ([]Finding, error) {
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	if len(census.Left) == 0 {
		return nil, nil
	}
	owned, hidden, err := h.byOwner(census.Left)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	const most = 5
	weight := func(list []Connection) int { return len(list) }
	for _, p := range largest(owned, most, weight, sockets.Process.String) {
		if f, ok := leak(p, owned[p]); ok {
			findings = append(findings, f)
		}
	}
	if hidden > 0 && len(findings) > 0 {
		err = fmt.Errorf("%d processes do not let this one look at their descriptors: run it as root", hidden)
	}
	return findings, err
}

// leak judges the connections in CLOSE_WAIT of one process.
func leak(p sockets.Process, list []Connection) (Finding, bool) {
	old, unread := 0, 0
	for _, c := range list {
		if c.Quiet >= leftLong {
			old++
		}
		if c.Unread > 1 { // the end of the stream counts as one
			unread++
		}
	}
	harm := Warning
	switch {
	case len(list) >= leakLoss:
		harm = Hurting
	case len(list) >= leakMany || old >= leakFew:
	case old > 0:
		harm = Info
	default:
		return Finding{}, false
	}
	slices.SortFunc(list, func(a, b Connection) int { return cmp.Compare(b.Quiet, a.Quiet) })
	oldest := list[0]
	f := Finding{
		Harm:  harm,
		Title: fmt.Sprintf("%v keeps %d connections in CLOSE_WAIT", p, len(list)),
		Evidence: []string{
			fmt.Sprintf("sock_diag: %d in CLOSE_WAIT, %d of them for a minute or longer; %d with bytes that were not read",
				len(list), old, unread),
			fmt.Sprintf("the oldest: %v from %v, nothing heard for %v at the least", oldest.Local, oldest.Remote,
				oldest.Quiet.Round(time.Millisecond)),
		},
		Cause: "their peers have closed and the process has not: it never reads the end of the stream, or has lost the " +
			"connection without closing it; the kernel keeps them as long as the process lives. A proxy may have passed the " +
			"end on, and wait for its other side, which does not close",
		Fix: fmt.Sprintf("kill -TERM %d", p.PID),
		Better: "mend the program: read until the end of the stream also on connections that wait for something else, " +
			"and close; a new start only frees what it has lost so far. Of a proxy: bound how long a half-closed session " +
			"may be silent, and see who is on its other side",
		Recheck: fmt.Sprintf("ss -tanp state close-wait | grep -c pid=%d,", p.PID),
	}
	if p.PID == 0 {
		f.Title = fmt.Sprintf("%d connections in CLOSE_WAIT that no descriptor leads to", len(list))
		f.Cause = "their peers have closed; they wait in an accept queue, or belong to a process that could not be " +
			"looked at"
		f.Recheck = "ss -tan state close-wait"
		f.Fix = f.Recheck
		f.Better = "the local port tells which listener they belong to: see why nobody accepts there"
	}
	return f, true
}

var endedSockets = Check{
	Name: "ended-sockets",
	About: "A connection that ends by a reset, a timeout or a keepalive without an answer is over for the kernel: it " +
		"is in state CLOSE and in no list of sockets, not in ss either. Its descriptor stays until the program closes " +
		"it. Programs that look at a connection only when they need it collect such descriptors, and run into " +
		"RLIMIT_NOFILE while every tool shows few connections. The check counts the descriptors of one process that are " +
		"TCP sockets and are not listed. Sockets that were made and never connected count as well, and are few in most " +
		"programs.",
	Needs: NeedsProcess | NeedsSockets,
	Run:   checkEndedSockets,
}

func checkEndedSockets(h *Host) ([]Finding, error) {
	if err := h.entered(); err != nil {
		return nil, err
	}
	ended, err := sockets.Ended(h.Proc, h.PID)
	if err != nil || ended < leakFew {
		return nil, err
	}
	f := Finding{
		Harm:  Info,
		Title: fmt.Sprintf("process %d has %d descriptors of connections that are over", h.PID, ended),
		Evidence: []string{
			fmt.Sprintf("/proc/%d/fd and sock_diag: %d descriptors are TCP sockets that the kernel does not list", h.PID, ended),
		},
		Cause:   "their connections ended by a reset or a timeout, and the program has not noticed, or not closed them",
		Fix:     fmt.Sprintf("kill -TERM %d", h.PID),
		Better:  "mend the program: ask for the end of connections that wait (EPOLLRDHUP, or a read), and close them",
		Recheck: fmt.Sprintf("lsof -nP -p %d | grep -c 'protocol: .*TCP'", h.PID),
	}
	switch {
	case ended >= leakLoss:
		f.Harm = Hurting
	case ended >= leakMany:
		f.Harm = Warning
	}
	return []Finding{f}, nil
}

var closing = Check{
	Name: "closing",
	About: "A connection that was closed while bytes were on their way stays with the kernel, without a process: in " +
		"FIN_WAIT1 or LAST_ACK until the peer has acknowledged, in FIN_WAIT2 until the peer closes as well or " +
		"net.ipv4.tcp_fin_timeout (60 s) is over. Each holds its unsent bytes. Many in FIN_WAIT1 or LAST_ACK are peers " +
		"that vanished or do not read; they are given up after net.ipv4.tcp_orphan_retries, 8 tries by default, which " +
		"takes minutes. A server bounds them with a deadline for sending, TCP_USER_TIMEOUT, or a reset (SO_LINGER of " +
		"zero) where nothing is owed.",
	Needs: NeedsSockets,
	Run:   checkClosing,
}

// manyClosing is how many sockets that wait for their end are worth a look, whatever the limit.
const manyClosing = 1000

const orphanLimit = "net.ipv4.tcp_max_orphans"

func checkClosing(h *Host) ([]Finding, error) {
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	first, second := census.States[sockets.FinWait1], census.States[sockets.FinWait2]
	last, both := census.States[sockets.LastAck], census.States[sockets.Closing]
	waiting := first + last + both
	evidence := []string{fmt.Sprintf("sock_diag: %d in FIN_WAIT1, %d in FIN_WAIT2, %d in LAST_ACK, %d in CLOSING",
		first, second, last, both)}
	var findings []Finding
	if waiting >= manyClosing || second >= manyClosing {
		f := Finding{
			Harm:     Warning,
			Title:    fmt.Sprintf("%d closed connections whose peer does not acknowledge", waiting),
			Evidence: evidence,
			Cause: "the peers have vanished, or do not read what was sent before the close; the kernel keeps the bytes " +
				"and tries again",
			Fix:     "sysctl -w net.ipv4.tcp_orphan_retries=3",
			Better:  "give the server a deadline for sending, so that it resets who does not read",
			Recheck: "ss -tanH state fin-wait-1 state last-ack state closing | wc -l",
		}
		if second > waiting {
			f.Title = fmt.Sprintf("%d connections closed here whose peer does not close", second)
			f.Cause = "the peers leak connections (theirs are in CLOSE_WAIT), or have more to send; what no process has any " +
				"more goes after net.ipv4.tcp_fin_timeout"
			f.Fix, f.Better = "sysctl -w net.ipv4.tcp_fin_timeout=15", "find out at the peers who does not close"
			f.Recheck = "ss -tanH state fin-wait-2 | wc -l"
		}
		findings = append(findings, f)
	}
	return findings, nil
}

var orphans = Check{
	Name: "orphans",
	About: "A closed connection with bytes still to be acknowledged belongs to no process any more: it is an orphan. " +
		"Beyond net.ipv4.tcp_max_orphans, or when TCP is short of memory, the kernel resets connections at their close " +
		"instead of ending them in order (TCPAbortOnMemory grows), and their last bytes are lost.",
	Run: checkOrphans,
}

func checkOrphans(h *Host) ([]Finding, error) {
	orphans, err := h.Sockstat("TCP", "orphan")
	if err != nil {
		return nil, err
	}
	most, err := h.SysctlNumber(orphanLimit)
	if err != nil {
		return nil, err
	}
	harm, ok := filling(orphans, most)
	if !ok {
		return nil, nil
	}
	want := max(most*4, 1<<16)
	return []Finding{{
		Harm:  min(harm, Hurting),
		Title: fmt.Sprintf("%d of %d sockets that are closed and not done", orphans, most),
		Evidence: []string{
			fmt.Sprintf("net/sockstat: TCP orphan %d", orphans), fmt.Sprintf("%s: %d", orphanLimit, most),
		},
		Cause: "beyond the limit the kernel resets connections instead of ending them in order: their last bytes are " +
			"lost",
		Fix:      fmt.Sprintf("sysctl -w %s=%d", orphanLimit, want),
		Better:   "give the server a deadline for sending, so that it resets who does not read",
		Recheck:  "grep TCP: /proc/net/sockstat; sysctl " + orphanLimit,
		Settings: []Setting{{orphanLimit, strconv.FormatInt(most, 10), strconv.FormatInt(want, 10)}},
	}}, nil
}
