package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var receiveSteering = Check{
	Name: "receive-steering",
	About: "A packet is worked on by the processor that its queue interrupts. A card with fewer queues than the host " +
		"has processors, as virtual ones often are, leaves the rest of them out: one processor is full of softirq while " +
		"others idle. More queues (ethtool -L) are best; else RPS (rps_cpus of each queue) spreads the packets by " +
		"connection in software.",
	Needs: NeedsRates | NeedsLinks,
	Run:   checkReceiveSteering,
}

// A processor that gets this share of so many packets a second is a bottleneck that is near.
const (
	unevenShare   = 80 // percent
	manyPackets   = 20000
	percentsWhole = 100
)

func checkReceiveSteering(h *Host) ([]Finding, error) {
	processors, err := h.processors()
	if err != nil {
		return nil, err
	}
	uneven, load, err := h.unevenLoad()
	if err != nil {
		return nil, err
	}
	return h.eachCard(func(link string) ([]Finding, error) {
		queues, err := h.linkQueues(link, "rx")
		if err != nil || len(queues) >= processors || len(queues) == 0 {
			return nil, err
		}
		masks, steered := []string{}, false
		for _, queue := range queues {
			mask, err := h.linkFile(link, queue+"/rps_cpus")
			if err != nil {
				return nil, err
			}
			steered = steered || !noProcessor(mask)
			masks = append(masks, strings.TrimSpace(mask))
		}
		if steered {
			return nil, nil
		}
		fix := fmt.Sprintf("for q in /sys/class/net/%s/queues/rx-*; do echo %s > $q/rps_cpus; done", link,
			allProcessors(processors))
		if c, err := h.network().Channels(link); err == nil && c.CombinedMost > c.Combined {
			fix = fmt.Sprintf("ethtool -L %s combined %d", link, min(int(c.CombinedMost), processors))
		}
		evidence := []string{
			fmt.Sprintf("/sys/class/net/%s/queues: %d that receive, for %d processors", link, len(queues), processors),
			"rps_cpus: " + strings.Join(masks, " "),
		}
		packets, err := h.deviceCount(link, devicePackets)
		if err != nil {
			return nil, err
		}
		harm := Info
		if packets.Over > 0 {
			evidence = append(evidence, fmt.Sprintf("received: %v; of all links, %s", packets, load))
			if uneven && float64(packets.Grown) >= manyPackets*packets.Over.Seconds() {
				harm = Warning
			}
		}
		return []Finding{{
			Harm:     harm,
			Title:    fmt.Sprintf("packets of %s are received by %d of %d processors", link, len(queues), processors),
			Evidence: evidence,
			Cause:    "the link has fewer queues than there are processors, and none of them is spread by RPS",
			Fix:      fix,
			Recheck:  fmt.Sprintf("grep . /sys/class/net/%s/queues/rx-*/rps_cpus", link),
		}}, nil
	})
}

// unevenLoad tells whether one processor receives nearly all packets, those of loopback among them.
func (h *Host) unevenLoad() (uneven bool, text string, err error) {
	list, over, err := h.softnet()
	if err != nil {
		return false, "", err
	}
	all, most := int64(0), int64(0)
	for _, s := range list {
		all, most = all+s.processed, max(most, s.processed)
	}
	return most*percentsWhole >= all*unevenShare,
		fmt.Sprintf("the busiest processor worked on %d of %d packets %s", most, all, since(over)), nil
}

var flowSteering = Check{
	Name: "flow-steering",
	About: "RPS spreads packets by a hash, so the processor that receives is seldom the one whose thread reads. RFS " +
		"remembers where each connection is read, in a table of net.core.rps_sock_flow_entries, and of rps_flow_cnt for " +
		"each queue. It pays where RPS is on; without RPS it does nothing.",
	Needs: NeedsLinks,
	Run:   checkFlowSteering,
}

// flowEntries is a table for tens of thousands of busy connections; it takes 128 KiB.
const flowEntries = 32768

