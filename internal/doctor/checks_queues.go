package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

var acceptQueue = Check{
	Name: "accept-queue",
	About: "A connection whose handshake is done waits in the listener's accept queue until the program takes it. The " +
		"queue has room for the backlog that the program asked for in listen(2), cut to net.core.somaxconn, and one " +
		"more. When it is full the kernel drops what comes (ListenOverflows and ListenDrops grow): clients see nothing " +
		"and try again after 1, 3, 7 s, which looks like a slow network; with net.ipv4.tcp_abort_on_overflow they are " +
		"reset. A queue that fills is a program that accepts too slowly or not at all: look at what its threads do " +
		"first, and enlarge the queue for bursts second. Unix sockets have a queue as well, where connect(2) waits or " +
		"fails with EAGAIN.",
	Needs: NeedsSockets | NeedsRates,
	Run:   checkAcceptQueue,
}

const backlogLimit = "net.core.somaxconn"

// A backlogCeiling is what kernels since 5.4 come with, and what is advised: the queue costs nothing while it is empty.
const (
	usualBacklog   = 4096
	backlogCeiling = 65535
)

// queue is an accept queue.
type queue struct {
	name          string
	inode         uint32
	waiting, room int64
	unix          bool
}

func checkAcceptQueue(h *Host) ([]Finding, error) {
	most, err := h.SysctlNumber(backlogLimit)
	if err != nil {
		return nil, err
	}
	queues, err := h.acceptQueues()
	if err != nil {
		return nil, err
	}
	inodes := map[uint32]bool{}
	full := slices.DeleteFunc(queues, func(q queue) bool {
		_, ok := filling(q.waiting, q.room)
		if ok = ok && q.waiting > 0; ok {
			inodes[q.inode] = true
		}
		return !ok
	})
	owners, err := h.owners(inodes)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, q := range full {
		owner, known := owners.Owner(q.inode)
		if known || h.PID == 0 {
			findings = append(findings, h.fullQueue(q, owner, most))
		}
	}
	overflow, err := h.overflow(len(full) > 0, most)
	return append(findings, overflow...), err
}

// acceptQueues are those of all listeners.
func (h *Host) acceptQueues() ([]queue, error) {
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	var queues []queue
	for _, l := range census.Listeners {
		queues = append(queues, queue{
			name: l.Local.String(), inode: l.Inode, waiting: int64(l.ReceiveQueue), room: int64(l.SendQueue) + 1,
		})
	}
	listeners, err := sockets.UnixListeners()
	if err != nil && !errors.Is(err, sys.ErrSocketsChanged) {
		return nil, fmt.Errorf("the Unix sockets cannot be listed: %w", err)
	}
	for _, l := range listeners {
		queues = append(queues, queue{
			name: l.Name, inode: l.Inode, waiting: int64(l.Waiting), room: int64(l.Backlog) + 1, unix: true,
		})
	}
	return queues, nil
}

func (h *Host) fullQueue(q queue, owner sockets.Process, most int64) Finding {
	harm, _ := filling(q.waiting, q.room)
	program := "a process that could not be looked at"
	if owner.PID != 0 {
		program = owner.String()
	}
	f := Finding{
		Harm:  harm,
		Title: fmt.Sprintf("%s accepts too slowly: %d of %d connections wait at %s", program, q.waiting, q.room, q.name),
		Evidence: []string{
			fmt.Sprintf("sock_diag: %s: %d wait, the backlog is %d", q.name, q.waiting, q.room-1),
			fmt.Sprintf("%s: %d", backlogLimit, most),
		},
		Cause:   "the program does not take connections as fast as they come, or not at all",
		Fix:     "raise the backlog that the program asks for (listeners[].backlog), up to " + strconv.FormatInt(most, 10),
		Better:  "find out what keeps it from accepting",
		Recheck: "ss -ltn",
	}
	if q.unix {
		f.Recheck = "ss -lx"
	}
	if state := h.processState(owner.PID); state != "" {
		f.Evidence = append(f.Evidence, fmt.Sprintf("/proc/%d/status: %s", owner.PID, state))
		if strings.Contains(state, "stopped") {
			f.Cause = "the program is stopped: it takes no connections until somebody lets it go on"
			f.Fix, f.Better = fmt.Sprintf("kill -CONT %d", owner.PID), ""
			return f
		}
		f.Better = fmt.Sprintf("find out what keeps it from accepting: cat /proc/%d/task/*/wchan", owner.PID)
	}
	if want := max(most*4, usualBacklog); q.room-1 >= most && most < backlogCeiling {
		want = min(want, backlogCeiling)
		f.Cause += "; its backlog is all that the kernel allows"
		f.Fix = fmt.Sprintf("sysctl -w %s=%d", backlogLimit, want)
		f.Better += "; the limit holds for who listens after it is set: start the program anew"
		f.Settings = []Setting{{backlogLimit, strconv.FormatInt(most, 10), strconv.FormatInt(want, 10)}}
	}
	return f
}

