package conn

import (
	"net/netip"
	"time"
)

// Target says where to connect to, and how. It must not change once it has been used.
type Target struct {
	// Address is that of a TCP or UDP peer. Path, if set, is that of a Unix socket instead: the path of its
	// file, or "@" and an abstract name.
	Address netip.AddrPort
	Path    string
	// Source, if valid, is the local address. Its port is 0: the kernel chooses one when it knows the destination
	// (IP_BIND_ADDRESS_NO_PORT), so that one source address serves as many connections to each destination as it
	// has ports.
	Source netip.Addr
	// KeepAlive is the silence after which the kernel begins to probe (TCP_KEEPIDLE); zero: it does not.
	KeepAlive time.Duration
	// UserTimeout is how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); zero leaves the kernel's default.
	UserTimeout time.Duration
	// Congestion is the congestion control (TCP_CONGESTION). Empty is "reno" for a loopback address, where nothing can
	// be congested, and the system's default for any other; "system" is the system's default everywhere.
	Congestion string
}

// Dialer makes connections on one thread of control. All methods but Do and Number are for that thread only.
type Dialer interface {
	// Number is small, and no other dialer in use in the process has it. A dialer that has ended gives it back.
	Number() int
	// Now is Conn.Now of the thread.
	Now() int64
	// Dial begins to connect, and returns the connection in state Opening with v attached. What is queued on it
	// leaves as soon as it is open. h is told Opened then, and before that nothing but Expired and Closed. A
	// connection that cannot be made is told Closed with the reason, never from within Dial.
	Dial(t *Target, h Handler, v any) Conn
	// OpenDatagrams makes a datagram socket that is connected to the target: h hears of datagrams from there only.
	OpenDatagrams(t *Target, h DatagramHandler) (Datagrams, error)
	// Every calls f on the thread, outside any other callback, again and again, d apart but never sooner than some
	// 10 ms, until stop is called. Whoever has nothing to do stops it: an idle thread sleeps.
	Every(d time.Duration, f func()) (stop func())
	// Do runs f on the thread soon, from any goroutine. It reports false when the thread has ended.
	Do(f func()) bool
	// Stopping reports that the server winds down.
	Stopping() bool
}

// Starter is a handler (of connections or datagrams) that wants to know its thread of control before the first of
// them: Started is called once, on that thread, by models that can dial.
type Starter interface {
	Started(d Dialer)
}
