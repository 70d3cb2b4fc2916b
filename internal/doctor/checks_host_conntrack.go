package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

const (
	conntrackCount       = "net.netfilter.nf_conntrack_count"
	conntrackMost        = "net.netfilter.nf_conntrack_max"
	conntrackBuckets     = "net.netfilter.nf_conntrack_buckets"
	conntrackEstablished = "net.netfilter.nf_conntrack_tcp_timeout_established"
	conntrackStatistics  = "net/stat/nf_conntrack"
)

// conntracked is how many connections are tracked; ok is false on a host that has none, which only a host can say
// whose other numbers can be read.
func (h *Host) conntracked() (n int64, ok bool, err error) {
	n, err = h.SysctlNumber(conntrackCount)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = h.SysctlNumber("net.ipv4.tcp_keepalive_time")
		return 0, false, err
	}
	return n, err == nil, err
}

var conntrackTable = Check{
	Name: "conntrack-table",
	About: "Where a firewall or NAT with state runs, the kernel has an entry for each connection, from its first " +
		"packet to a minute or two after its end. When nf_conntrack_max entries exist, packets of new connections are " +
		"dropped without a word to either side but \"table full, dropping packet\" in the kernel's log. An entry takes " +
		"about 320 bytes. A proxy needs two for each of its clients. Raise the number, or take the server's ports out of " +
		"tracking (notrack).",
	Needs: NeedsRates,
	Run:   checkConntrackTable,
}

func checkConntrackTable(h *Host) ([]Finding, error) {
	count, ok, err := h.conntracked()
	if !ok {
		return nil, err
	}
	most, err := h.SysctlNumber(conntrackMost)
	if err != nil {
		return nil, err
	}
	dropped, err := h.conntrackDrops()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // some kernels are built without these counters
		return nil, err
	}
	harm, full := filling(count, most)
	if dropped.Grown > 0 && dropped.Over > 0 {
		harm, full = Outage, true
	}
	if !full {
		return nil, nil
	}
	want := strconv.FormatInt(most*4, 10)
	return []Finding{{
		Harm:  harm,
		Title: fmt.Sprintf("connection tracking holds %d of %d entries", count, most),
		Evidence: []string{
			fmt.Sprintf("%s: %d", conntrackCount, count),
			fmt.Sprintf("%s: %d", conntrackMost, most),
			fmt.Sprintf("/proc/%s, drop: %s", conntrackStatistics, dropped),
		},
		Cause: "a firewall with state tracks each connection; once the table is full the packets of new connections " +
			"are dropped in silence, and clients see timeouts",
		Fix:      "sysctl -w " + conntrackMost + "=" + want,
		Recheck:  "sysctl " + conntrackCount + " " + conntrackMost,
		Settings: []Setting{{conntrackMost, strconv.FormatInt(most, 10), want}},
	}}, nil
}

// conntrackDrops adds up what all processors dropped.
func (h *Host) conntrackDrops() (Count, error) {
	text, err := h.ProcFile(conntrackStatistics)
	if err != nil {
		return Count{}, err
	}
	c := Count{Total: conntrackColumn(text, "drop") + conntrackColumn(text, "early_drop")}
	c.Grown = c.Total
	if h.sampled() {
		before, err := h.Earlier(conntrackStatistics)
		if err != nil {
			return Count{}, err
		}
		c.Over = h.Elapsed()
		c.Grown -= conntrackColumn(before, "drop") + conntrackColumn(before, "early_drop")
	}
	return c, nil
}

// conntrackColumn sums a column of hexadecimal numbers under its name, a line for each processor.
func conntrackColumn(text, name string) (sum int64) {
	at := -1
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if at < 0 {
			for i, word := range words {
				if word == name {
					at = i
				}
			}
			if at < 0 {
				return 0
			}
			continue
		}
		if at < len(words) {
			n, _ := strconv.ParseInt(words[at], 16, 64)
			sum += n
		}
	}
	return sum
}

var conntrackChains = Check{
	Name: "conntrack-buckets",
	About: "Entries of connection tracking hang in nf_conntrack_buckets chains, and each packet walks one of them. " +
		"Beyond a few entries in each chain every packet pays. The kernel chooses the number by memory when it starts, " +
		"and nobody raises it when they raise nf_conntrack_max.",
	Run: checkConntrackChains,
}

