package sys

import (
	"io/fs"
	"syscall"
)

// Unlinked reports whether an open file has no name any more: it is gone once nobody has it open. It is false for what
// does not come from this operating system.
func Unlinked(info fs.FileInfo) bool {
	st, _ := info.Sys().(*syscall.Stat_t)
	return st != nil && st.Nlink == 0
}
