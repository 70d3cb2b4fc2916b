package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const congestionControl = "net.ipv4.tcp_congestion_control"

var loopbackPacing = Check{
	Name: "congestion-loopback",
	About: "BBR paces: it spreads what it sends by timers, one for each connection. On the way to a client that is " +
		"what makes it good; between two programs of one host there is nothing to pace, and it costs twice the processor " +
		"time for large answers. The congestion control is the host's default for loopback as well, unless a program " +
		"chooses another for its sockets (TCP_CONGESTION). Myriad's listeners on loopback do so; their upstreams on the " +
		"same host, and other servers, do not.",
	Run: checkLoopbackPacing,
}

func checkLoopbackPacing(h *Host) ([]Finding, error) {
	control, err := h.Sysctl(congestionControl)
	if err != nil || !strings.HasPrefix(control, "bbr") {
		return nil, err
	}
	return []Finding{{
		Harm:     Info,
		Title:    "connections within this host are paced by " + control,
		Evidence: []string{congestionControl + ": " + control},
		Cause: "the default congestion control holds for loopback too, where pacing costs processor time and brings " +
			"nothing",
		Fix: "sysctl -w " + congestionControl + "=cubic",
		Better: "where clients are far away keep it, and let servers on loopback choose reno (listeners[].congestion: " +
			"auto, the default, does)",
		Recheck: "sysctl " + congestionControl,
	}}, nil
}

var pacingQdisc = Check{
	Name: "congestion-qdisc",
	About: "BBR needs its packets spread over time. With the fq queueing discipline on the card one timer does it for " +
		"all connections; without, TCP sets a timer for each connection, which costs a busy server processor time. " +
		"net.core.default_qdisc says what links get that come up later.",
	Needs: NeedsLinks,
	Run:   checkPacingQdisc,
}

func checkPacingQdisc(h *Host) ([]Finding, error) {
	control, err := h.Sysctl(congestionControl)
	if err != nil || !strings.HasPrefix(control, "bbr") {
		return nil, err
	}
	found, err := h.eachCard(func(link string) ([]Finding, error) {
		disciplines, err := h.network().Qdiscs(link)
		if err != nil || !slices.ContainsFunc(disciplines, func(name string) bool { return name != "fq" }) {
			return nil, err
		}
		return []Finding{{
			Harm:  Info,
			Title: fmt.Sprintf("%s paces without fq on %s", control, link),
			Evidence: []string{
				congestionControl + ": " + control,
				fmt.Sprintf("tc qdisc show dev %s: %s", link, strings.Join(disciplines, ", ")),
			},
			Cause:   "without fq each connection has a pacing timer of its own",
			Fix:     fmt.Sprintf("tc qdisc replace dev %s root fq", link),
			Recheck: "tc qdisc show dev " + link,
		}}, nil
	})
	if len(found) == 0 {
		return nil, err
	}
	// The default is the host's: a network namespace of its own does not show it.
	value, readErr := h.Sysctl("net.core.default_qdisc")
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		return found, errors.Join(err, readErr)
	}
	if readErr == nil && value != "fq" {
		found[0].Fix += "; for links to come: sysctl -w net.core.default_qdisc=fq"
		found[0].Settings = []Setting{{"net.core.default_qdisc", value, "fq"}}
	}
	return found, err
}
