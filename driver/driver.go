// Package driver is the contract between an event loop and the kernel: what a
// loop may ask for, how it is told, and what every driver promises. It makes no
// system call itself; the folders beside it hold one kernel facility each.
//
// The contract is completion-shaped: the loop submits operations and later
// collects their results. io_uring works this way natively. The readiness
// facilities (select, poll, epoll, real-time signals, a plain sweep) are turned
// into it once, by package emulate: it attempts an operation at once, parks it
// when the kernel says "would block", and attempts it again on a hint. A hint may
// be stale, doubled or wrong, it costs one refused attempt; a lost hint is made
// good by attempting everything that is parked.
//
// Promises of every driver, checked by package drivertest:
//
//   - Each operation completes exactly once without More: also when it is
//     cancelled, also when the driver is closed.
//   - At most one read-side operation (Accept, Recv, RecvFrom, SpliceIn) and one write-side
//     operation (Connect, Send, SendFile, SendTo, SpliceOut) are in flight on a descriptor;
//     submitting a second one is the caller's mistake and bytes may be reordered.
//   - Only Wait blocks, and completions are only ever returned by Wait: a driver
//     never calls up.
//   - Recv without a buffer takes a block only when bytes have arrived. When the
//     pool has none for input the operation completes with ErrNoBlock and the bytes stay in
//     the kernel. SpliceIn and its pipes are the same, with ErrNoPipe.
//   - Bytes are completed in the order in which they arrived, none twice, none lost.
//   - A driver has no timers: the loop's wheel computes how long Wait may wait.
package driver

import (
	"errors"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/buf"
)

// Code says what an operation does.
type Code uint8

// The operations. "Result" is that of the completion.
const (
	Nothing  Code = iota
	Accept        // Result: the new descriptor, non-blocking and close-on-exec. Usually with Many.
	Connect       // FD to Op.Addr, a raw socket address. Result: 0.
	Recv          // Result: bytes, 0 at the peer's end. Into a block of the pool (Completion.Block).
	RecvFrom      // one datagram into a block of the pool; Block.Peer is its source, Block.Home where it was sent to.
	Send          // Op.Buf, then Op.Rest. Result: bytes taken, which is all of them unless Err is set.
	SendFile      // Op.Buf, then Op.Len bytes of Op.From at Op.Off. More comes meanwhile. Result: bytes since the last.
	// SendTo sends one datagram Op.Buf to Op.Addr (a raw socket address; empty if connected). To the name of a Unix socket
	// that has no room it fails with ENOBUFS: nobody tells when there is, and others need not wait for a slow reader.
	SendTo
	// SendMany sends datagrams: Op.Rest has them in pairs, bytes and a raw socket address (empty if connected; behind it
	// may be the 4 or 16 bytes of the address that the datagram is to leave from). They are UDP if Op.Len is not zero, and
	// those in a row to one address and of one size may then leave as one. Result: how many were taken; Err is that of the
	// one behind them.
	SendMany
	SpliceIn  // into a pipe of the pool (Completion.Pipe). Result: bytes, at most Op.Len, 0 at the peer's end.
	SpliceOut // what is in Op.Pipe, which the driver takes over. More comes meanwhile. Result: bytes since the last.
	Shutdown  // the write half of FD. Result: 0.
	Close     // FD. Everything else on FD has completed or has been cancelled before. Result: 0.
)

// Token names one operation in flight: a slot and its generation, never a
// pointer, so that a late completion is told from one of the slot's next user.
// The zero Token names nothing.
type Token uint64

// Errors that a completion or a call may carry besides a syscall.Errno.
var (
	// ErrFull is returned by Submit when the driver can take no more before a Wait.
	ErrFull = errors.New("driver: full; wait for completions first")
	// ErrNoBlock completes a Recv for which the pool had no block (buf.Pool.TakeInput). The bytes are still in the kernel.
	ErrNoBlock = errors.New("driver: the block pool is empty")
	// ErrNoPipe completes a SpliceIn for which there was no pipe. The bytes are still in the socket.
	ErrNoPipe = errors.New("driver: there is no pipe to be had")
	// ErrShrunk completes a SendFile whose file ended before Op.Len bytes.
	ErrShrunk = errors.New("driver: the file is shorter than announced")
	// ErrCanceled completes an operation that was cancelled, by Cancel or by Close of the driver.
	ErrCanceled error = syscall.ECANCELED
)

// Op is one request to the kernel. Submit copies it; the memory that Buf, Rest
// and Addr point to belongs to the driver until the operation has completed, or
// a completion with More has reported its bytes as taken.
type Op struct {
	Buf  []byte   // Send, SendTo: the bytes. SendFile: the bytes that go before the file.
	Rest [][]byte // Send: further pieces, at most RestMax; sent with Buf as one. SendMany: the datagrams
	Addr []byte   // Connect, SendTo: raw socket address (struct sockaddr)
	User uint64   // returned untouched in every completion of the operation
	Off  int64    // SendFile
	Len  int      // SendFile, SendMany, SpliceIn. Recv with Many: completes when so many bytes have come, if it is not 0
	Pipe *Pipe    // SpliceOut
	FD   int      // as Accept or Adopt gave it; not always a descriptor of the process
	From int      // SendFile: an ordinary descriptor of a regular file
	Code Code
	Many bool // Accept, Recv, RecvFrom: go on completing, with More, until an error, the end, or Cancel
	// Lazy lets the driver report full success late, with the next Wait that has
	// something else to return, has waited its time out, or was woken. Failure
	// and partial success are reported at once.
	Lazy bool
	// Corked says that more bytes follow at once (MSG_MORE).
	Corked bool
}

