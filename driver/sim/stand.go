package sim

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

const errNotOpen = syscall.EBADF

// lingerOption is SO_LINGER of socket(7), read as its first field.
const lingerOption = 13

// standForStream gives an unconnected socket. A linger time that was set on it
// makes the close of the connection a reset.
func standForStream(d *descriptor) (int, func(), error) {
	fd, err := sys.Socket(sys.Inet4, sys.Stream, true)
	if err != nil {
		return 0, nil, err
	}
	return fd, func() {
		if on, err := sys.GetOption(fd, sys.Option{Level: sys.LevelSocket, Name: lingerOption}); err == nil && on != 0 {
			d.reset = true
		}
		_ = sys.Close(fd)
	}, nil
}

var standNames atomic.Int64

// standForListener gives a listener with as many connections as are pending in the
// simulated one.
func (k *Kernel) standForListener(l *Listener) (fd int, done func(), err error) {
	var open []int
	done = func() {
		k.handing = nil
		for _, each := range open {
			_ = sys.Close(each)
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	address, err := sys.EncodeUnix(fmt.Sprintf("@myriad-sim-%d-%d", os.Getpid(), standNames.Add(1)))
	if err != nil {
		return 0, nil, err
	}
	if fd, err = sys.Socket(sys.Unix, sys.Stream, true); err != nil {
		return 0, nil, err
	}
	open = append(open, fd)
	if err = sys.Bind(fd, address); err != nil {
		return 0, nil, err
	}
	if err = sys.Listen(fd, len(l.pending)+1); err != nil {
		return 0, nil, err
	}
	for range l.pending {
		caller, err := sys.Socket(sys.Unix, sys.Stream, true)
		if err != nil {
			return 0, nil, err
		}
		open = append(open, caller)
		if err = sys.Connect(caller, address); err != nil {
			return 0, nil, err
		}
	}
	k.handing = l
	return fd, done, nil
}
