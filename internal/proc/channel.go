package proc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// A message begins with 16 bytes in the machine's own order, as both ends are on one machine:
//
//	0  4  the magic number
//	4  1  version of the frame
//	5  1  zero
//	6  2  kind
//	8  4  length of the payload
//	12 2  number of descriptors
//	14 2  zero
const (
	frameMagic   = 0x4d59_5243
	frameVersion = 1
	frameBytes   = 16
)

const (
	// MostPayloadBytes is how long the payload of a message can be. What is longer goes in several, or as a
	// descriptor of memory.
	MostPayloadBytes = 64 << 10
	// MostDescriptors is how many descriptors one message can carry (SCM_MAX_FD of unix(7)).
	MostDescriptors = sys.MostDescriptors
)

// Errors of a Channel.
var (
	// ErrTooLong means that a message has more payload or descriptors than one can carry; nothing was sent.
	ErrTooLong = errors.New("the message is too long")
	// ErrFrame means that what came is no message; descriptors that came with it have been closed.
	ErrFrame = errors.New("what came is no message")
	// ErrDescriptorsLost means that this process could not have all descriptors of a message, for want of room below
	// its limit (RLIMIT_NOFILE); those that came have been closed. Their sender still has them if it waits for an answer.
	ErrDescriptorsLost = errors.New("descriptors of a message were lost")
)

// VersionError says that the other side speaks another version. The descriptors of its message have been closed.
type VersionError struct {
	What         string // that has versions
	Theirs, Ours uint32
}

// Error names both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the %s of the other process has version %d, and this one knows %d", e.What, e.Theirs, e.Ours)
}

// Message is what goes over a Channel. What kinds there are is for its two ends to agree on.
type Message struct {
	Kind        uint16
	Payload     []byte
	Descriptors []int
}

// Close closes the descriptors of a message that was received.
func (m Message) Close() { closeAll(m.Descriptors...) }

// Channel carries whole messages between two processes, in order, over a pair of sequenced-packet sockets (unix(7)).
// Its methods are safe for use by several goroutines.
type Channel struct {
	file *os.File
	raw  syscall.RawConn

	sending   sync.Mutex
	receiving sync.Mutex
	out, in   []byte
}

// NewPair makes a channel and the descriptor that its other end is made of, in another process as a rule.
func NewPair() (c *Channel, other int, err error) {
	own, other, err := sys.SocketPair(sys.SeqPacket)
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	if c, err = NewChannel(own); err != nil {
		_ = sys.Close(other)
		return nil, -1, err
	}
	return c, other, nil
}

// NewChannel makes a channel of a descriptor, which it owns from then on.
func NewChannel(fd int) (*Channel, error) {
	if err := sys.SetBlocking(fd, false); err != nil {
		_ = sys.Close(fd)
		return nil, fmt.Errorf("control channel: %w", err)
	}
	c := &Channel{file: os.NewFile(uintptr(fd), controlName)}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("control channel: %w", err)
	}
	c.raw = raw
	return c, nil
}

// Close closes the channel; who waits on it gets os.ErrClosed.
func (c *Channel) Close() { _ = c.file.Close() }

