package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

const (
	defaultBacklog = 1024
	// patience is how long an address in use is tried again: a predecessor that was killed lets go of it only when
	// the kernel has taken its ring down, which takes some 10 ms.
	patience = 50 * time.Millisecond
)

// Socket is an open listening socket. The descriptor's owner closes it; Close is for whoever has no other owner.
type Socket struct {
	// FD is the descriptor: non-blocking, close-on-exec.
	FD int
	// Spec is what it was opened from, with the port that the kernel chose.
	Spec Spec
	// Warning tells what was opened otherwise than asked for, for the operator; mostly empty.
	Warning string

	file fs.FileInfo // of a unix socket's file
}

// Open opens a listening socket.
func Open(s Spec) (*Socket, error) {
	if s.Backlog == 0 {
		s.Backlog = defaultBacklog
	}
	switch s.Network {
	case "tcp", "udp":
		return openInternet(s)
	case "unix", "unixgram":
		return patiently(func() (*Socket, error) { return openUnix(s) })
	}
	return nil, fmt.Errorf("listen on %s: %q is no network: use tcp, udp, unix or unixgram", s, s.Network)
}

// Close closes the descriptor and removes the file of a unix socket.
func (s *Socket) Close() error {
	err := sys.Close(s.FD)
	s.RemoveFile()
	return err
}

// RemoveFile removes the file of a unix socket, if it is still the one that Open made: a successor may have put its own
// in the place. It does nothing for other sockets.
func (s *Socket) RemoveFile() {
	if s.file == nil {
		return
	}
	if now, err := os.Lstat(s.Spec.Name); err == nil && sameFile(now, s.file) {
		_ = os.Remove(s.Spec.Name) // a file that cannot be removed is found stale by the next Open
	}
	s.file = nil
}

// sameFile looks at the time too, because the number of an inode is soon used again.
func sameFile(a, b fs.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }

func openInternet(s Spec) (*Socket, error) {
	fd, err := patiently(func() (int, error) { return bind(s) })
	if s.Address.Addr() == netip.IPv6Unspecified() && !s.V6Only && withoutIPv6(err) {
		s.Address = netip.AddrPortFrom(netip.IPv4Unspecified(), s.Address.Port())
		fd, err = patiently(func() (int, error) { return bind(s) })
	}
	if err != nil {
		return nil, explain(s, err)
	}
	if bound, err := sys.LocalAddress(fd); err == nil {
		s.Address = netip.AddrPortFrom(s.Address.Addr(), bound.Port())
	}
	socket := &Socket{FD: fd, Spec: s}
	if s.Network == "tcp" {
		socket.Warning = backlogWarning(s)
	}
	return socket, nil
}

func withoutIPv6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// patiently tries again for a while when an address is in use.
func patiently[T any](bind func() (T, error)) (T, error) {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause *= 2 {
		bound, err := bind()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return bound, err
		}
		time.Sleep(pause) // the kernel tells nobody when an address becomes free
	}
}

