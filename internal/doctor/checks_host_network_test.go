package doctor

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// ownLink gives the namespace of the test a link that is up, and a /sys that shows it: what is mounted in the child of
// apart is seen there alone.
func ownLink(t *testing.T, queues string) *Host {
	t.Helper()
	shell(t, "set -e; ip link add first "+queues+" type veth peer name second; "+
		"ip link set first up; ip link set second up; mount -t sysfs sysfs /sys")
	// The other end of the pair is a link as well; it is put where links are not judged, into a bridge.
	shell(t, "set -e; ip link add name joint type bridge; ip link set second master joint")
	return This(0)
}

// conntrackEntries makes entries of connection tracking by hand (ctnetlink), each for a flow of UDP of its own.
func conntrackEntries(t *testing.T, count int) {
	t.Helper()
	link, err := sys.OpenNetlink(sys.NetlinkNetfilter)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = link.Close() }()
	for n := range count {
		client, server := binary.BigEndian.AppendUint32(nil, uint32(10<<24+n)), []byte{127, 0, 0, 1}
		body := []byte{ipv4, 0, 0, 0}
		body = sys.AppendAttribute(body, 1|sys.Nested, flow(client, server, 1000, 53))
		body = sys.AppendAttribute(body, 2|sys.Nested, flow(server, client, 53, 1000))
		body = sys.AppendAttribute(body, 7, binary.BigEndian.AppendUint32(nil, 600)) // seconds to live
		body = sys.AppendAttribute(body, 3, binary.BigEndian.AppendUint32(nil, 8))   // confirmed
		err := link.Exchange(sys.NetlinkRequest{
			Kind: conntrackNew, Flags: sys.NetlinkCreate | sys.NetlinkAcknowledge, Body: body,
		}, func([]byte) {})
		if err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
	}
}

// Messages of the kernel's nfnetlink_conntrack.h.
const (
	ipv4            = 2
	conntrackNew    = 1 << 8
	conntrackDelete = 1<<8 | 2
)

// flow is one direction of an entry.
func flow(from, to []byte, fromPort, toPort uint16) []byte {
	addresses := sys.AppendAttribute(sys.AppendAttribute(nil, 1, from), 2, to)
	ports := sys.AppendAttribute(nil, 1, []byte{17}) // UDP
	ports = sys.AppendAttribute(ports, 2, binary.BigEndian.AppendUint16(nil, fromPort))
	ports = sys.AppendAttribute(ports, 3, binary.BigEndian.AppendUint16(nil, toPort))
	return sys.AppendAttribute(sys.AppendAttribute(nil, 1|sys.Nested, addresses), 2|sys.Nested, ports)
}

// needsConntrack skips on a kernel without.
func needsConntrack(t *testing.T) *Host {
	t.Helper()
	h := This(0)
	if _, err := h.SysctlNumber(conntrackMost); err != nil {
		t.Skipf("this kernel tracks no connections: %v", err)
	}
	return h
}

// The table is really filled. Its limit is the host's and is left alone, so the fix is to forget the entries; the fake
// host conntrack-full has the other one.
func TestConntrackTable(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table of some 200,000 entries: not with -short")
	}
	if !apart(t) {
		return
	}
	h := needsConntrack(t)
	most, err := h.SysctlNumber(conntrackMost)
	if err != nil {
		t.Fatal(err)
	}
	if most > 1<<19 {
		t.Skipf("the table is for %d entries: too many to make in a test", most)
	}
	isWell(t, h, conntrackTable)
	conntrackEntries(t, int(most*fullShare/percentsWhole)+1)
	onlyFinding(t, h, conntrackTable, Warning, conntrackMost, "dropped in silence")
	flushConntrack(t)
	isWell(t, h, conntrackTable)
}

// flushConntrack forgets all entries of the namespace.
func flushConntrack(t *testing.T) {
	t.Helper()
	link, err := sys.OpenNetlink(sys.NetlinkNetfilter)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = link.Close() }()
	err = link.Exchange(sys.NetlinkRequest{
		Kind: conntrackDelete, Flags: sys.NetlinkAcknowledge, Body: []byte{ipv4, 0, 0, 0},
	}, func([]byte) {})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConntrackTimeouts(t *testing.T) {
	if !apart(t) {
		return
	}
	h := needsConntrack(t)
	setSysctl(t, conntrackEstablished, "300")
	isWell(t, h, conntrackTimeouts) // nothing is tracked here
	conntrackEntries(t, 1)
	f := onlyFinding(t, h, conntrackTimeouts, Warning, "after 300 s, before keepalive")
	applySettings(t, f)
	isWell(t, h, conntrackTimeouts)
}

func TestConntrackBucketsAreEnough(t *testing.T) {
	if !apart(t) {
		return
	}
	h := needsConntrack(t)
	conntrackEntries(t, 1)
	isWell(t, h, conntrackChains)
}

func TestCongestionOnLoopback(t *testing.T) {
	if !apart(t) {
		return
	}
	needsBBR(t)
	setSysctl(t, congestionControl, "bbr")
	onlyFinding(t, This(0), loopbackPacing, Info, "paced by bbr", "brings nothing")
	setSysctl(t, congestionControl, "reno") // cubic is the host's to allow
	isWell(t, This(0), loopbackPacing)
}

