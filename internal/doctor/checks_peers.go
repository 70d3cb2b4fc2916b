package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/myriad-server/myriad/internal/sockets"
)

var keepAlive = Check{
	Name: "keepalive",
	About: "Boxes between two hosts forget connections that are idle: an Azure load balancer after 4 minutes, most " +
		"home routers after 5, AWS's network load balancer after 350 s, NAT gateways of clouds after 350 s to 10 " +
		"minutes, carriers sometimes after 1 or 2. What is sent afterwards is dropped or reset, and a peer that crashed " +
		"is never noticed by an end that only waits. Keepalive probes prevent both, if the program turns them on " +
		"(SO_KEEPALIVE) and the first comes before the box forgets: the kernel's own net.ipv4.tcp_keepalive_time is 2 " +
		"hours. The check counts established connections to other hosts without a probe, and with one that comes too " +
		"late. Myriad has keepalive on by default.",
	Needs: NeedsSockets,
	Run:   checkKeepAlive,
}

// silentMany connections without keepalive are a program's habit.
const silentMany = 100

func checkKeepAlive(h *Host) ([]Finding, error) {
	const key = "net.ipv4.tcp_keepalive_time"
	first, err := h.SysctlNumber(key)
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	if census.Silent+census.Late == 0 {
		return nil, nil
	}
	late := int64(lateProbe / time.Second)
	f := Finding{
		Harm: Info,
		Title: fmt.Sprintf("%d of %d connections to other hosts would not notice a dead peer in time",
			census.Silent+census.Late, census.Elsewhere),
		Evidence: []string{
			fmt.Sprintf("sock_diag: %d have no keepalive; the next probe of %d others comes in more than %v", census.Silent,
				census.Late, lateProbe),
			fmt.Sprintf("%s: %d s", key, first),
		},
		Cause: "boxes on the way forget idle connections after 4 to 10 minutes, without telling either end",
		Fix: fmt.Sprintf("sysctl -w %s=%d net.ipv4.tcp_keepalive_intvl=30 net.ipv4.tcp_keepalive_probes=4", key,
			min(first, late)),
		Better:  "set idle time, interval and count in the program, for its connections alone",
		Recheck: "ss -tanoH state established | grep -vc keepalive",
	}
	if census.Late == 0 {
		f.Fix = "turn keepalive on in the program (SO_KEEPALIVE; keepalive.idle in the configuration of Myriad)"
		f.Better = ""
	}
	if census.Silent+census.Late >= silentMany {
		f.Harm = Warning
	}
	return []Finding{f}, nil
}

var retransmits = Check{
	Name: "retransmits",
	About: "Segments that were sent again, of all that were sent, while the doctor looks. Some in a thousand are the " +
		"Internet; some in a hundred are a link that loses, a queue that overflows (softnet-drops, card-rings), or peers " +
		"that are gone. Each loss costs its connection a round trip, and one at the end of an answer 200 ms or more.",
	Needs: NeedsRates | NeedsSockets,
	Run:   checkRetransmits,
}

// Retransmissions are judged when there were enough to speak of, in parts of a thousand.
const (
	enoughRetransmits = 10
	manyRetransmits   = 10
	badRetransmits    = 50
)

func checkRetransmits(h *Host) ([]Finding, error) {
	again, err := h.Counter("Tcp", "RetransSegs")
	if err != nil {
		return nil, err
	}
	sent, err := h.Counter("Tcp", "OutSegs")
	if err != nil {
		return nil, err
	}
	timeouts, err := h.Counter("TcpExt", "TCPTimeouts")
	if err != nil {
		return nil, err
	}
	share := again.Grown * 1000 / max(sent.Grown, 1)
	if again.Grown < enoughRetransmits || share < manyRetransmits {
		return nil, nil
	}
	f := Finding{
		Harm:  Warning,
		Title: fmt.Sprintf("%d.%d %% of all segments are sent again", share/10, share%10),
		Evidence: []string{
			"Tcp RetransSegs: " + again.String(), "Tcp OutSegs: " + sent.String(), "TcpExt TCPTimeouts: " + timeouts.String(),
		},
		Cause:   "packets are lost on the way, or peers are gone",
		Fix:     "ss -tin state established | grep -B1 retrans",
		Better:  "see there whether they are behind one link, or all are",
		Recheck: "nstat TcpRetransSegs TcpOutSegs",
	}
	if share >= badRetransmits && again.Over > 0 {
		f.Harm = Hurting
	}
	census, err := h.Census()
	if err != nil {
		return []Finding{f}, err
	}
	const most = 3
	count := func(n uint64) int { return int(n) }
	for _, peer := range largest(census.Lossy, most, count, netip.Addr.String) {
		f.Evidence = append(f.Evidence, fmt.Sprintf("sock_diag: %d to %v, on the connections that are open",
			census.Lossy[peer], peer))
	}
	return []Finding{f}, nil
}