func bind(s Spec) (int, error) {
	kind := sys.Stream
	if s.Network == "udp" {
		kind = sys.Datagram
	}
	raw, family := sys.EncodeAddress(nil, s.Address)
	fd, err := sys.Socket(family, kind, true)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = setOptions(fd, s, family == sys.Inet6, false); err == nil {
		err = os.NewSyscallError("bind", sys.Bind(fd, raw))
	}
	if err == nil && kind == sys.Stream {
		err = os.NewSyscallError("listen", sys.Listen(fd, s.Backlog))
	}
	if err != nil {
		_ = sys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// option is one socket option to set, with the name that an error gives it.
type option struct {
	name string
	set  bool
	sys.Option
}

// setOptions sets the options of a socket, which may be bound already.
func setOptions(fd int, s Spec, six, bound bool) error {
	tcp := s.Network == "tcp"
	internet := !s.unix()
	probing := tcp && s.KeepAlive.On
	everywhere := s.Network == "udp" && s.Address.Addr().IsUnspecified() // what comes is answered from where it came to
	// SO_REUSEADDR is left out for udp, where it lets a second process take the datagrams away.
	for _, o := range []option{
		{"SO_REUSEADDR", tcp && !bound, sys.Option{Level: sys.LevelSocket, Name: sys.ReuseAddress, Value: 1}},
		{
			"SO_REUSEPORT", internet && s.ReusePort && !bound,
			sys.Option{Level: sys.LevelSocket, Name: sys.ReusePort, Value: 1},
		},
		{"SO_SNDBUF", s.SendBuffer > 0, sys.Option{Level: sys.LevelSocket, Name: sys.SendBuffer, Value: s.SendBuffer}},
		{
			"SO_RCVBUF", s.ReceiveBuffer > 0,
			sys.Option{Level: sys.LevelSocket, Name: sys.ReceiveBuffer, Value: s.ReceiveBuffer},
		},
		{"IPV6_V6ONLY", six && !bound, sys.Option{Level: sys.LevelIPv6, Name: sys.V6Only, Value: number(s.V6Only)}},
		{"IP_PKTINFO", everywhere && !six, sys.TellHome4},
		{"IPV6_RECVPKTINFO", everywhere && six, sys.TellHome6},
		{"TCP_NODELAY", tcp && s.NoDelay, sys.Option{Level: sys.LevelTCP, Name: sys.NoDelay, Value: 1}},
		{"SO_KEEPALIVE", probing, sys.Option{Level: sys.LevelSocket, Name: sys.KeepAlive, Value: 1}},
		{"TCP_KEEPIDLE", probing, inSteps(sys.KeepAliveIdle, s.KeepAlive.Idle, time.Second)},
		{"TCP_KEEPINTVL", probing, inSteps(sys.KeepAliveInterval, s.KeepAlive.Interval, time.Second)},
		{"TCP_KEEPCNT", probing, sys.Option{Level: sys.LevelTCP, Name: sys.KeepAliveCount, Value: s.KeepAlive.Count}},
		{"TCP_USER_TIMEOUT", tcp, inSteps(sys.UserTimeout, s.UserTimeout, time.Millisecond)},
		{"TCP_DEFER_ACCEPT", tcp, inSteps(sys.DeferAccept, s.DeferAccept, time.Second)},
		{"TCP_FASTOPEN", tcp, sys.Option{Level: sys.LevelTCP, Name: sys.FastOpen, Value: s.FastOpen}},
	} {
		if !o.set || o.Value == 0 && o.Level == sys.LevelTCP {
			continue
		}
		if err := sys.SetOption(fd, o.Option); err != nil {
			return fmt.Errorf("option %s = %d: %w", o.name, o.Value, err)
		}
	}
	return setCongestion(fd, s)
}

// setCongestion chooses the congestion control, which connections inherit.
func setCongestion(fd int, s Spec) error {
	if s.Network != "tcp" || s.Congestion == "" {
		return nil
	}
	err := sys.SetCongestion(fd, s.Congestion)
	if err == nil {
		return nil
	}
	known, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	return fmt.Errorf("congestion control %q: %v; the kernel has %s", s.Congestion, err, //nolint:errorlint // ENOENT means
		// another thing to whoever explains errors of addresses.
		strings.Join(strings.Fields(string(known)), ", "))
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// inSteps is a duration for a TCP option that counts whole steps; a part of a step counts as one.
func inSteps(name int, d, step time.Duration) sys.Option {
	steps := min((d+step-1)/step, math.MaxInt32)
	return sys.Option{Level: sys.LevelTCP, Name: name, Value: int(steps)}
}

// explain names the address and the mend.
func explain(s Spec, err error) error {
	mend := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		mend = "choose another address, or stop what holds it"
		if who := holders(s); who != "" {
			mend += ": " + who
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		mend = "the machine does not have this address; see \"ip address\""
	case errors.Is(err, syscall.EAFNOSUPPORT):
		mend = "the kernel has no such addresses; use IPv4"
	case errors.Is(err, syscall.EACCES) && !s.unix() && s.Address.Port() < unprivilegedPort():
		mend = fmt.Sprintf("ports below %d need the capability CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep), "+
			"or sysctl -w net.ipv4.ip_unprivileged_port_start=%d", unprivilegedPort(), s.Address.Port())
	case errors.Is(err, syscall.EACCES):
		mend = "the process may not make a file in that folder"
	case errors.Is(err, syscall.ENOENT):
		mend = "the folder does not exist; make it first"
	case errors.Is(err, syscall.EMFILE):
		mend = "raise RLIMIT_NOFILE (ulimit -n)"
	}
	if mend == "" {
		return fmt.Errorf("listen on %s: %w", s, err)
	}
	return fmt.Errorf("listen on %s: %w (%s)", s, err, mend)
}

func unprivilegedPort() uint16 {
	if n, err := readNumber("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		return uint16(n)
	}
	return 1024
}

// backlogWarning tells when the kernel cuts the backlog.
func backlogWarning(s Spec) string {
	most, err := readNumber("/proc/sys/net/core/somaxconn")
	if err != nil || s.Backlog <= most {
		return ""
	}
	return fmt.Sprintf("listen on %s: the backlog of %d is cut to net.core.somaxconn, which is %d "+
		"(sysctl -w net.core.somaxconn=%d)", s, s.Backlog, most, s.Backlog)
}

func readNumber(name string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