// Send sends a message and waits for room until ctx ends. The descriptors stay open here: they are the receiver's too
// from then on, also if it never takes the message and this process ends. EPIPE when the other side has gone;
// ETOOMANYREFS when as many descriptors are under way as a process may have open: the other side must take some first.
func (c *Channel) Send(ctx context.Context, m Message) error {
	if len(m.Payload) > MostPayloadBytes || len(m.Descriptors) > MostDescriptors {
		return fmt.Errorf("%w: %d bytes and %d descriptors, the limits are %d and %d", ErrTooLong,
			len(m.Payload), len(m.Descriptors), MostPayloadBytes, MostDescriptors)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	var frame [frameBytes]byte
	binary.NativeEndian.PutUint32(frame[0:], frameMagic)
	frame[4] = frameVersion
	binary.NativeEndian.PutUint16(frame[6:], m.Kind)
	binary.NativeEndian.PutUint32(frame[8:], uint32(len(m.Payload)))
	binary.NativeEndian.PutUint16(frame[12:], uint16(len(m.Descriptors)))
	c.out = append(append(c.out[:0], frame[:]...), m.Payload...)
	release, err := bound(ctx, c.file.SetWriteDeadline)
	if err != nil {
		return err
	}
	defer release()
	waited := c.raw.Write(func(fd uintptr) bool {
		for {
			err = sys.SendDescriptor(int(fd), c.out, m.Descriptors...)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	return outcome(ctx, "send", waited, err)
}

// Receive waits for a message until ctx ends. io.EOF when the other side has gone. After ErrFrame, ErrDescriptorsLost
// and *VersionError the next message can be received.
func (c *Channel) Receive(ctx context.Context) (Message, error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if c.in == nil {
		c.in = make([]byte, frameBytes+MostPayloadBytes)
	}
	release, err := bound(ctx, c.file.SetReadDeadline)
	if err != nil {
		return Message{}, err
	}
	defer release()
	var got sys.Passed
	waited := c.raw.Read(func(fd uintptr) bool {
		got, err = sys.RecvDescriptors(int(fd), c.in)
		return err != syscall.EAGAIN
	})
	if err := outcome(ctx, "receive", waited, err); err != nil {
		closeAll(got.Descriptors...)
		return Message{}, err
	}
	m, err := decode(c.in[:got.Bytes], got)
	if err != nil {
		closeAll(got.Descriptors...)
	}
	return m, err
}

// decode takes a message apart, and believes nothing of it.
func decode(in []byte, got sys.Passed) (m Message, err error) {
	if len(in) == 0 && len(got.Descriptors) == 0 {
		return m, io.EOF
	}
	if len(in) < frameBytes || binary.NativeEndian.Uint32(in) != frameMagic {
		return m, fmt.Errorf("%w: it has %d bytes and no magic number", ErrFrame, len(in))
	}
	if in[4] != frameVersion {
		return m, &VersionError{What: "frame of messages", Theirs: uint32(in[4]), Ours: frameVersion}
	}
	length, count := binary.NativeEndian.Uint32(in[8:]), int(binary.NativeEndian.Uint16(in[12:]))
	switch {
	case got.Cut || int64(length) != int64(len(in)-frameBytes):
		return m, fmt.Errorf("%w: %d bytes were announced and %d came", ErrFrame, length, len(in)-frameBytes)
	case got.Lost || count > len(got.Descriptors):
		return m, fmt.Errorf("%w: %d of %d came (raise the limit of descriptors, RLIMIT_NOFILE)", ErrDescriptorsLost,
			len(got.Descriptors), count)
	case count != len(got.Descriptors):
		return m, fmt.Errorf("%w: %d descriptors were announced and %d came", ErrFrame, count, len(got.Descriptors))
	}
	m.Kind, m.Descriptors = binary.NativeEndian.Uint16(in[6:]), got.Descriptors
	m.Payload = append([]byte(nil), in[frameBytes:]...)
	return m, nil
}

// bound has a wait end with ctx. release must be called after it.
func bound(ctx context.Context, set func(time.Time) error) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // none is the zero time, which is none for a file too
	if set(deadline) != nil {
		return nil, os.ErrClosed
	}
	if ctx.Done() == nil {
		return func() {}, nil
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = set(time.Unix(1, 0)) // long ago; it fails for a file that is closed, and so does the wait
		close(ended)
	})
	return func() {
		if !stop() {
			<-ended // or it would end the next wait
		}
	}, nil
}

// outcome is the error of a call that waited on the poller.
func outcome(ctx context.Context, what string, waited, err error) error {
	switch {
	case waited == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(waited, os.ErrDeadlineExceeded): // the poller's clock was faster than that of ctx
		return context.DeadlineExceeded
	default:
		return os.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("%s over the control channel: %w", what, err)
	}
	return nil
}

// RawPair makes the two ends of a channel, each for another process.
func RawPair() (one, other int, err error) {
	one, other, err = sys.SocketPair(sys.SeqPacket)
	return one, other, os.NewSyscallError("socketpair", err)
}
