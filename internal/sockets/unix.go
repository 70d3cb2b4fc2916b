package sockets

import (
	"encoding/binary"
	"strings"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// UnixListener is a Unix socket that connections are accepted from.
type UnixListener struct {
	// Name is its path, or its abstract name behind "@".
	Name string
	// Inode is how /proc/PID/fd names it.
	Inode uint32
	// Waiting is how many connections wait for accept, Backlog how many may before connect waits, too.
	Waiting, Backlog uint32
}

// UnixListeners are the Unix sockets that listen, in the network namespace of the calling thread. The error is as that
// of List.
func UnixListeners() ([]UnixListener, error) {
	const (
		requestSize, messageSize = 24, 16      // struct unix_diag_req and unix_diag_msg
		showName, showQueues     = 0x01, 0x10  // UDIAG_SHOW_NAME, UDIAG_SHOW_RQLEN
		name, queues             = 0, 4        // UNIX_DIAG_NAME, UNIX_DIAG_RQLEN
		listening                = 1 << Listen // the states are those of TCP
	)
	request := make([]byte, requestSize)
	request[0] = sys.Unix
	binary.NativeEndian.PutUint32(request[4:], listening)
	binary.NativeEndian.PutUint32(request[12:], showName|showQueues)
	var list []UnixListener
	whole := true
	err := sys.Diagnose(request, func(m []byte) {
		if len(m) < messageSize {
			whole = false
			return
		}
		l := UnixListener{Inode: binary.NativeEndian.Uint32(m[4:])}
		attributes(m[messageSize:], func(kind uint16, value []byte) {
			switch {
			case kind == name && len(value) > 0 && value[0] == 0:
				l.Name = "@" + string(value[1:])
			case kind == name:
				l.Name = strings.TrimRight(string(value), "\x00")
			case kind == queues && len(value) >= 8:
				l.Waiting, l.Backlog = binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:])
			}
		})
		list = append(list, l)
	})
	if err == nil && !whole {
		err = syscall.EBADMSG
	}
	return list, err
}
