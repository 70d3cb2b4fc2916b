package doctor

import (
	"fmt"
	"strconv"

	"github.com/myriad-server/myriad/internal/sockets"
)

var timeWaitBuckets = Check{
	Name: "time-wait",
	About: "Who closes a connection first keeps it in TIME_WAIT for a minute, so that late segments cannot reach the " +
		"next connection of the same ports. It costs the kernel some 250 bytes, and many of them are normal on a server. " +
		"Beyond net.ipv4.tcp_max_tw_buckets the kernel frees such sockets at once (TCPTimeWaitOverflow grows): the " +
		"protection is gone. What hurts is not memory but local ports, which is what local-ports looks at.",
	Needs: NeedsSockets | NeedsRates,
	Run:   checkTimeWait,
}

const timeWaitLimit = "net.ipv4.tcp_max_tw_buckets"

func checkTimeWait(h *Host) ([]Finding, error) {
	most, err := h.SysctlNumber(timeWaitLimit)
	if err != nil {
		return nil, err
	}
	overflow, err := h.Counter("TcpExt", "TCPTimeWaitOverflow")
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	waiting := int64(census.States[sockets.TimeWait])
	harm, ok := filling(waiting, most)
	overflowing := overflow.Over > 0 && overflow.Grown > 0
	if !ok && !overflowing {
		return nil, nil
	}
	if harm = min(harm, Warning); overflowing {
		harm = Warning
	}
	want := max(most*4, 1<<18)
	return []Finding{{
		Harm:  harm,
		Title: fmt.Sprintf("%d of %d sockets in TIME_WAIT that the kernel keeps", waiting, most),
		Evidence: []string{
			fmt.Sprintf("sock_diag: %d in TIME_WAIT", waiting),
			fmt.Sprintf("%s: %d", timeWaitLimit, most),
			"TcpExt TCPTimeWaitOverflow: " + overflow.String(),
		},
		Cause: "this host closes many connections first; those beyond the limit are freed before their minute is over, " +
			"and late segments of old connections can then disturb new ones",
		Fix:      fmt.Sprintf("sysctl -w %s=%d", timeWaitLimit, want),
		Better:   "let the peer close first, or keep connections open longer",
		Recheck:  "ss -s; nstat -az TcpExtTCPTimeWaitOverflow",
		Settings: []Setting{{timeWaitLimit, strconv.FormatInt(most, 10), strconv.FormatInt(want, 10)}},
	}}, nil
}

var timeWaitReuse = Check{
	Name: "time-wait-reuse",
	About: "net.ipv4.tcp_tw_reuse lets a new connection that is dialled take a port in TIME_WAIT to the same " +
		"destination after a second, if both ends have timestamps. 2, the default, allows it within the host; 1 to " +
		"everybody, which is safe for who dials and does nothing for who accepts; 0 never. Without " +
		"net.ipv4.tcp_timestamps it has no effect.",
	Needs: NeedsSockets,
	Run:   checkTimeWaitReuse,
}

// manyWaiting is how many ports in TIME_WAIT a destination must have for their reuse to matter.
const manyWaiting = 1000

func checkTimeWaitReuse(h *Host) ([]Finding, error) {
	reuse, err := h.SysctlNumber("net.ipv4.tcp_tw_reuse")
	if err != nil {
		return nil, err
	}
	stamps, err := h.SysctlNumber("net.ipv4.tcp_timestamps")
	if err != nil {
		return nil, err
	}
	ports, err := h.portRange()
	if err != nil {
		return nil, err
	}
	census, err := h.Census()
	if err != nil {
		return nil, err
	}
	weight := func(d *Dialled) int { return d.Waiting }
	for _, route := range largest(census.Routes, len(census.Routes), weight, Route.String) {
		d := census.Routes[route]
		if d.Waiting < min(manyWaiting, ports.free()/4) {
			return nil, nil
		}
		if reusable(reuse, route.To.Addr()) && stamps != 0 {
			continue
		}
		f := Finding{
			Harm:  Warning,
			Title: fmt.Sprintf("%d local ports to %v wait a minute each before they are used again", d.Waiting, route.To),
			Evidence: []string{
				fmt.Sprintf("sock_diag: %v: %d in TIME_WAIT", route, d.Waiting),
				fmt.Sprintf("net.ipv4.tcp_tw_reuse: %d, net.ipv4.tcp_timestamps: %d", reuse, stamps),
			},
			Cause: "connections are dialled and closed from here, and their ports may not be used again before the minute " +
				"is over",
			Fix:     "sysctl -w net.ipv4.tcp_tw_reuse=1 net.ipv4.tcp_timestamps=1",
			Better:  "keep connections open between requests",
			Recheck: "sysctl net.ipv4.tcp_tw_reuse net.ipv4.tcp_timestamps",
		}
		if reuse != 1 {
			f.Settings = append(f.Settings, Setting{"net.ipv4.tcp_tw_reuse", strconv.FormatInt(reuse, 10), "1"})
		}
		if stamps == 0 {
			f.Settings = append(f.Settings, Setting{"net.ipv4.tcp_timestamps", "0", "1"})
		}
		return []Finding{f}, nil
	}
	return nil, nil
}
