package uring

import (
	"runtime"
	"sync"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// limits reports that the kernel can end a multishot receive after so many bytes (Linux 6.17). One that cannot refuses
// the field before it looks at the descriptor. There, a receive with a limit brings one block.
var limits = sync.OnceValue(func() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := sys.OpenRing(8, 16)
	if err != nil {
		return false
	}
	defer q.Close()
	b, err := q.OpenBufferRing(0, 8)
	if err != nil {
		return false
	}
	defer b.Close()
	q.Next().Recv(-1, 0, true, false, 1, 0)
	if q.Enter() != nil || q.Ready() == 0 {
		return false
	}
	return q.Outcome(0).Res == -int32(syscall.EBADF)
})