func checkFlowSteering(h *Host) ([]Finding, error) {
	return h.eachCard(func(link string) ([]Finding, error) {
		queues, err := h.linkQueues(link, "rx")
		if err != nil {
			return nil, err
		}
		steered, flows := false, int64(0)
		for _, queue := range queues {
			mask, err := h.linkFile(link, queue+"/rps_cpus")
			if err != nil {
				return nil, err
			}
			count, err := h.linkFile(link, queue+"/rps_flow_cnt")
			if err != nil {
				return nil, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
			if err != nil {
				return nil, err
			}
			steered, flows = steered || !noProcessor(mask), flows+n
		}
		if !steered {
			return nil, nil
		}
		const name = "net.core.rps_sock_flow_entries"
		entries, err := h.SysctlNumber(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is only to be seen in the host's own network namespace", name)
		}
		if err != nil || entries > 0 && flows > 0 {
			return nil, err
		}
		want := strconv.FormatInt(max(entries, flowEntries), 10)
		return []Finding{{
			Harm:  Info,
			Title: fmt.Sprintf("packets of %s go to any processor, not to the one that reads the connection", link),
			Evidence: []string{
				fmt.Sprintf("%s: %d", name, entries), fmt.Sprintf("rps_flow_cnt of %s's queues: %d in all", link, flows),
			},
			Cause: "RPS is on and RFS is not: it needs both tables",
			Fix: fmt.Sprintf("sysctl -w %s=%s; for q in /sys/class/net/%s/queues/rx-*; do echo %d > $q/rps_flow_cnt; done",
				name, want, link, flowEntries/max(len(queues), 1)),
			Recheck: fmt.Sprintf("sysctl %s; grep . /sys/class/net/%s/queues/rx-*/rps_flow_cnt", name, link),
		}}, nil
	})
}

var sendSteering = Check{
	Name: "send-steering",
	About: "A card with several queues to send is best used so that each processor has its own (XPS, xps_cpus of each " +
		"queue): the lock of the queue and its memory stay with one processor. Drivers of real cards set it up; where all " +
		"masks are empty, connections are spread by hash and processors meet at the queues' locks.",
	Needs: NeedsLinks,
	Run:   checkSendSteering,
}

func checkSendSteering(h *Host) ([]Finding, error) {
	processors, err := h.processors()
	if err != nil {
		return nil, err
	}
	return h.eachCard(func(link string) ([]Finding, error) {
		queues, err := h.linkQueues(link, "tx")
		if err != nil || len(queues) < 2 || processors < 2 {
			return nil, err
		}
		for _, queue := range queues {
			mask, err := h.linkFile(link, queue+"/xps_cpus")
			if err != nil {
				return nil, err
			}
			if !noProcessor(mask) {
				return nil, nil
			}
		}
		var commands []string
		for i := range min(len(queues), processors) {
			commands = append(commands,
				fmt.Sprintf("echo %s > /sys/class/net/%s/queues/tx-%d/xps_cpus", oneProcessor(i), link, i))
		}
		return []Finding{{
			Harm:     Info,
			Title:    fmt.Sprintf("the %d queues of %s that send belong to no processor", len(queues), link),
			Evidence: []string{fmt.Sprintf("/sys/class/net/%s/queues/tx-*/xps_cpus: all empty", link)},
			Cause:    "without XPS a connection's packets go to a queue by hash, and processors meet at the queue's lock",
			Fix:      strings.Join(commands, "; "),
			Recheck:  fmt.Sprintf("grep . /sys/class/net/%s/queues/tx-*/xps_cpus", link),
		}}, nil
	})
}

// oneProcessor is the mask of the processor n.
func oneProcessor(n int) string {
	return strconv.FormatUint(1<<(n%32), 16) + strings.Repeat(",00000000", n/32)
}

var interruptSpread = Check{
	Name: "interrupt-spread",
	About: "A card with several queues interrupts with each of them. If all of these interrupts go to one processor, " +
		"that one does the network's work of the whole host. irqbalance, or a mask for each interrupt, spreads them.",
	Needs: NeedsRates | NeedsLinks,
	Run:   checkInterruptSpread,
}

// busyInterrupts a second are worth spreading.
const busyInterrupts = 1000

func checkInterruptSpread(h *Host) ([]Finding, error) {
	processors, err := h.processors()
	if err != nil {
		return nil, err
	}
	now, err := h.ProcFile("interrupts")
	if err != nil {
		return nil, err
	}
	before, least := "", 1.0 // without a sample any interrupt counts
	if h.sampled() {
		if before, err = h.Earlier("interrupts"); err != nil {
			return nil, err
		}
		least = busyInterrupts * h.Elapsed().Seconds()
	}
	return h.eachCard(func(link string) ([]Finding, error) {
		if processors < 2 {
			return nil, nil
		}
		lines, err := h.interruptsOf(link)
		if err != nil {
			return nil, err
		}
		sums, active := make([]int64, processors), []string{}
		for _, number := range lines {
			counts, earlier := interruptCounts(now, number), interruptCounts(before, number)
			grown := false
			for i := range min(len(counts), processors) {
				n := counts[i]
				if i < len(earlier) {
					n -= earlier[i]
				}
				sums[i] += n
				grown = grown || n > 0
			}
			if grown {
				active = append(active, number)
			}
		}
		all, most := int64(0), slices.Max(sums)
		for _, n := range sums {
			all += n
		}
		// One that interrupts cannot be spread, and two are too often one that receives and one that sends.
		if len(active) <= 2 || float64(all) < least || most*percentsWhole < all*unevenShare {
			return nil, nil
		}
		return []Finding{{
			Harm:  Warning,
			Title: fmt.Sprintf("one processor takes nearly all interrupts of %s", link),
			Evidence: []string{fmt.Sprintf("/proc/interrupts: %d of %d of the %d active interrupts went to processor %d",
				most, all, len(active), slices.Index(sums, most))},
			Cause: "the queues of the card were not spread, so one processor does the receiving of all of them",
			Fix:   "systemctl enable --now irqbalance, or: " + spreadCommands(active, processors),
			Recheck: fmt.Sprintf("grep -E '^ *(%s):' /proc/interrupts; grep . /proc/irq/{%s}/smp_affinity_list",
				strings.Join(active, "|"), strings.Join(active, ",")),
		}}, nil
	})
}

func spreadCommands(lines []string, processors int) string {
	var commands []string
	for i, number := range lines {
		commands = append(commands, fmt.Sprintf("echo %d > /proc/irq/%s/smp_affinity_list", i%processors, number))
	}
	return strings.Join(commands, "; ")
}

// interruptsOf lists the interrupts of a link's device, or, for a virtio card, of what its device sits on. A link
// without a device has none.
func (h *Host) interruptsOf(link string) ([]string, error) {
	for _, under := range []string{"msi_irqs", "../msi_irqs"} {
		// The kernel goes up from the device, not from the link to it: the path stays as it is.
		entries, err := os.ReadDir(filepath.Join(h.links, link) + "/device/" + under)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var lines []string
		for _, entry := range entries {
			lines = append(lines, entry.Name())
		}
		return lines, nil
	}
	return nil, nil
}

// interruptCounts is the line of an interrupt, a number for each processor.
func interruptCounts(text, number string) (counts []int64) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != number {
			continue
		}
		for word := range strings.FieldsSeq(rest) {
			n, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				break
			}
			counts = append(counts, n)
		}
	}
	return counts
}