// processState is the line State of a process: "State: T (stopped)".
func (h *Host) processState(pid int) string {
	if pid == 0 {
		return ""
	}
	text, err := h.ProcFile(fmt.Sprintf("%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "State:") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

// overflow judges what was dropped before accept while we looked; explained says that a full queue was found.
func (h *Host) overflow(explained bool, most int64) ([]Finding, error) {
	overflows, err := h.Counter("TcpExt", "ListenOverflows")
	if err != nil {
		return nil, err
	}
	drops, err := h.Counter("TcpExt", "ListenDrops")
	if err != nil {
		return nil, err
	}
	if overflows.Over == 0 || overflows.Grown == 0 {
		return nil, nil
	}
	f := Finding{
		Harm: Outage,
		Title: fmt.Sprintf("%d connections were dropped by full accept queues in %.3g s", overflows.Grown,
			overflows.Over.Seconds()),
		Evidence: []string{
			"TcpExt ListenOverflows: " + overflows.String(), "TcpExt ListenDrops: " + drops.String(),
			fmt.Sprintf("%s: %d", backlogLimit, most),
		},
		Cause:   "a program does not take connections as fast as they come; clients try again after 1, 3, 7 s",
		Fix:     "ss -ltnp",
		Better:  "a program whose Recv-Q comes near its Send-Q there is too slow, or its backlog too small",
		Recheck: "nstat -az TcpExtListenOverflows TcpExtListenDrops",
	}
	if explained {
		f.Fix, f.Better = "mend the full queue that is named beside this", ""
	}
	return []Finding{f}, nil
}

var backlogCeilings = Check{
	Name: "backlog-limit",
	About: "net.core.somaxconn cuts the backlog of every listener, whatever it asks for. Kernels before 5.4 came with " +
		"128, which one burst of clients fills. A program can also ask for too little by itself: 128 or 511 are usual in " +
		"old configurations. With --pid the listeners of that process are looked at.",
	Needs: NeedsSockets,
	Run:   checkBacklogCeilings,
}

// smallBacklog is what a burst fills in one turn of a busy program.
const smallBacklog = 1024

func checkBacklogCeilings(h *Host) ([]Finding, error) {
	most, err := h.SysctlNumber(backlogLimit)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	if most < usualBacklog {
		want := strconv.Itoa(backlogCeiling)
		findings = append(findings, Finding{
			Harm:     Warning,
			Title:    fmt.Sprintf("no listener may have more than %d connections waiting", most),
			Evidence: []string{fmt.Sprintf("%s: %d", backlogLimit, most)},
			Cause:    "the limit is lower than the kernel's own since 5.4, so a burst of clients is dropped before accept",
			Fix:      fmt.Sprintf("sysctl -w %s=%s", backlogLimit, want),
			Better:   "start anew what listens: the limit holds for who listens after it is set",
			Recheck:  "sysctl " + backlogLimit,
			Settings: []Setting{{backlogLimit, strconv.FormatInt(most, 10), want}},
		})
	}
	if h.PID == 0 {
		return findings, nil
	}
	queues, err := h.acceptQueues()
	if err != nil {
		return findings, err
	}
	owners, err := h.owners(nil)
	if err != nil {
		return findings, err
	}
	for _, q := range queues {
		p, own := owners.Owner(q.inode)
		if asked := q.room - 1; !own || asked >= smallBacklog || asked >= most {
			continue
		}
		findings = append(findings, Finding{
			Harm:  Info,
			Title: fmt.Sprintf("%v asked for a backlog of %d at %s", p, q.room-1, q.name),
			Evidence: []string{
				fmt.Sprintf("sock_diag: %s: backlog %d", q.name, q.room-1), fmt.Sprintf("%s: %d", backlogLimit, most),
			},
			Cause:   "the program asked for less than the kernel allows; a burst of more clients is dropped",
			Fix:     fmt.Sprintf("raise it in the configuration of the program, up to %d", most),
			Recheck: "ss -ltnx",
		})
	}
	return findings, nil
}

var synQueue = Check{
	Name: "syn-queue",
	About: "Handshakes that are not finished wait in SYN_RECV, as many as a listener's backlog. Beyond that the " +
		"kernel answers with SYN cookies (net.ipv4.tcp_syncookies = 1), which lose window scaling and other options " +
		"where clients have no timestamps; without cookies it drops (TCPReqQFullDrop), from three quarters of " +
		"net.ipv4.tcp_max_syn_backlog on. Cookies that are sent while nobody attacks mean that a backlog is too small.",
	Needs: NeedsSockets | NeedsRates,
	Run:   checkSynQueue,
}

const (
	synCookies = "net.ipv4.tcp_syncookies"
	synBacklog = "net.ipv4.tcp_max_syn_backlog"
)

func checkSynQueue(h *Host) ([]Finding, error) {
	cookies, err := h.SysctlNumber(synCookies)
	if err != nil {
		return nil, err
	}
	most, err := h.SysctlNumber(synBacklog)
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	dropped, err := h.Counter("TcpExt", "TCPReqQFullDrop")
	if err != nil {
		return nil, err
	}
	sent, err := h.Counter("TcpExt", "TCPReqQFullDoCookies")
	if err != nil {
		return nil, err
	}
	f := Finding{
		Evidence: []string{
			fmt.Sprintf("%s: %d, %s: %d", synCookies, cookies, synBacklog, most),
			fmt.Sprintf("sock_diag: %d in SYN_RECV", census.States[sockets.SynReceived]),
			"TcpExt TCPReqQFullDrop: " + dropped.String(), "TcpExt TCPReqQFullDoCookies: " + sent.String(),
		},
		Fix:     fmt.Sprintf("sysctl -w %s=1 %s=%d", synCookies, synBacklog, max(most, usualBacklog)),
		Recheck: "nstat -az TcpExtTCPReqQFullDrop TcpExtTCPReqQFullDoCookies; ss -tanH state syn-recv | wc -l",
	}
	if cookies == 0 {
		f.Settings = append(f.Settings, Setting{synCookies, "0", "1"})
	}
	if most < usualBacklog {
		f.Settings = append(f.Settings, Setting{synBacklog, strconv.FormatInt(most, 10), strconv.Itoa(usualBacklog)})
	}
	switch {
	case dropped.Over > 0 && dropped.Grown > 0:
		f.Harm, f.Title = Outage, fmt.Sprintf("%d handshakes were dropped", dropped.Grown)
		f.Cause = "more handshakes are open than the queue has room for, and without SYN cookies the kernel drops the rest"
	case cookies == 0:
		f.Harm, f.Title = Warning, "SYN cookies are off: a flood of handshakes shuts everybody out"
		f.Cause = synCookies + " is 0"
	case sent.Over > 0 && sent.Grown > 0:
		f.Harm = Warning
		f.Title = fmt.Sprintf("%d handshakes were answered with SYN cookies: a queue is full", sent.Grown)
		f.Cause = "either somebody floods this host with handshakes, or a listener's backlog is too small for its clients"
		f.Fix = "ss -ltn"
		f.Better = "raise the backlog of the listener, which is its Send-Q there, or filter the flood"
		f.Settings = nil
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}
