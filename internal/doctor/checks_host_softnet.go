package doctor

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// softnet is what one processor has done with packets, a line of /proc/net/softnet_stat.
type softnet struct{ processed, dropped, squeezed int64 }

func parseSoftnet(text string) (list []softnet, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 {
			return nil, fmt.Errorf("net/softnet_stat has a line %q", strings.TrimSpace(line))
		}
		var s softnet
		for i, to := range []*int64{&s.processed, &s.dropped, &s.squeezed} {
			if *to, err = strconv.ParseInt(words[i], 16, 64); err != nil {
				return nil, err
			}
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("net/softnet_stat is empty")
	}
	return list, nil
}

// softnet gives what each processor has done since the sample, or since the start without one, when over is 0.
func (h *Host) softnet() (list []softnet, over time.Duration, err error) {
	text, err := h.ProcFile("net/softnet_stat")
	if err != nil {
		return nil, 0, err
	}
	if list, err = parseSoftnet(text); err != nil || !h.sampled() {
		return list, 0, err
	}
	if text, err = h.Earlier("net/softnet_stat"); err != nil {
		return nil, 0, err
	}
	before, err := parseSoftnet(text)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		if i < len(before) {
			list[i].processed -= before[i].processed
			list[i].dropped -= before[i].dropped
			list[i].squeezed -= before[i].squeezed
		}
	}
	return list, h.Elapsed(), nil
}

// since says what a softnet counter is over.
func since(over time.Duration) string {
	if over == 0 {
		return "since the start of the host"
	}
	return fmt.Sprintf("in %.3g s", over.Seconds())
}

var softnetDrops = Check{
	Name: "softnet-drops",
	About: "Packets that one processor hands to another (RPS), and those of loopback, wait in a queue for each " +
		"processor, of net.core.netdev_max_backlog packets. Beyond that they are dropped, second column of " +
		"/proc/net/softnet_stat, and TCP sends them again after at least 200 ms.",
	Needs: NeedsRates,
	Run:   checkSoftnetDrops,
}

func checkSoftnetDrops(h *Host) ([]Finding, error) {
	list, over, err := h.softnet()
	if err != nil {
		return nil, err
	}
	f := Finding{
		Harm:    Hurting,
		Cause:   "the processor's queue of packets was full: a burst longer than net.core.netdev_max_backlog",
		Recheck: "cat /proc/net/softnet_stat   # second column",
	}
	if over == 0 {
		f.Harm = Info // some time, not now
	}
	dropped := int64(0)
	for i, s := range list {
		if s.dropped > 0 {
			dropped += s.dropped
			f.Evidence = append(f.Evidence, fmt.Sprintf("processor %d: %d of %d packets dropped %s", i, s.dropped,
				s.processed+s.dropped, since(over)))
		}
	}
	if dropped == 0 {
		return nil, nil
	}
	f.Title = fmt.Sprintf("%d packets dropped before TCP saw them, %s", dropped, since(over))
	have, err := h.SysctlNumber("net.core.netdev_max_backlog")
	if err != nil {
		return []Finding{f}, err
	}
	want := strconv.FormatInt(max(have*4, 4096), 10)
	f.Fix = "sysctl -w net.core.netdev_max_backlog=" + want
	f.Settings = []Setting{{"net.core.netdev_max_backlog", strconv.FormatInt(have, 10), want}}
	return []Finding{f}, nil
}

var packetBacklog = Check{
	Name: "packet-backlog",
	About: "net.core.netdev_max_backlog, 1,000 packets by default, is what a processor queues between a card or " +
		"loopback and TCP. A host that gets bursts from thousands of connections wants some thousands; it takes no memory " +
		"until it is used.",
	Run: checkPacketBacklog,
}

// leastBacklog is the kernel's default: a host below it was set so by somebody.
const leastBacklog = 1000

func checkPacketBacklog(h *Host) ([]Finding, error) {
	have, err := h.SysctlNumber("net.core.netdev_max_backlog")
	if err != nil || have >= leastBacklog {
		return nil, err
	}
	return []Finding{{
		Harm:     Warning,
		Title:    fmt.Sprintf("a processor queues no more than %d packets", have),
		Evidence: []string{fmt.Sprintf("net.core.netdev_max_backlog: %d", have)},
		Cause:    "it is below the kernel's default, so that bursts are dropped",
		Fix:      "sysctl -w net.core.netdev_max_backlog=4096",
		Recheck:  "sysctl net.core.netdev_max_backlog",
		Settings: []Setting{{"net.core.netdev_max_backlog", strconv.FormatInt(have, 10), "4096"}},
	}}, nil
}

var softnetSqueezes = Check{
	Name: "softnet-squeezes",
	About: "One round of receiving (NAPI) takes at most net.core.netdev_budget packets and netdev_budget_usecs. A " +
		"round that ends with packets left is a squeeze, third column of /proc/net/softnet_stat: the rest waits for the " +
		"next round, behind other work. Some are normal; many each second are latency under load, and a sign that too few " +
		"processors receive (see receive-steering).",
	Needs: NeedsRates,
	Run:   checkSoftnetSqueezes,
}

// manySqueezes a second and processor are more than chance.
const manySqueezes = 10

func checkSoftnetSqueezes(h *Host) ([]Finding, error) {
	list, over, err := h.softnet()
	if err != nil || over == 0 {
		return nil, err // since the start of the host they have no rate
	}
	f := Finding{
		Harm:    Warning,
		Title:   "receiving runs out of its budget with packets left",
		Cause:   "a round of receiving may take so many packets and so long; what is left waits behind other work",
		Recheck: "cat /proc/net/softnet_stat   # third column, twice",
	}
	for i, s := range list {
		if float64(s.squeezed) >= manySqueezes*over.Seconds() {
			f.Evidence = append(f.Evidence, fmt.Sprintf("processor %d: %d squeezes, %d packets %s", i, s.squeezed,
				s.processed, since(over)))
		}
	}
	if f.Evidence == nil {
		return nil, nil
	}
	var commands []string
	for _, name := range []string{"net.core.netdev_budget", "net.core.netdev_budget_usecs"} {
		have, err := h.SysctlNumber(name)
		if err != nil {
			return []Finding{f}, err
		}
		want := strconv.FormatInt(have*2, 10)
		commands = append(commands, name+"="+want)
		f.Settings = append(f.Settings, Setting{name, strconv.FormatInt(have, 10), want})
	}
	f.Fix = "sysctl -w " + strings.Join(commands, " ")
	return []Finding{f}, nil
}
