package static

import (
	"os"
	"sync/atomic"

	"github.com/myriad-server/myriad/internal/sys"
)

// folder is the directory that is served. Files is one holder, each lookup in it another; the last one closes it.
type folder struct {
	root          *os.Root
	device, inode uint64
	holds         atomic.Int64
}

// hold adds a holder unless the folder has none left and is closed.
func (d *folder) hold() bool {
	for {
		n := d.holds.Load()
		if n == 0 {
			return false
		}
		if d.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave takes a holder away.
func (d *folder) leave() {
	if d.holds.Add(-1) == 0 {
		d.root.Close()
	}
}

// enter holds the folder for a lookup; nil after Close. Whoever comes first when Options.Valid has passed looks whether
// its name leads to another one; the others use the one there is for that moment longer.
func (f *Files) enter(now int64) *folder {
	looked := f.looked.Load()
	if age := now - looked; (age >= int64(f.options.Valid) || age <= -skew) && f.looked.CompareAndSwap(looked, now) {
		f.compare()
	}
	for {
		switch d := f.folder.Load(); {
		case d.hold():
			return d
		case f.closed.Load():
			return nil
		}
	}
}

// compare opens what the name leads to if that is another folder.
func (f *Files) compare() {
	info, err := os.Stat(f.options.Root)
	if err != nil || !info.IsDir() {
		return // it may be between two names
	}
	d := f.folder.Load()
	if device, inode, _ := sys.FileIdentity(info); device == d.device && inode == d.inode {
		return
	}
	old, err := f.reopen()
	if err != nil || old == nil {
		return // the next who looks tries again
	}
	f.forget()
	old.leave()
}

// reopen opens the folder that the name leads to, and returns the one before, which the caller leaves.
func (f *Files) reopen() (old *folder, err error) {
	f.opening.Lock()
	defer f.opening.Unlock()
	if f.closed.Load() {
		return nil, os.ErrClosed
	}
	root, err := os.OpenRoot(f.options.Root)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	d := &folder{root: root}
	d.device, d.inode, _ = sys.FileIdentity(info)
	d.holds.Store(1)
	return f.folder.Swap(d), nil
}
