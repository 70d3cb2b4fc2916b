package load

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
)

// countUnix counts the connections of a listening Unix socket. The server's ends have its name. The clients' have none:
// they are found as the peers of those, in the kernel's list too, and must say the same of each other.
func (c *Census) countUnix(path string) error {
	const (
		requestSize, messageSize = 24, 16 // struct unix_diag_req and unix_diag_msg
		states, show, inode      = 4, 12, 4
		showName, showPeer       = 1, 4
		name, peer               = 0, 2 // UNIX_DIAG_NAME, UNIX_DIAG_PEER
	)
	request := make([]byte, requestSize)
	request[0] = sys.Unix
	binary.NativeEndian.PutUint32(request[states:], sys.StateEstablished)
	binary.NativeEndian.PutUint32(request[show:], showName|showPeer)
	peers, ours := map[uint32]uint32{}, []uint32{} // of every socket; those with the name
	err := sys.Diagnose(request, func(m []byte) {
		if len(m) < messageSize {
			return
		}
		number := binary.NativeEndian.Uint32(m[inode:])
		sys.Attributes(m[messageSize:], func(kind uint16, value []byte) {
			switch {
			case kind == peer && len(value) >= 4:
				peers[number] = binary.NativeEndian.Uint32(value)
			case kind == name && nameOf(value) == path:
				ours = append(ours, number)
			}
		})
	})
	if err != nil {
		return err
	}
	c.Server, c.SameSet = len(ours), true
	for _, number := range ours {
		if other, known := peers[number]; known && peers[other] == number {
			c.Client++
		} else {
			c.SameSet = false
		}
	}
	return nil
}

// nameOf is how people write the name of a Unix socket: an abstract one begins with a zero there, and with @ here.
func nameOf(raw []byte) string {
	if len(raw) > 0 && raw[0] == 0 {
		return "@" + string(raw[1:])
	}
	return strings.TrimRight(string(raw), "\x00")
}

// unixListeners are the inodes of the sockets that listen at a path, from /proc/net/unix.
func unixListeners(path string) (list []uint64) {
	text, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 8 || fields[7] != path {
			continue
		}
		flags, _ := strconv.ParseUint(fields[3], 16, 32)
		inode, _ := strconv.ParseUint(fields[6], 10, 64)
		const accepts = 1 << 16 // __SO_ACCEPTCON
		if flags&accepts != 0 {
			list = append(list, inode)
		}
	}
	return list
}