// RestMax is the largest number of pieces in Op.Rest.
const RestMax = 15

// Flags qualify a completion.
type Flags uint8

// More: the operation is still in flight and will complete again.
const More Flags = 1 << iota

// Completion is the result of an operation, or one of several if More is set.
type Completion struct {
	Block  *buf.Block // Recv, RecvFrom: the bytes are Block.Bytes()[:Result]; the receiver releases it
	Pipe   *Pipe      // SpliceIn: the bytes are in it; the receiver releases it or hands it to SpliceOut
	Err    error      // a syscall.Errno or one of this package's errors; nil on success
	Token  Token
	User   uint64
	Result int
	Code   Code
	Flags  Flags
}

// Features says what a driver does in the kernel rather than by emulation. It is
// for explaining; nothing branches on it.
type Features uint32

// What a driver may do natively.
const (
	Completes   Features = 1 << iota // completion is native, not emulated
	Multishot                        // Many costs one submission
	PicksBlocks                      // the kernel picks the block of a Recv
	Batches                          // submissions of a turn cost one system call
	Direct                           // connections need no descriptor of the process
)

// Driver performs I/O for one loop. Every method but Wake is called only from
// the thread that opened it.
type Driver interface {
	// Name is the name of the factory that opened it.
	Name() string
	// Features explains the driver.
	Features() Features
	// Submit hands over op. It may act at once, queue the operation for the
	// next Wait, or return ErrFull, after which the caller must Wait first.
	Submit(op Op) (Token, error)
	// Cancel asks that an operation end early. It still completes, with
	// ErrCanceled or with what it had already done. Cancelling what has
	// completed does nothing.
	Cancel(t Token) error
	// Wait submits what is queued, waits until something completes, d has
	// passed (d < 0: for ever; 0: not at all) or Wake is called, and fills dst.
	// Zero completions is not an error.
	Wait(dst []Completion, d time.Duration) (int, error)
	// Wake makes a Wait in progress, or else the next one, return early. It
	// alone may be called from any goroutine.
	Wake() error
	// Adopt takes an ordinary descriptor into the driver and returns what
	// Op.FD is to hold for it. The descriptor must be non-blocking, and is the
	// driver's from then on: Close closes it.
	Adopt(fd int) (int, error)
	// Part is the reverse of Adopt: it returns the ordinary descriptor behind
	// an Op.FD, which is the caller's from then on, and of which the driver
	// hears no more. Everything on it must have completed. For what is no
	// descriptor of the process one is made, and where that has none left it
	// fails, and nothing is changed.
	Part(fd int) (ordinary int, err error)
	// Descriptor returns the ordinary descriptor behind an Op.FD, for calls
	// that only exist there (addresses, TCP_INFO), and a function that must be
	// called when it is no longer needed.
	Descriptor(fd int) (ordinary int, done func(), err error)
	// Close completes nothing more: it cancels what is in flight, returns the
	// blocks, and frees what the driver holds. Descriptors that were adopted
	// or accepted and not closed stay open, except those that have no
	// ordinary descriptor. Collect with Wait before Close what must be seen.
	Close() error
}

// Options is what a driver is opened with. Zero is never infinity: a field that
// a driver reads and that is not set makes Open fail or has the default stated.
type Options struct {
	// Blocks is where Recv's blocks come from.
	Blocks *buf.Pool
	// Pipes is where SpliceIn's pipes come from; none if nil.
	Pipes *Pipes
	// Ops is the largest number of operations in flight.
	Ops int
	// Sweep is the interval at which the sweep driver retries; 10 ms if zero.
	Sweep time.Duration
	// Level makes epoll level-triggered instead of edge-triggered.
	Level bool
	// PerDescriptor makes rtsig keep at most one signal per descriptor in mind.
	PerDescriptor bool
	// Direct makes uring accept into direct descriptors, which are not counted
	// by RLIMIT_NOFILE, in as many tables as it takes.
	Direct bool
	// Shared says that other processes accept from the same sockets, and are to get their share.
	Shared bool
	// Seed is where the simulated kernel's chances come from; sim only.
	Seed uint64
}

// Support is the answer of a probe, written for the operator.
type Support struct {
	OK  bool
	Why string // "kernel.io_uring_disabled is 2"
	Fix string // "sysctl -w kernel.io_uring_disabled=0"
}

// Factory describes a driver to the rest of the program.
type Factory struct {
	// Name is what the operator calls it.
	Name string
	// What is one line on how it works.
	What string
	// Rank orders the choice of "auto", highest first; negative is never chosen.
	Rank int
	// Probe tells whether the driver works here. It has no side effects.
	Probe func() Support
	// Open makes a driver for the calling thread, which must stay locked to its
	// goroutine. Drivers are opened after any fork.
	Open func(Options) (Driver, error)
}
