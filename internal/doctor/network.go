package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
)

// Network is what only the kernel's Netlink tells about a link; tests answer for cards that a machine has not got.
type Network interface {
	Rings(link string) (sys.Rings, error)
	Channels(link string) (sys.Channels, error)
	Coalescing(link string) (sys.Coalescing, error)
	Features(link string) (map[string]sys.Feature, error)
	// Qdiscs gives what queues the packets of a link: the root, or below an mq its leaves.
	Qdiscs(link string) ([]string, error)
}

// kernelNetwork asks the kernel, each time anew: a conversation is three system calls.
type kernelNetwork struct{}

// ask opens a conversation for one question.
func ask[T any](question func(*sys.Ethtool) (T, error)) (T, error) {
	e, err := sys.OpenEthtool()
	if err != nil {
		var none T
		return none, err
	}
	answer, err := question(e)
	return answer, errors.Join(err, e.Close())
}

func (kernelNetwork) Rings(link string) (sys.Rings, error) {
	return ask(func(e *sys.Ethtool) (sys.Rings, error) { return e.Rings(link) })
}

func (kernelNetwork) Channels(link string) (sys.Channels, error) {
	return ask(func(e *sys.Ethtool) (sys.Channels, error) { return e.Channels(link) })
}

func (kernelNetwork) Coalescing(link string) (sys.Coalescing, error) {
	return ask(func(e *sys.Ethtool) (sys.Coalescing, error) { return e.Coalescing(link) })
}

func (kernelNetwork) Features(link string) (map[string]sys.Feature, error) {
	return ask(func(e *sys.Ethtool) (map[string]sys.Feature, error) { return e.Features(link) })
}

func (kernelNetwork) Qdiscs(link string) ([]string, error) {
	roots, leaves, err := sys.RootQdiscs()
	if err != nil {
		return nil, err
	}
	of, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	if below := leaves[of.Index]; roots[of.Index] == "mq" && len(below) > 0 {
		return below, nil
	}
	return []string{roots[of.Index]}, nil
}

func (h *Host) network() Network {
	if h.Network != nil {
		return h.Network
	}
	return kernelNetwork{}
}

const ethernet = "1" // ARPHRD_ETHER

// cards lists the links whose packets cost this host something: those of its hardware, or, in a network namespace
// that has none, the Ethernet links that lead out of it, without bridges and what is in them. Those that are down are
// left out.
func (h *Host) cards() ([]string, error) {
	if err := h.sameNetwork(); err != nil {
		return nil, err
	}
	root := filepath.Join(h.Sys, "class", "net")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var hardware, others []string
	for _, entry := range entries {
		link := entry.Name()
		kind, err := h.SysFile("class/net/" + link + "/type")
		if err != nil || strings.TrimSpace(kind) != ethernet {
			continue // not a link, or one without packets of its own
		}
		state, _ := h.SysFile("class/net/" + link + "/operstate")
		switch {
		case strings.TrimSpace(state) == "down":
		case exists(filepath.Join(root, link, "device")):
			hardware = append(hardware, link)
		case !exists(filepath.Join(root, link, "bridge")) && !exists(filepath.Join(root, link, "brport")):
			others = append(others, link)
		}
	}
	if hardware != nil {
		return hardware, nil
	}
	return others, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sameNetwork says no if the process that is asked about has a network namespace of its own: /sys and Netlink show
// that of whoever asks.
func (h *Host) sameNetwork() error {
	if h.PID == 0 {
		return nil
	}
	own, err := os.Readlink(filepath.Join(h.Proc, "thread-self", "ns", "net"))
	if err != nil {
		return err
	}
	its, err := os.Readlink(filepath.Join(h.Proc, strconv.Itoa(h.PID), "ns", "net"))
	if err != nil {
		return err
	}
	if own != its {
		return fmt.Errorf("process %d is in another network namespace: run this there, nsenter -t %d -n", h.PID, h.PID)
	}
	return nil
}

// eachCard runs a question for all cards and joins what it answers. A card that has not got what is asked about
// (EOPNOTSUPP) has no findings.
func (h *Host) eachCard(question func(link string) ([]Finding, error)) ([]Finding, error) {
	links, err := h.cards()
	if err != nil {
		return nil, err
	}
	var found []Finding
	var failed []error
	for _, link := range links {
		findings, err := question(link)
		found = append(found, findings...)
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			failed = append(failed, fmt.Errorf("%s: %w", link, err))
		}
	}
	return found, errors.Join(failed...)
}

// linkQueues lists the queues of a link of a direction, "rx" or "tx", by their paths under /sys.
func (h *Host) linkQueues(link, direction string) ([]string, error) {
	under := "class/net/" + link + "/queues"
	entries, err := os.ReadDir(filepath.Join(h.Sys, under))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), direction+"-") {
			found = append(found, under+"/"+entry.Name())
		}
	}
	return found, nil
}

// processors is how many are online.
func (h *Host) processors() (int, error) {
	text, err := h.SysFile("devices/system/cpu/online")
	if err != nil {
		return 0, err
	}
	list, err := parseList(text)
	return len(list), err
}

// parseList reads a list of processors as the kernel writes it: 0-3,8.
func parseList(text string) ([]int, error) {
	var list []int
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			return nil, fmt.Errorf("%q is no list of processors", text)
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				return nil, fmt.Errorf("%q is no list of processors", text)
			}
		}
		for n := first; n <= last; n++ {
			list = append(list, n)
		}
	}
	return list, nil
}

// noProcessor tells whether a mask of processors is empty: 00000000,00000000.
func noProcessor(mask string) bool { return strings.Trim(strings.TrimSpace(mask), "0,") == "" }

// allProcessors is the mask of the first n, as the kernel reads it: words of 32 bits with commas between.
func allProcessors(n int) string {
	var words []string
	for ; n > 0; n -= 32 {
		words = append(words, fmt.Sprintf("%x", uint32(1<<min(n, 32)-1)))
	}
	slices.Reverse(words)
	return strings.Join(words, ",")
}
