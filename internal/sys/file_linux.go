package sys

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenNonBlock is O_NONBLOCK of open(2): opening a FIFO does not wait for its writer.
const OpenNonBlock = unix.O_NONBLOCK

// FileIdentity is what stat(2) says of which file it was and when its inode changed, by writing or otherwise, in
// nanoseconds since 1970. All are zero for an info that does not come from the operating system.
func FileIdentity(info fs.FileInfo) (device, inode uint64, changed int64) {
	st, _ := info.Sys().(*syscall.Stat_t)
	if st == nil {
		return 0, 0, 0
	}
	return st.Dev, st.Ino, syscall.TimespecToNsec(st.Ctim)
}
