package sys

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Condition is how the kernel sees a TCP connection; see TCP_INFO in tcp(7).
type Condition struct {
	// State is the kernel's name for it, such as "ESTABLISHED"; empty for what is no TCP socket.
	State string
	// RTT is the smoothed round-trip time.
	RTT time.Duration
	// Retransmits counts the segments that were sent again since the connection began.
	Retransmits uint32
	// Window is the congestion window, and Unacked what is on its way, both in segments.
	Window, Unacked uint32
	// Receiving and Sending are bytes in the kernel: that came and were not read, and that were not acknowledged or sent.
	Receiving, Sending int64
}

// tcpStates are the names of the states of include/net/tcp_states.h, by their numbers.
var tcpStates = [...]string{
	1: "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
	"LISTEN", "CLOSING", "NEW_SYN_RECV",
}

// ConditionOf asks for the condition of a stream socket, without the queues: see Unread and Unacknowledged. Of what is
// no TCP socket nothing is known. It allocates nothing.
func ConditionOf(fd int) (c Condition) {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 || int(info.State) >= len(tcpStates) {
		return c
	}
	c.State, c.RTT = tcpStates[info.State], time.Duration(info.Rtt)*time.Microsecond
	c.Retransmits, c.Window, c.Unacked = info.Total_retrans, info.Snd_cwnd, info.Unacked
	return c
}

// Unread is how many bytes came on a stream socket and were not read: SIOCINQ of tcp(7). Zero when it cannot be told.
func Unread(fd int) int64 {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return int64(n)
}
