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
	root, err := h.linkRoot()
	if err != nil {
		return nil, err
	}
	h.links = root
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var hardware, others []string
	for _, entry := range entries {
		link := entry.Name()
		kind, err := h.linkFile(link, "type")
		if err != nil || strings.TrimSpace(kind) != ethernet {
			continue // not a link, or one without packets of its own
		}
		state, _ := h.linkFile(link, "operstate")
		switch {
		case strings.TrimSpace(state) == "down":
		case h.linkHas(link, "device"):
			hardware = append(hardware, link)
		case !h.linkHas(link, "bridge") && !h.linkHas(link, "brport"):
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

// linkFile is the text of a file of a link; cards must have been called.
func (h *Host) linkFile(link, name string) (string, error) {
	return h.read(filepath.Join(h.links, link, name))
}

func (h *Host) linkHas(link, name string) bool { return exists(filepath.Join(h.links, link, name)) }

// linkRoot is the folder of links of the network namespace that is asked about. A /sys shows that of whoever mounted
// it, so the one here does for the processes here, and a container's own for those in it.
func (h *Host) linkRoot() (string, error) {
	here := filepath.Join(h.Sys, "class", "net")
	if h.Network != nil {
		return here, nil
	}
	if err := h.entered(); err != nil {
		return "", err
	}
	links, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	roots := []string{here}
	if h.PID != 0 {
		roots = append(roots, filepath.Join(h.Proc, strconv.Itoa(h.PID), "root", "sys", "class", "net"))
	}
	for _, root := range roots {
		if shows(root, links) {
			return root, nil
		}
	}
	return "", fmt.Errorf("%s shows the links of another network namespace", h.Sys)
}

// shows tells whether a folder of links is that of these, and of no others. Numbers and names alone may be the same in
// another namespace.
func shows(root string, links []net.Interface) bool {
	entries, err := os.ReadDir(root)
	if err != nil {
		return false
	}
	others := 0
	for _, entry := range entries {
		if !exists(filepath.Join(root, entry.Name(), "ifindex")) {
			others++ // bonding_masters is no link
		}
	}
	if len(entries)-others != len(links) {
		return false
	}
	for _, link := range links {
		number, err := os.ReadFile(filepath.Join(root, link.Name, "ifindex"))
		if err != nil || strings.TrimSpace(string(number)) != strconv.Itoa(link.Index) {
			return false
		}
		address, err := os.ReadFile(filepath.Join(root, link.Name, "address"))
		if err != nil || link.HardwareAddr != nil && strings.TrimSpace(string(address)) != link.HardwareAddr.String() {
			return false
		}
	}
	return true
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

// linkQueues lists the queues of a link of a direction, "rx" or "tx", as folders of the link.
func (h *Host) linkQueues(link, direction string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(h.links, link, "queues"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), direction+"-") {
			found = append(found, "queues/"+entry.Name())
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
