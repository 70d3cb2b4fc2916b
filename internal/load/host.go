package load

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Counters is what the kernel counts of the whole machine, at one moment or between two.
type Counters struct {
	TimeWait        int64 `json:"time_wait"` // sockets, now
	ListenOverflows int64 `json:"listen_overflows"`
	ListenDrops     int64 `json:"listen_drops"`
	Retransmits     int64 `json:"retransmits"`
	Resets          int64 `json:"resets_received"`
	Slab            int64 `json:"slab_bytes"`
	Sockets         int64 `json:"tcp_sockets"`
	// TimeWaitOverflows is sockets that were let go without TIME_WAIT because there were too many in it.
	TimeWaitOverflows int64 `json:"time_wait_overflows"`
}

// field is the number behind a word.
func field(text []byte, word string) int64 {
	_, rest, _ := bytes.Cut(text, []byte(word))
	fields := bytes.Fields(rest[:min(len(rest), 64)])
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n
}

// column is a number of /proc/net/snmp or netstat, where a line of names goes before one of values.
func column(text []byte, table, name string) int64 {
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != table+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if i := slices.Index(names, name); i > 0 && i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			return n
		}
		return 0
	}
	return 0
}

// counters reads them; what cannot be read is zero.
func counters() Counters {
	netstat, _ := os.ReadFile("/proc/net/netstat")
	snmp, _ := os.ReadFile("/proc/net/snmp")
	sockets, _ := os.ReadFile("/proc/net/sockstat")
	memory, _ := os.ReadFile("/proc/meminfo")
	_, tcp, _ := bytes.Cut(sockets, []byte("TCP:"))
	return Counters{
		TimeWait: field(tcp, " tw "), Sockets: field(tcp, " inuse "),
		ListenOverflows: column(netstat, "TcpExt", "ListenOverflows"),
		ListenDrops:     column(netstat, "TcpExt", "ListenDrops"),
		Retransmits:     column(snmp, "Tcp", "RetransSegs"),
		Resets:          column(snmp, "Tcp", "EstabResets"),
		Slab:            field(memory, "Slab:") << 10,

		TimeWaitOverflows: column(netstat, "TcpExt", "TCPTimeWaitOverflow"),
	}
}

// since is what was counted between two moments. What is a state and no count is that of the later one.
func (c Counters) since(before Counters) Counters {
	c.ListenOverflows -= before.ListenOverflows
	c.ListenDrops -= before.ListenDrops
	c.Retransmits -= before.Retransmits
	c.Resets -= before.Resets
	c.TimeWaitOverflows -= before.TimeWaitOverflows
	return c
}

// server is the processes that listen at the target, if they are on this machine.
type server struct {
	pids []int
	why  string // there are none
}

// findServer looks for the sockets that listen at the target, and for whoever holds them.
func findServer(p *Plan) *server {
	if p.PID > 0 {
		return &server{pids: []int{p.PID}}
	}
	inodes := map[uint64]bool{}
	if p.Target.Path != "" {
		for _, inode := range unixListeners(p.Target.Path) {
			inodes[inode] = true
		}
	} else {
		q := sys.SocketQuery{Protocol: sys.ProtocolTCP, States: sys.StateListening, LocalPort: p.Target.Address.Port()}
		if p.Target.Datagrams() {
			q.Protocol, q.States = sys.ProtocolUDP, sys.StateUnconnected
		}
		for _, q.Family = range []int{sys.Inet4, sys.Inet6} {
			_ = sys.Sockets(q, func(e sys.SocketEntry) { // none found is the answer then
				if ip := e.Local.Addr(); ip.IsUnspecified() || ip == p.Target.Address.Addr() {
					inodes[uint64(e.Inode)] = true
				}
			})
		}
	}
	if len(inodes) == 0 {
		return &server{why: "nothing on this machine listens there"}
	}
	s := &server{pids: holders(inodes)}
	if len(s.pids) == 0 {
		s.why = "the process that listens there may not be looked at; say --pid"
	}
	return s
}