func needsBBR(t *testing.T) {
	t.Helper()
	if known, err := This(0).Sysctl("net.ipv4.tcp_available_congestion_control"); err != nil ||
		!strings.Contains(known, "bbr") {
		t.Skipf("this kernel has no bbr: %q, %v", known, err)
	}
}

// The kernel that this was written on has no fq; the fake host bbr-without-fq has the fix by it.
func TestCongestionQdisc(t *testing.T) {
	if !apart(t) {
		return
	}
	needsBBR(t)
	h := ownLink(t, "")
	setSysctl(t, congestionControl, "bbr")
	onlyFinding(t, h, pacingQdisc, Info, "bbr paces without fq on first")
	setSysctl(t, congestionControl, "reno")
	isWell(t, h, pacingQdisc)
}

func TestReceiveSteering(t *testing.T) {
	if !apart(t) {
		return
	}
	h := ownLink(t, "numrxqueues 1")
	if n, err := h.processors(); err != nil || n < 2 {
		t.Skipf("needs two processors: %d, %v", n, err)
	}
	f := onlyFinding(t, h, receiveSteering, Info, "packets of first are received by 1 of")
	shell(t, f.Fix)
	isWell(t, h, receiveSteering)
	// Where packets are steered, the table of flows is asked for next, which this namespace does not show.
	h.Refresh()
	if findings, err := flowSteering.Run(h); err == nil || !strings.Contains(err.Error(), "own network namespace") {
		t.Errorf("flow steering: %v, %v", findings, err)
	}
}

func TestSendSteering(t *testing.T) {
	if !apart(t) {
		return
	}
	h := ownLink(t, "numtxqueues 2")
	if n, err := h.processors(); err != nil || n < 2 {
		t.Skipf("needs two processors: %d, %v", n, err)
	}
	f := onlyFinding(t, h, sendSteering, Info, "2 queues of first that send belong to no processor")
	shell(t, f.Fix)
	isWell(t, h, sendSteering)
}

// The offloads of software; the fake host gro-off has the one that only cards should have.
func TestCardOffloads(t *testing.T) {
	if !apart(t) {
		return
	}
	h := ownLink(t, "")
	e, err := sys.OpenEthtool()
	if errors.Is(err, syscall.ENOENT) {
		t.Skip("the kernel speaks no ethtool over netlink")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	set := func(on bool) {
		for _, feature := range []string{"tx-generic-segmentation", "tx-tcp-segmentation"} {
			if err := e.SetFeature("first", feature, on); err != nil {
				t.Fatal(feature, err)
			}
		}
	}
	set(true)
	isWell(t, h, cardOffloads)
	set(false)
	onlyFinding(t, h, cardOffloads, Warning, "2 of its offloads", "tx-tcp-segmentation: off",
		"ethtool -K first gso on tso on")
	set(true)
	isWell(t, h, cardOffloads)
}

// A link of software has neither rings nor interrupts to collect: no finding, and no note either.
func TestCardsWithoutHardwareAreWell(t *testing.T) {
	if !apart(t) {
		return
	}
	h := ownLink(t, "")
	isWell(t, h, cardRings)
	isWell(t, h, cardCoalescing)
	isWell(t, h, interruptSpread)
}

// elsewhereProcess is a shell in a network namespace of its own that has run a command line and waits.
func elsewhereProcess(t *testing.T, line string) (pid int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: a network namespace of its own is made with unshare(2)")
	}
	other := exec.Command("unshare", "--net", "--mount", "sh", "-ec", line+"; echo here; read line")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = other.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return other.Process.Pid
}

// A process in another network namespace has other links than those that /sys shows here, also for who has entered it.
func TestLinksOfAnotherNamespaceAreNotJudged(t *testing.T) {
	pid := elsewhereProcess(t, "true")
	if findings, err := cardOffloads.Run(This(pid)); err == nil {
		t.Errorf("judged nevertheless: %v", findings)
	}
	if !apart(t) {
		if _, err := cardOffloads.Run(This(os.Getpid())); err != nil {
			t.Errorf("of this namespace: %v", err)
		}
		return
	}
	h := This(pid)
	if err := h.Enter(); err != nil {
		t.Fatal(err)
	}
	if findings, err := cardOffloads.Run(h); err == nil || !strings.Contains(err.Error(), "another network namespace") {
		t.Errorf("entered, and judged by the /sys of others: %v, %v", findings, err)
	}
}

// A container has a /sys of its own, which shows its links.
func TestLinksOfAContainer(t *testing.T) {
	if !apart(t) {
		return
	}
	pid := elsewhereProcess(t, "mount -t sysfs sysfs /sys; "+
		"ip link add inside numtxqueues 2 type veth peer name outside; ip link set inside up; ip link set outside up; "+
		"ip link add name joint type bridge; ip link set outside master joint")
	h := This(pid)
	if n, err := h.processors(); err != nil || n < 2 {
		t.Skipf("needs two processors: %d, %v", n, err)
	}
	if err := h.Enter(); err != nil {
		t.Fatal(err)
	}
	onlyFinding(t, h, sendSteering, Info, "2 queues of inside that send belong to no processor")
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("after ten seconds: not %s", what)
		case <-again.C:
		}
	}
}