var vanishedPeers = Check{
	Name: "vanished-peers",
	About: "A peer that loses its power or its network says nothing. Data to it is sent again, with waits that " +
		"double, and given up after net.ipv4.tcp_retries2 tries: 15, which is 15 minutes or more, in which the " +
		"connection holds its memory and the program believes in it. TCP_USER_TIMEOUT bounds that for one connection. " +
		"The check counts connections whose data was sent again at least four times in a row.",
	Needs: NeedsSockets,
	Run:   checkVanishedPeers,
}

const (
	vanishedFew  = 10
	vanishedMany = 1000
)

func checkVanishedPeers(h *Host) ([]Finding, error) {
	retries, err := h.SysctlNumber("net.ipv4.tcp_retries2")
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil || len(census.Vanished) == 0 {
		return nil, err
	}
	owned, _, err := h.byOwner(census.Vanished)
	if err != nil {
		return nil, err
	}
	var list []Connection
	for _, some := range owned {
		list = append(list, some...)
	}
	if len(list) == 0 {
		return nil, nil
	}
	unsent := int64(0)
	for _, c := range list {
		unsent += int64(c.Unsent)
	}
	worst := slices.MaxFunc(list, func(a, b Connection) int { return cmp.Compare(a.Quiet, b.Quiet) })
	f := Finding{
		Harm:  Info,
		Title: fmt.Sprintf("%d peers have vanished while data was on its way to them", len(list)),
		Evidence: []string{
			fmt.Sprintf("sock_diag: %d connections have sent the same data %d times or more, %s are held for them", len(list),
				vanishedRetries+1, byteSize(unsent)),
			fmt.Sprintf("the longest: %v to %v, nothing heard for %v", worst.Local, worst.Remote,
				worst.Quiet.Round(time.Millisecond)),
			"net.ipv4.tcp_retries2: " + strconv.FormatInt(retries, 10),
		},
		Cause: "the peers, or the way to them, are gone, and no reset has told so; the kernel goes on trying for many " +
			"minutes",
		Fix:     "sysctl -w net.ipv4.tcp_retries2=8",
		Better:  "set TCP_USER_TIMEOUT in the program, which ends such a connection after a time of your choice",
		Recheck: "ss -tano state established | grep -c 'timer:(on,'",
	}
	const most = 2
	weight := func(list []Connection) int { return len(list) }
	for _, p := range largest(owned, most, weight, sockets.Process.String) {
		if p.PID != 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%d of them belong to %v", len(owned[p]), p))
		}
	}
	switch {
	case len(list) >= vanishedMany:
		f.Harm = Hurting
	case len(list) >= vanishedFew:
		f.Harm = Warning
	}
	return []Finding{f}, nil
}

var unansweredDials = Check{
	Name: "unanswered-dials",
	About: "A connection in SYN_SENT whose SYN was sent again waits for somebody who does not answer: the host is " +
		"gone, a firewall drops, or the accept queue there is full. The kernel tries for two minutes " +
		"(net.ipv4.tcp_syn_retries = 6). A program needs a deadline for connecting of its own, a few seconds, and " +
		"another endpoint to go to. The check names the destinations.",
	Needs: NeedsSockets,
	Run:   checkUnansweredDials,
}

const (
	unansweredFew  = 10
	unansweredMany = 100
)

func checkUnansweredDials(h *Host) ([]Finding, error) {
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	perDestination := map[netip.AddrPort]int{}
	for route, d := range census.Routes {
		if d.Unanswered > 0 {
			perDestination[route.To] += d.Unanswered
		}
	}
	full := map[uint16]bool{}
	for _, l := range census.Listeners {
		full[l.Local.Port()] = full[l.Local.Port()] || l.ReceiveQueue > l.SendQueue
	}
	const most = 5
	var findings []Finding
	count := func(n int) int { return n }
	for _, to := range largest(perDestination, most, count, netip.AddrPort.String) {
		n := perDestination[to]
		f := Finding{
			Harm:  Info,
			Title: fmt.Sprintf("%v does not answer %d connections that are dialled", to, n),
			Evidence: []string{
				fmt.Sprintf("sock_diag: %d to %v in SYN_SENT have sent their SYN more than once", n, to),
			},
			Cause:   "the host is gone, or something on the way drops, or its accept queue is full",
			Fix:     fmt.Sprintf("ping -c3 %v; traceroute -T -p %d %v", to.Addr(), to.Port(), to.Addr()),
			Better:  "give the program a deadline for connecting, and another endpoint",
			Recheck: fmt.Sprintf("ss -tanH state syn-sent dst %v dport = %d | wc -l", to.Addr(), to.Port()),
		}
		if full[to.Port()] && to.Addr().IsLoopback() {
			f.Cause = "its listener is on this host, and its accept queue is full: see accept-queue"
			f.Fix = fmt.Sprintf("ss -ltnp sport = %d", to.Port())
		}
		switch {
		case n >= unansweredMany:
			f.Harm = Hurting
		case n >= unansweredFew:
			f.Harm = Warning
		}
		findings = append(findings, f)
	}
	return findings, nil
}
