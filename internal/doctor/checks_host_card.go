package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

var cardRings = Check{
	Name: "card-rings",
	About: "A card puts packets into a ring of descriptors, and the kernel takes them out when it is interrupted. A " +
		"ring that is full drops packets before the kernel has seen them (rx_missed_errors, rx_fifo_errors). Drivers " +
		"start with less than the card has; ethtool -G raises it. A larger ring is memory, about 2 KiB a descriptor, and " +
		"under overload it is delay.",
	Needs: NeedsRates | NeedsLinks,
	Run:   checkCardRings,
}

// ringDrops are the counters of packets that found no room in the ring.
var ringDrops = []string{"rx_missed_errors", "rx_fifo_errors"}

func checkCardRings(h *Host) ([]Finding, error) {
	return h.eachCard(func(link string) ([]Finding, error) {
		rings, err := h.network().Rings(link)
		if err != nil {
			return nil, err
		}
		evidence := []string{fmt.Sprintf("ethtool -g %s: receives into %d descriptors of %d", link, rings.Receive,
			rings.ReceiveMost)}
		missed := int64(0)
		for _, name := range ringDrops {
			text, err := h.linkFile(link, "statistics/"+name)
			if err != nil {
				return nil, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil {
				return nil, err
			}
			missed += n
			evidence = append(evidence, fmt.Sprintf("%s: %d since the link came up", name, n))
		}
		now, err := h.linkDrops(link)
		if err != nil {
			return nil, err
		}
		f := Finding{Evidence: evidence, Recheck: "ethtool -g " + link + "; ip -s -s link show " + link}
		switch {
		case missed > 0 && now.Over > 0 && now.Grown > 0:
			f.Harm, f.Evidence = Hurting, append(f.Evidence, "/proc/net/dev, received and dropped: "+now.String())
			f.Title = link + " is dropping packets because its ring is full"
		case missed > 0:
			f.Harm, f.Title = Info, link+" has dropped packets because its ring was full"
		case rings.Receive > 0 && rings.Receive < leastRing && rings.Receive < rings.ReceiveMost:
			f.Harm, f.Title = Info, fmt.Sprintf("%s receives into a ring of %d", link, rings.Receive)
		default:
			return nil, nil
		}
		f.Cause = "packets came faster than the processor that this queue interrupts took them out"
		if missed == 0 {
			f.Cause = "a short burst fills the ring; the driver's default is less than the card has"
		}
		if rings.Receive < rings.ReceiveMost {
			f.Fix = fmt.Sprintf("ethtool -G %s rx %d", link, min(rings.Receive*4, rings.ReceiveMost))
		} else {
			f.Fix = "the ring is as large as the card has: spread receiving over more processors (see receive-steering)"
		}
		return []Finding{f}, nil
	})
}

// leastRing is what holds a burst of a gigabit card for a few milliseconds.
const leastRing = 256

// Columns of receiving in net/dev.
const (
	devicePackets = 1
	deviceDrop    = 3
	deviceFIFO    = 4
)

// linkDrops is the counter of received packets that were dropped of a link.
func (h *Host) linkDrops(link string) (Count, error) {
	return h.deviceCount(link, deviceDrop, deviceFIFO)
}

// deviceCount adds columns of a link in net/dev.
func (h *Host) deviceCount(link string, columns ...int) (Count, error) {
	text, err := h.ProcFile("net/dev")
	if err != nil {
		return Count{}, err
	}
	total, err := deviceColumns(text, link, columns)
	c := Count{Total: total, Grown: total}
	if err != nil || !h.sampled() {
		return c, err
	}
	if text, err = h.Earlier("net/dev"); err != nil {
		return c, err
	}
	c.Over = h.Elapsed()
	if before, err := deviceColumns(text, link, columns); err == nil { // else the link is new
		c.Grown -= before
	}
	return c, nil
}

func deviceColumns(text, link string, columns []int) (sum int64, err error) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		words := strings.Fields(rest)
		if name != link {
			continue
		}
		for _, column := range columns {
			if column >= len(words) {
				return 0, fmt.Errorf("net/dev has too few columns for %s", link)
			}
			n, err := strconv.ParseInt(words[column], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, nil
	}
	return 0, fmt.Errorf("net/dev has no link %s", link)
}

var cardCoalescing = Check{
	Name: "card-coalescing",
	About: "A card that interrupts for each packet costs a processor some microseconds each time; one that waits long " +
		"adds its wait to each answer. Adaptive coalescing is best where the driver has it; else 10 to 50 us (ethtool " +
		"-C). Without it NAPI still collects packets under load, because interrupts stay off while it works.",
	Needs: NeedsLinks,
	Run:   checkCardCoalescing,
}

// longCoalescing in us is more than an answer within a data centre takes.
const longCoalescing = 200

func checkCardCoalescing(h *Host) ([]Finding, error) {
	return h.eachCard(func(link string) ([]Finding, error) {
		c, err := h.network().Coalescing(link)
		if err != nil || c.AdaptiveReceive {
			return nil, err
		}
		f := Finding{
			Harm: Info,
			Evidence: []string{fmt.Sprintf("ethtool -c %s: adaptive-rx off, rx-usecs %d, rx-frames %d", link,
				c.ReceiveMicroseconds, c.ReceiveFrames)},
			Fix: fmt.Sprintf("ethtool -C %s adaptive-rx on; where the driver cannot: ethtool -C %s rx-usecs 20 rx-frames 64",
				link, link),
			Recheck: "ethtool -c " + link,
		}
		switch {
		case c.ReceiveMicroseconds == 0 && c.ReceiveFrames <= 1:
			f.Title = link + " may interrupt for each packet"
			f.Cause = "coalescing is off: the lowest delay, and under many small packets a processor full of interrupts"
		case c.ReceiveMicroseconds > longCoalescing:
			f.Harm = Warning
			f.Title = fmt.Sprintf("%s holds packets back for up to %d us", link, c.ReceiveMicroseconds)
			f.Cause = "the card waits for more packets before it interrupts, and each answer waits with it"
		default:
			return nil, nil
		}
		return []Finding{f}, nil
	})
}

var cardOffloads = Check{
	Name: "card-offloads",
	About: "TCP hands large pieces to the card, which cuts them into packets (TSO; GSO where the kernel does it late), " +
		"and gets packets joined to large pieces (GRO). Without them the whole way through the kernel is walked for each " +
		"packet of 1,500 bytes, which is 2 to 5 times the processor time. They are switched off by hand, by old advice " +
		"about virtual machines, or for capturing packets, and then forgotten.",
	Needs: NeedsLinks,
	Run:   checkCardOffloads,
}

// offloads are what a server should have, with the word for ethtool -K and what it does.
var offloads = []struct {
	feature, word, about string
	hardware             bool // only cards should
}{
	{"rx-gro", "gro", "received packets are not joined", true},
	{"tx-generic-segmentation", "gso", "what is sent is cut early", false},
	{"tx-tcp-segmentation", "tso", "the card does not cut what is sent", false},
	{"tx-scatter-gather", "sg", "what is sent is copied into one piece", false},
}

func checkCardOffloads(h *Host) ([]Finding, error) {
	return h.eachCard(func(link string) ([]Finding, error) {
		features, err := h.network().Features(link)
		if err != nil {
			return nil, err
		}
		var off, words, causes []string
		hardware := h.linkHas(link, "device")
		for _, o := range offloads {
			f, known := features[o.feature]
			if !known || f.Active || f.Fixed {
				continue // what the link cannot do is no advice
			}
			if o.hardware && !hardware {
				continue // on a veth it is off by default: the card has joined the packets already
			}
			off = append(off, o.feature+": off")
			words = append(words, o.word+" on")
			causes = append(causes, o.about)
		}
		if off == nil {
			return nil, nil
		}
		return []Finding{{
			Harm:     Warning,
			Title:    fmt.Sprintf("%s could do %d of its offloads and does not", link, len(off)),
			Evidence: append([]string{"ethtool -k " + link}, off...),
			Cause:    "they were switched off: " + strings.Join(causes, ", "),
			Fix:      fmt.Sprintf("ethtool -K %s %s", link, strings.Join(words, " ")),
			Recheck:  fmt.Sprintf("ethtool -k %s | grep -E 'segmentation|receive-offload|scatter'", link),
		}}, nil
	})
}
