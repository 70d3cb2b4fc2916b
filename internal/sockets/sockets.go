// Package sockets lists the sockets of the host: TCP over IPv4 and IPv6 in every state, TIME_WAIT included, with
// queues, owner and what the kernel knows of the connection (sock_diag(7)), and the queues of Unix sockets.
//
// A list is a callback, not a slice: a million sockets take no million allocations. What the kernel can leave out, by
// state or port, it leaves out. The list is that of the network namespace of the calling thread. Which process has a
// socket is not in the kernel's list; it takes a walk through /proc/PID/fd, so it is a question of its own (Owners). A
// direct descriptor of an io_uring is in no such folder, and neither is what was closed by its owner.
package sockets

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Query says which sockets List visits.
type Query struct {
	// States to visit; none is all of them.
	States States
	// LocalPort and RemotePort, 0 for any.
	LocalPort, RemotePort uint16
	// Information asks for TCP_INFO and Memory for the bytes in buffers; each costs the kernel some 100 ns a socket.
	Information, Memory bool
}

// Socket is a TCP socket as the kernel lists it. It is lent to the visitor; a copy may be kept.
type Socket struct {
	// Local and Remote are its addresses; an IPv4-mapped one is told as IPv4.
	Local, Remote netip.AddrPort
	State         State
	// ReceiveQueue is how many bytes were received and not read; of a listener, how many connections wait for accept.
	ReceiveQueue uint32
	// SendQueue is how many bytes were written and not acknowledged; of a listener, how many connections may wait.
	SendQueue uint32
	// Inode is how /proc/PID/fd names it; 0 if no process has it: TIME_WAIT, what was closed with bytes left, and what
	// was not accepted yet.
	Inode uint32
	// UID is the user that made it.
	UID uint32
	// Timer is what the kernel waits for, and Expires how long still.
	Timer   Timer
	Expires time.Duration
	// Retries is how often the timer has been run down in vain.
	Retries uint8
	// Information is TCP_INFO, if asked for and if the state has it: Known says so.
	Information Information
	// Memory is what its buffers hold, if asked for.
	Memory Memory
}

// Timer is what the kernel waits for on a socket.
type Timer uint8

const (
	NoTimer         Timer = iota // nothing
	RetransmitTimer              // an acknowledgement of what was sent
	KeepAliveTimer               // the next probe of an idle connection, or the end of FIN_WAIT2
	TimeWaitTimer                // the end of TIME_WAIT
	ProbeTimer                   // a window to send into
)

// Information is the part of TCP_INFO that tells how a connection fares; see tcp(7).
type Information struct {
	Known bool
	// WindowScaling tells whether both ends agreed to it: without, 64 KiB are on their way at most.
	WindowScaling bool
	// RTT is the smoothed round trip, RTO how long an acknowledgement is waited for.
	RTT, RTO time.Duration
	// Backoff is how often that wait was doubled.
	Backoff uint8
	// Window is the congestion window in segments, Unacknowledged how many of them are on their way.
	Window, Unacknowledged uint32
	// Lost and Retransmitted are segments now, Retransmissions all there were.
	Lost, Retransmitted, Retransmissions uint32
	// SegmentsOut and DataSegmentsOut are all there were.
	SegmentsOut, DataSegmentsOut uint32
	// LastSent, LastReceived and LastHeard are how long ago data was sent, data came, and any acknowledgement came.
	LastSent, LastReceived, LastHeard time.Duration
	// BytesSent counts acknowledged bytes, BytesReceived those that came.
	BytesSent, BytesReceived uint64
}

// Memory is what the buffers of a socket hold, in bytes, and how far they may grow.
type Memory struct {
	Receive, ReceiveLimit, Send, SendLimit, Reserved uint32
	// Drops counts packets that found no room.
	Drops uint32
}

const (
	requestSize = 56 // struct inet_diag_req_v2
	messageSize = 72 // struct inet_diag_msg

	extensionInformation = 2 // INET_DIAG_INFO
	extensionMemory      = 7 // INET_DIAG_SKMEMINFO
)