// longChain is how many entries a chain may have before packets pay noticeably.
const longChain = 4

func checkConntrackChains(h *Host) ([]Finding, error) {
	count, ok, err := h.conntracked()
	if !ok {
		return nil, err
	}
	buckets, err := h.SysctlNumber(conntrackBuckets)
	if err != nil {
		return nil, err
	}
	if buckets <= 0 || count <= buckets*longChain {
		return nil, nil
	}
	want := strconv.FormatInt(roundUp(count), 10)
	return []Finding{{
		Harm:  Warning,
		Title: fmt.Sprintf("connection tracking has %d entries in each chain", count/buckets),
		Evidence: []string{
			fmt.Sprintf("%s: %d", conntrackCount, count), fmt.Sprintf("%s: %d", conntrackBuckets, buckets),
		},
		Cause:    "the hash table is small for what is in it, so each packet is compared with many entries",
		Fix:      "sysctl -w " + conntrackBuckets + "=" + want,
		Recheck:  "sysctl " + conntrackCount + " " + conntrackBuckets,
		Settings: []Setting{{conntrackBuckets, strconv.FormatInt(buckets, 10), want}},
	}}, nil
}

// roundUp gives the power of two from n on.
func roundUp(n int64) int64 {
	power := int64(1)
	for power < n {
		power <<= 1
	}
	return power
}

var conntrackTimeouts = Check{
	Name: "conntrack-timeouts",
	About: "Connection tracking forgets an established connection that is silent for " +
		"nf_conntrack_tcp_timeout_established. Too short, and idle connections die without either end hearing of it: the " +
		"timeout must be longer than the interval of keepalive probes (net.ipv4.tcp_keepalive_time, where a program does " +
		"not set its own). Too long, 5 days by default, and connections whose other end has vanished fill the table.",
	Run: checkConntrackTimeouts,
}

// forgetAfter is the timeout to set: longer than the two hours of keepalive by default, and far from days.
const forgetAfter = 3 * time.Hour

func checkConntrackTimeouts(h *Host) ([]Finding, error) {
	count, ok, err := h.conntracked()
	if !ok || count == 0 {
		return nil, err // nothing is tracked in this namespace
	}
	var seconds [3]int64
	for i, name := range []string{conntrackEstablished, "net.ipv4.tcp_keepalive_time", conntrackMost} {
		if seconds[i], err = h.SysctlNumber(name); err != nil {
			return nil, err
		}
	}
	timeout, keepalive, most := seconds[0], seconds[1], seconds[2]
	f := Finding{
		Evidence: []string{
			fmt.Sprintf("%s: %d", conntrackEstablished, timeout),
			fmt.Sprintf("net.ipv4.tcp_keepalive_time: %d", keepalive),
			fmt.Sprintf("%s: %d of %d", conntrackCount, count, most),
		},
		Recheck: "sysctl " + conntrackEstablished + " net.ipv4.tcp_keepalive_time",
	}
	want := max(int64(forgetAfter.Seconds()), keepalive+keepalive/2)
	switch {
	case timeout <= keepalive:
		f.Harm = Warning
		f.Title = fmt.Sprintf("connection tracking forgets idle connections after %d s, before keepalive probes them",
			timeout)
		f.Cause = "after that silence the firewall drops the connection's packets, and both ends wait for ever"
		f.Settings = []Setting{{conntrackEstablished, strconv.FormatInt(timeout, 10), strconv.FormatInt(want, 10)}}
	case timeout > int64((24*time.Hour).Seconds()) && count > most/2:
		f.Harm = Warning
		f.Title = fmt.Sprintf("connection tracking keeps dead connections for %d hours, and is half full", timeout/3600)
		f.Cause = "a connection whose other end vanished stays in the table until the timeout, by default 5 days"
		// No setting: it is lowered by hand, because what is applied by the program only ever goes up.
	default:
		return nil, nil
	}
	f.Fix = fmt.Sprintf("sysctl -w %s=%d", conntrackEstablished, want)
	return []Finding{f}, nil
}
