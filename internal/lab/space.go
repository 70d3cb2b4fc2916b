package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// space is the name of a network namespace, which stands for a host. The empty one is that of the lab itself.
type space string

// runs is a command that runs another one there.
func (n space) runs(command ...string) []string {
	if n == "" {
		return command
	}
	return append([]string{"ip", "netns", "exec", string(n)}, command...)
}

// spacePrefix begins the names of all namespaces of the lab. The number of the process follows.
const spacePrefix = "myriad-lab-"

// newSpace makes a namespace, whose loopback is up. It is removed with dropSpace, and by endAll at the latest.
func (s *Stand) newSpace(ctx context.Context) (space, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("network namespaces need root")
	}
	s.mu.Lock()
	s.made++
	name := space(fmt.Sprintf("%s%d-%d", spacePrefix, os.Getpid(), s.made))
	s.spaces = append(s.spaces, name)
	s.mu.Unlock()
	if err := invoke(ctx, "ip", "netns", "add", string(name)); err != nil {
		return "", err
	}
	return name, invoke(ctx, "ip", "-n", string(name), "link", "set", "lo", "up")
}

// dropSpace removes a namespace; the kernel ends it with the last process inside. A signal to all of the terminal's
// processes also ends the command that removes, so it is tried once more.
func (s *Stand) dropSpace(name space) error {
	s.mu.Lock()
	s.spaces = slices.DeleteFunc(s.spaces, func(n space) bool { return n == name })
	s.mu.Unlock()
	if _, err := os.Stat(filepath.Join(spacesAt, string(name))); err != nil {
		return nil // it was not made
	}
	return removeSpace(name)
}

func removeSpace(name space) (err error) {
	for range 2 {
		if err = invoke(context.Background(), "ip", "netns", "del", string(name)); err == nil {
			return nil
		}
	}
	return err
}

// spacesAt is where ip-netns(8) keeps the names of namespaces.
const spacesAt = "/run/netns"

// sweepSpaces removes the namespaces of labs that were killed.
func sweepSpaces() error {
	list, err := os.ReadDir(spacesAt)
	if err != nil {
		return nil // there has never been one
	}
	var errs []error
	for _, entry := range list {
		rest, ours := strings.CutPrefix(entry.Name(), spacePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		if _, err := os.Stat("/proc/" + owner); ours && owner != "" && errors.Is(err, os.ErrNotExist) {
			errs = append(errs, removeSpace(space(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// invoke runs a command to its end.
func invoke(ctx context.Context, name string, arguments ...string) error {
	if out, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, out)
	}
	return nil
}

// listens tells whether somebody in a process's network namespace listens on a port, by the kernel's list.
func listens(pid int, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	const listening = 0x0A
	found := false
	sockets(pid, func(local, _, state int) { found = found || local == number && state == listening })
	return found
}

// sockets goes through the TCP sockets over IPv4 in a process's network namespace: their ports and states, as in
// /proc/net/tcp.
func sockets(pid int, each func(local, remote, state int)) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		var n [3]int
		whole := true
		for i, field := range []string{f[1], f[2], f[3]} {
			v, err := strconv.ParseInt(field[strings.LastIndexByte(field, ':')+1:], 16, 32)
			n[i], whole = int(v), whole && err == nil
		}
		if whole {
			each(n[0], n[1], n[2])
		}
	}
}

// The hosts around a NAT: users on the left, servers on the right.
const (
	leftHost, leftGate   = "10.201.1.2", "10.201.1.1"
	rightHost, rightGate = "10.201.2.2", "10.201.2.1"
)

// translation is what the box in the middle does: connections get its own address, and what belongs to no connection in
// its table (any longer) is dropped, or reset.
const translation = `table ip lab {
	chain forward { type filter hook forward priority 0; ct state invalid %s; }
	chain leave { type nat hook postrouting priority 100; oifname "right" masquerade; }
}
`

// nat makes two hosts with a NAT between them, which forgets connections after so many silent seconds. Packets of a
// connection that it has forgotten are dropped, or answered with a reset.
func (s *Stand) nat(ctx context.Context, seconds int, silent bool) (users, servers space, err error) {
	var n [3]space
	for i := range n {
		if n[i], err = s.newSpace(ctx); err != nil {
			return "", "", err
		}
	}
	users, box, servers := n[0], n[1], n[2]
	manner := "meta l4proto tcp reject with tcp reset"
	if silent {
		manner = "drop"
	}
	rules := filepath.Join(s.dir, "nat.nft")
	if err := os.WriteFile(rules, fmt.Appendf(nil, translation, manner), 0o600); err != nil {
		return "", "", err
	}
	for _, line := range []string{
		"ip link add name box netns " + string(users) + " type veth peer name left netns " + string(box),
		"ip link add name box netns " + string(servers) + " type veth peer name right netns " + string(box),
		"ip -n " + string(users) + " address add " + leftHost + "/24 dev box",
		"ip -n " + string(servers) + " address add " + rightHost + "/24 dev box",
		"ip -n " + string(box) + " address add " + leftGate + "/24 dev left",
		"ip -n " + string(box) + " address add " + rightGate + "/24 dev right",
		"ip -n " + string(users) + " link set box up",
		"ip -n " + string(servers) + " link set box up",
		"ip -n " + string(box) + " link set left up",
		"ip -n " + string(box) + " link set right up",
		"ip -n " + string(users) + " route add default via " + leftGate,
		strings.Join(box.runs("sysctl", "-q", "-w", "net.ipv4.ip_forward=1"), " "),
		strings.Join(box.runs("nft", "-f", rules), " "), // from here on there is a table of connections
		// A connection that is not known from its beginning is none: by default the kernel takes it into the table again.
		strings.Join(box.runs("sysctl", "-q", "-w", "net.netfilter.nf_conntrack_tcp_loose=0",
			"net.netfilter.nf_conntrack_tcp_timeout_established="+strconv.Itoa(seconds)), " "),
	} {
		words := strings.Fields(line)
		if err := invoke(ctx, words[0], words[1:]...); err != nil {
			return "", "", err
		}
	}
	return users, servers, nil
}