// List calls visit with each TCP socket that the query asks for. sys.ErrSocketsChanged is as in sys.Diagnose: all were
// visited, and some of those that came or went meanwhile may be missing.
func List(q Query, visit func(*Socket)) error {
	if q.States == 0 {
		q.States = All
	}
	var changed error
	for _, family := range []int{sys.Inet4, sys.Inet6} {
		var s Socket
		whole := true
		err := sys.Diagnose(q.request(family), func(message []byte) {
			if !s.read(message) {
				whole = false
				return
			}
			visit(&s)
		})
		switch {
		case errors.Is(err, sys.ErrSocketsChanged):
			changed = err
		case err == syscall.ENOENT && family == sys.Inet6:
			// A kernel without IPv6 has no such sockets.
		case err != nil:
			return err
		case !whole:
			return syscall.EBADMSG
		}
	}
	return changed
}

func (q *Query) request(family int) []byte {
	request := make([]byte, requestSize)
	request[0], request[1] = byte(family), sys.ProtocolTCP
	if q.Information {
		request[2] |= 1 << (extensionInformation - 1)
	}
	if q.Memory {
		request[2] |= 1 << (extensionMemory - 1)
	}
	binary.NativeEndian.PutUint32(request[4:], uint32(q.States))
	binary.BigEndian.PutUint16(request[8:], q.LocalPort)
	binary.BigEndian.PutUint16(request[10:], q.RemotePort)
	return request
}

// read decodes a message; false if it is too short.
func (s *Socket) read(m []byte) bool {
	if len(m) < messageSize {
		return false
	}
	number := binary.NativeEndian.Uint32
	*s = Socket{
		State: State(m[1]), Timer: Timer(m[2]), Retries: m[3],
		Local:        netip.AddrPortFrom(address(m[0], m[8:]), binary.BigEndian.Uint16(m[4:])),
		Remote:       netip.AddrPortFrom(address(m[0], m[24:]), binary.BigEndian.Uint16(m[6:])),
		Expires:      time.Duration(number(m[52:])) * time.Millisecond,
		ReceiveQueue: number(m[56:]), SendQueue: number(m[60:]), UID: number(m[64:]), Inode: number(m[68:]),
	}
	attributes(m[messageSize:], func(kind uint16, value []byte) {
		switch {
		case kind == extensionInformation && s.State != Listen:
			s.Information.read(value)
		case kind == extensionMemory && len(value) >= 36:
			s.Memory = Memory{
				Receive: number(value), ReceiveLimit: number(value[4:]), Send: number(value[8:]),
				SendLimit: number(value[12:]), Reserved: number(value[16:]), Drops: number(value[32:]),
			}
		}
	})
	return true
}

func address(family byte, in []byte) netip.Addr {
	if int(family) == sys.Inet4 {
		return netip.AddrFrom4([4]byte(in[:4]))
	}
	return netip.AddrFrom16([16]byte(in[:16])).Unmap()
}

// attributes visits the attributes behind a message, each with its length and kind in front, see netlink(7).
func attributes(in []byte, visit func(kind uint16, value []byte)) {
	const header = 4
	for len(in) >= header {
		size := int(binary.NativeEndian.Uint16(in))
		if size < header || size > len(in) {
			return
		}
		visit(binary.NativeEndian.Uint16(in[2:]), in[header:size])
		in = in[min(len(in), (size+3)&^3):]
	}
}

// read decodes struct tcp_info. Older kernels have a shorter one; 148 bytes are those of Linux 4.2.
func (i *Information) read(in []byte) {
	const shortest = 148
	if len(in) < shortest {
		return
	}
	number := binary.NativeEndian.Uint32
	milliseconds := func(at int) time.Duration { return time.Duration(number(in[at:])) * time.Millisecond }
	microseconds := func(at int) time.Duration { return time.Duration(number(in[at:])) * time.Microsecond }
	const windowScaling = 4 // TCPI_OPT_WSCALE
	*i = Information{
		Known: true, WindowScaling: in[5]&windowScaling != 0, Backoff: in[4],
		RTO: microseconds(8), RTT: microseconds(68),
		Unacknowledged: number(in[24:]), Window: number(in[80:]),
		Lost: number(in[32:]), Retransmitted: number(in[36:]), Retransmissions: number(in[100:]),
		LastSent: milliseconds(44), LastReceived: milliseconds(52), LastHeard: milliseconds(56),
		BytesSent: binary.NativeEndian.Uint64(in[120:]), BytesReceived: binary.NativeEndian.Uint64(in[128:]),
		SegmentsOut: number(in[136:]),
	}
	if len(in) >= 160 {
		i.DataSegmentsOut = number(in[156:])
	}
}
