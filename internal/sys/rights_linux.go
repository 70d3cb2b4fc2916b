package sys

import "golang.org/x/sys/unix"

// SeqPacket is a kind of Unix socket for SocketPair: whole messages, in order (unix(7)).
const SeqPacket = unix.SOCK_SEQPACKET

// MostDescriptors is how many descriptors one message can carry: SCM_MAX_FD of unix(7).
const MostDescriptors = 253

// descriptorSpace is the room for the control message with all of them.
var descriptorSpace = unix.CmsgSpace(MostDescriptors * 4)

// Passed is what came with one message of a Unix socket.
type Passed struct {
	Bytes       int   // of the message, into the memory given
	Descriptors []int // close-on-exec, and the caller's to close
	Cut         bool  // MSG_TRUNC: the message was longer than the memory
	Lost        bool  // MSG_CTRUNC: descriptors were lost, as the process may not have more
}

// RecvDescriptors is recvmsg(2) of a message with descriptors; see unix(7), SCM_RIGHTS. At the stream's end nothing has
// come. EINTR is retried.
func RecvDescriptors(fd int, p []byte) (got Passed, err error) {
	control := make([]byte, descriptorSpace)
	var n, used, flags int
	for {
		n, used, flags, _, err = unix.Recvmsg(fd, p, control, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return got, err
	}
	got.Bytes = n
	got.Cut, got.Lost = flags&unix.MSG_TRUNC != 0, flags&unix.MSG_CTRUNC != 0
	messages, err := unix.ParseSocketControlMessage(control[:used])
	if err != nil {
		return got, err
	}
	for i := range messages {
		descriptors, err := unix.ParseUnixRights(&messages[i])
		if err == nil { // EINVAL: it is about something else
			got.Descriptors = append(got.Descriptors, descriptors...)
		}
	}
	return got, nil
}
