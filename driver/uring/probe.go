package uring

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// opcodes are the operations that the driver submits.
var opcodes = []struct {
	name string
	code int
}{
	{"POLL_ADD", sys.RingPoll},
	{"SENDMSG", sys.RingSendMsg},
	{"RECVMSG", sys.RingRecvMsg},
	{"TIMEOUT", sys.RingTimeout},
	{"ACCEPT", sys.RingAccept},
	{"ASYNC_CANCEL", sys.RingCancel},
	{"CONNECT", sys.RingConnect},
	{"CLOSE", sys.RingClose},
	{"READ", sys.RingRead},
	{"SEND", sys.RingSend},
	{"RECV", sys.RingRecv},
	{"SHUTDOWN", sys.RingShutdown},
}

// probe makes a ring and asks it.
func probe() driver.Support {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := sys.OpenRing(8, 16)
	if err != nil {
		return unsupported(err)
	}
	defer q.Close()
	known, err := q.Opcodes()
	if err != nil {
		return unsupported(err)
	}
	for _, o := range opcodes {
		if !known[o.code] {
			return driver.Support{Why: "io_uring lacks " + o.name, Fix: kernelFix}
		}
	}
	b, err := q.OpenBufferRing(0, 8)
	if err != nil {
		return unsupported(err)
	}
	b.Close()
	return driver.Support{OK: true}
}

const kernelFix = "run Linux 6.6 or newer"

// unsupported explains why no ring could be made, and what can be done about it.
func unsupported(err error) driver.Support {
	var lacks sys.RingLacks
	switch {
	case errors.As(err, &lacks):
		return driver.Support{Why: lacks.Error(), Fix: kernelFix}
	case errors.Is(err, syscall.ENOSYS):
		return driver.Support{Why: "this kernel has no io_uring", Fix: kernelFix}
	case errors.Is(err, syscall.EINVAL):
		return driver.Support{Why: "this kernel's io_uring is too old", Fix: kernelFix}
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		if v := sys.RingsDisabled(); v > 0 {
			return driver.Support{
				Why: fmt.Sprintf("kernel.io_uring_disabled is %d", v), Fix: "sysctl -w kernel.io_uring_disabled=0",
			}
		}
		return driver.Support{
			Why: "io_uring_setup is not permitted, most likely by a seccomp filter of the container",
			Fix: "allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile",
		}
	case errors.Is(err, syscall.ENOMEM):
		return driver.Support{
			Why: "there is no memory for a ring, most likely because of RLIMIT_MEMLOCK", Fix: "raise it: ulimit -l unlimited",
		}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return driver.Support{Why: "no descriptor is left for a ring", Fix: "raise RLIMIT_NOFILE: ulimit -n"}
	}
	return driver.Support{Why: err.Error(), Fix: kernelFix}
}

// explain is the error of Open for a ring that could not be made.
func explain(err error) error {
	s := unsupported(err)
	return fmt.Errorf("uring: %w: %s (%s)", err, s.Why, s.Fix)
}
