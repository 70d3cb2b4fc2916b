package sys

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Protocols of Netlink: generic families (ethtool), and the tables of netfilter (connection tracking).
const (
	NetlinkGeneric   = unix.NETLINK_GENERIC
	NetlinkNetfilter = unix.NETLINK_NETFILTER
)

// Flags of a NetlinkRequest; NetlinkCreate makes what is not there yet.
const (
	NetlinkAcknowledge = unix.NLM_F_ACK
	NetlinkDump        = unix.NLM_F_DUMP
	NetlinkCreate      = unix.NLM_F_CREATE | unix.NLM_F_EXCL
)

// NetlinkRequest is one message to the kernel. The request flag is set by Exchange.
type NetlinkRequest struct {
	Kind, Flags uint16
	Body        []byte
}

// Netlink is a conversation with a part of the kernel (netlink(7)), in the network namespace of the thread that opened
// it. It is for one goroutine.
type Netlink struct {
	fd     int
	buffer []byte
}

// OpenNetlink begins a conversation.
func OpenNetlink(protocol int) (*Netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	return &Netlink{fd: fd, buffer: make([]byte, 64<<10)}, nil
}

// Close ends it.
func (l *Netlink) Close() error { return unix.Close(l.fd) }

// Exchange sends a request and calls visit with the body of each answer, until the last. A request that has neither
// NetlinkAcknowledge nor NetlinkDump is over after one answer. An error of the kernel is a syscall.Errno.
func (l *Netlink) Exchange(q NetlinkRequest, visit func(body []byte)) error {
	message := make([]byte, netlinkHeader, netlinkHeader+len(q.Body))
	binary.NativeEndian.PutUint32(message, uint32(netlinkHeader+len(q.Body)))
	binary.NativeEndian.PutUint16(message[4:], q.Kind)
	binary.NativeEndian.PutUint16(message[6:], q.Flags|unix.NLM_F_REQUEST)
	message = append(message, q.Body...)
	if err := unix.Sendto(l.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	changed := false // while it was listed: nobody who asks here minds
	for {
		n, _, err := unix.Recvfrom(l.fd, l.buffer, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		over, err := visitMessages(l.buffer[:n], &changed, visit)
		if over || err != nil || q.Flags&(NetlinkAcknowledge|NetlinkDump) == 0 {
			return err
		}
	}
}

// AppendAttribute adds an attribute to a message, padded to the four bytes that netlink(7) wants.
func AppendAttribute(to []byte, kind uint16, value []byte) []byte {
	size := attributeHeader + len(value)
	to = binary.NativeEndian.AppendUint16(to, uint16(size))
	to = binary.NativeEndian.AppendUint16(to, kind)
	to = append(to, value...)
	for ; size&netlinkAlignments != 0; size++ {
		to = append(to, 0)
	}
	return to
}

// Nested is the bit in an attribute's kind that says that its value is attributes in turn.
const Nested = unix.NLA_F_NESTED

const (
	attributeHeader = 4
	attributeKind   = 0x3fff // without the bits for nesting and byte order
)

// Attributes calls visit with each attribute of a message, its kind without Nested. What is cut short is left out.
func Attributes(in []byte, visit func(kind uint16, value []byte)) {
	for len(in) >= attributeHeader {
		size := int(binary.NativeEndian.Uint16(in))
		if size < attributeHeader || size > len(in) {
			return
		}
		visit(binary.NativeEndian.Uint16(in[2:])&attributeKind, in[attributeHeader:size])
		in = in[min(len(in), (size+netlinkAlignments)&^netlinkAlignments):]
	}
}