// holders are the processes that have one of the sockets open.
func holders(inodes map[uint64]bool) (pids []int) {
	list, _ := os.ReadDir("/proc")
	for _, entry := range list {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		folder := "/proc/" + entry.Name() + "/fd"
		descriptors, _ := os.ReadDir(folder)
		for _, d := range descriptors {
			link, _ := os.Readlink(folder + "/" + d.Name())
			text, ok := strings.CutPrefix(link, "socket:[")
			if !ok {
				continue
			}
			if n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64); err == nil && inodes[n] {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// used is the processor time of the server so far; false if it cannot be told.
func (s *server) used() (total time.Duration, ok bool) {
	for _, pid := range s.pids {
		t, err := sys.ProcessTime(pid)
		if err != nil {
			return 0, false
		}
		total += t
	}
	return total, len(s.pids) > 0
}

// memory is what the server has of its own in memory, RssAnon of /proc/PID/status.
func (s *server) memory() (total int64, ok bool) {
	for _, pid := range s.pids {
		n, err := anonymous(strconv.Itoa(pid))
		if err != nil {
			return 0, false
		}
		total += n
	}
	return total, len(s.pids) > 0
}

func anonymous(pid string) (int64, error) {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	return field(text, "RssAnon:") << 10, err
}

// occupation is how long a thread has had a processor, and how long it could have run but had none.
type occupation struct{ ran, waited time.Duration }

// occupied is that of the calling thread so far (proc(5), schedstat).
func occupied() (o occupation) {
	text, _ := os.ReadFile("/proc/thread-self/schedstat")
	if fields := bytes.Fields(text); len(fields) == 3 {
		ran, _ := strconv.ParseInt(string(fields[0]), 10, 64)
		waited, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		return occupation{time.Duration(ran), time.Duration(waited)}
	}
	o.ran, _ = sys.ThreadTime()
	return o
}

// Census is the connections to the target as they are counted at one moment.
type Census struct {
	Own         int    `json:"own_account"`
	Client      int    `json:"client_end"` // in the kernel's list
	Server      int    `json:"server_end"`
	SameSet     bool   `json:"same_connections"` // the two lists have the same pairs of addresses
	Proven      bool   `json:"proven"`
	Why         string `json:"why_not,omitempty"`
	clientPairs uint64
	serverPairs uint64
}

var pairSeed = maphash.MakeSeed()

// pair is a number of a connection, the same for both ends. Numbers are added up: two lists of the same connections in
// any order have the same sum, and others do not, but for one in 2^64.
func pair(client, server netip.AddrPort) uint64 {
	return maphash.Comparable(pairSeed, [2]netip.AddrPort{client, server})
}

// censusTries is how often a list is asked for that changes while it is read.
const censusTries = 5

// census counts at both ends.
func census(p *Plan, own int) Census {
	c := Census{Own: own}
	if p.Target.Datagrams() {
		c.Why = "datagrams have no connections"
		return c
	}
	for range censusTries {
		c = Census{Own: own}
		if err := c.countAt(&p.Target); err == nil {
			break
		} else if c.Why = err.Error(); !errors.Is(err, sys.ErrSocketsChanged) {
			break
		}
	}
	return c.judge()
}

func (c *Census) countAt(t *Target) error {
	if t.Path != "" {
		return c.countUnix(t.Path)
	}
	err := c.count(t.Address)
	c.SameSet = c.clientPairs == c.serverPairs
	return err
}

func (c *Census) count(target netip.AddrPort) error {
	for _, family := range []int{sys.Inet4, sys.Inet6} {
		q := sys.SocketQuery{
			Family: family, Protocol: sys.ProtocolTCP, States: sys.StateEstablished, RemotePort: target.Port(),
		}
		err := sys.Sockets(q, func(e sys.SocketEntry) {
			if e.Remote == target {
				c.Client++
				c.clientPairs += pair(e.Local, e.Remote)
			}
		})
		if err != nil {
			return err
		}
		q.LocalPort, q.RemotePort = target.Port(), 0
		err = sys.Sockets(q, func(e sys.SocketEntry) {
			if e.Local == target {
				c.Server++
				c.serverPairs += pair(e.Remote, e.Local)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c Census) judge() Census {
	switch {
	case c.Why != "":
	case c.Server == 0 && c.Own > 0:
		c.Why = "the server's end is not on this machine"
	case c.Client != c.Own:
		c.Why = fmt.Sprintf("the kernel lists %d of our ends; others may be connected to the target, too", c.Client)
	case c.Server != c.Own:
		c.Why = fmt.Sprintf("the kernel lists %d ends of the server", c.Server)
	case !c.SameSet:
		c.Why = "the two ends are not those of the same connections"
	default:
		c.Proven = true
	}
	return c
}
