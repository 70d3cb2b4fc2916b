package static

import (
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/myriad-server/myriad/internal/sys"
)

// file is an open file. The cache is one holder, each answer that is being sent another; the last one closes it.
type file struct {
	os    *os.File
	fd    int
	stamp stamp
	holds atomic.Int64
}

// Changed says that the file was written since it was opened.
func (f *file) Changed() bool {
	info, err := f.os.Stat()
	if err != nil {
		return true
	}
	now := stampOf(info)
	return now.size != f.stamp.size || now.modified != f.stamp.modified
}

// Descriptor is the file's descriptor, which is good for as long as it is held.
func (f *file) Descriptor() int { return f.fd }

// Hold adds a holder. The caller is one already.
func (f *file) Hold() { f.holds.Add(1) }

// hold adds a holder unless the file has none left and is closed.
func (f *file) hold() bool {
	for {
		n := f.holds.Load()
		if n == 0 {
			return false
		}
		if f.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release takes a holder away.
func (f *file) Release() {
	switch n := f.holds.Add(-1); {
	case n == 0:
		f.os.Close()
	case n < 0:
		panic("static: file released more often than held")
	}
}

// stamp is what a file is recognised by.
type stamp struct {
	device, inode     uint64
	size              int64
	modified, changed int64 // nanoseconds since 1970
}

func stampOf(info fs.FileInfo) stamp {
	device, inode, changed := sys.FileIdentity(info)
	return stamp{device, inode, info.Size(), info.ModTime().UnixNano(), changed}
}

// etag is the strong validator that the package comment explains.
func (s *stamp) etag() string {
	b := append(make([]byte, 0, 48), '"')
	b = strconv.AppendInt(b, s.modified, 36)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.size, 36)
	b = append(b, '-')
	b = strconv.AppendUint(b, s.inode, 36)
	return string(append(b, '"'))
}

// open opens a regular file of the root. The error is fs.ErrNotExist for anything else.
func open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|sys.OpenNonBlock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// readWhole reads a file and reports whether it stayed the same all the while.
func readWhole(f *os.File, before stamp) ([]byte, bool) {
	b := make([]byte, before.size+1)
	n, err := f.ReadAt(b, 0)
	if err != io.EOF || int64(n) != before.size {
		return nil, false
	}
	info, err := f.Stat()
	if err != nil || stampOf(info) != before {
		return nil, false
	}
	return b[:n:n], true
}
