package sys

import (
	"io/fs"
	"syscall"
)

// OwnerOf is the user that a file belongs to.
func OwnerOf(file fs.FileInfo) (uid int, known bool) {
	stat, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