var clockSource = Check{
	Name: "clock-source",
	About: "Reading the time costs 20 ns from the processor's counter and a microsecond or more from a device (hpet, " +
		"acpi_pm, a xen hypervisor), as it is then a system call as well. A server reads it for each event. The kernel " +
		"leaves the counter when it finds it unstable, which on today's hosts is mostly a virtual machine's setting.",
	Run: checkClockSource,
}

// quickClocks are read without a system call.
var quickClocks = []string{"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"}

func checkClockSource(h *Host) ([]Finding, error) {
	const folder = "devices/system/clocksource/clocksource0/"
	text, err := h.SysFile(folder + "current_clocksource")
	if err != nil {
		return nil, err
	}
	current := strings.TrimSpace(text)
	if slices.Contains(quickClocks, current) {
		return nil, nil
	}
	if text, err = h.SysFile(folder + "available_clocksource"); err != nil {
		return nil, err
	}
	fix := "start the kernel with tsc=reliable, if the processor's counter can be trusted (constant_tsc and nonstop_tsc " +
		"in /proc/cpuinfo)"
	for _, name := range strings.Fields(text) {
		if slices.Contains(quickClocks, name) {
			fix = fmt.Sprintf("echo %s > /sys/%scurrent_clocksource; for good: the kernel's parameter clocksource=%s", name,
				folder, name)
			break
		}
	}
	return []Finding{{
		Harm:     Hurting,
		Title:    "the time is read from " + current + ", which is slow",
		Evidence: []string{"current_clocksource: " + current, "available_clocksource: " + strings.TrimSpace(text)},
		Cause:    "each look at the clock is a system call that asks a device, a microsecond instead of 20 ns",
		Fix:      fix,
		Recheck:  "cat /sys/" + folder + "current_clocksource",
	}}, nil
}
