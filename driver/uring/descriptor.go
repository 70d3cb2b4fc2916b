package uring

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

func nothing() {}

// Descriptor is fd itself, or a second, ordinary descriptor of the same socket that done closes.
func (d *uring) Descriptor(fd int) (int, func(), error) {
	if !isDirect(fd) {
		return fd, nothing, nil
	}
	one := [2]int{fd}
	if d.install(one[:1], one[1:]); one[1] < 0 {
		return -1, nil, syscall.Errno(-one[1])
	}
	return one[1], func() { _ = sys.Close(one[1]) }, nil
}

// Descriptors is Descriptor for several at once: one system call for all that are direct, and one for each of them to
// be closed. It fills ordinary, with negative numbers where there is no descriptor.
func (d *uring) Descriptors(fds, ordinary []int) (done func()) {
	copy(ordinary, fds)
	for from := 0; from < len(fds); {
		to := from + 1
		if isDirect(fds[from]) {
			for to < len(fds) && isDirect(fds[to]) && d.ringOf(fds[to]) == d.ringOf(fds[from]) {
				to++
			}
			d.install(fds[from:to], ordinary[from:to])
		}
		from = to
	}
	return func() {
		for i, fd := range fds {
			if isDirect(fd) && ordinary[i] >= 0 {
				_ = sys.Close(ordinary[i])
			}
		}
	}
}

// install makes ordinary descriptors of direct ones of one ring; of one that fails its negative error number.
func (d *uring) install(fds, ordinary []int) {
	r, first, asked := d.ringOf(fds[0]), d.installs+1, 0
	for i := range ordinary {
		ordinary[i] = -int(syscall.EBUSY) // also if its outcome waits for room in the queue: it is closed when it comes
	}
	for ; asked < len(fds); asked++ {
		s := d.next(r)
		if s == nil {
			break
		}
		d.installs++
		s.Install(slotOf(fds[asked]), uint64(userInstall|d.installs<<8))
	}
	r.supply.fill()
	_ = r.q.Enter()
	for i := range r.q.Ready() {
		o := r.q.Outcome(i)
		if o.UserData>>32 != 0 || o.UserData&0xff != userInstall {
			continue
		}
		if at := (uint32(o.UserData>>8) - first) & (1<<24 - 1); at < uint32(asked) {
			o.UserData, ordinary[at] = userIgnore, int(o.Res)
		}
	}
}

// Part gives an ordinary descriptor back: the ring knows nothing of it between two operations. Of a direct one it makes
// an ordinary one, and empties the slot.
func (d *uring) Part(fd int) (int, error) {
	if !isDirect(fd) {
		d.separate(int32(fd))
		return fd, nil
	}
	one := [2]int{fd}
	if d.install(one[:1], one[1:]); one[1] < 0 {
		return -1, syscall.Errno(-one[1])
	}
	s := d.next(d.ringOf(fd))
	if s == nil {
		_ = sys.Close(one[1])
		return -1, driver.ErrFull
	}
	s.CloseDirect(slotOf(fd), userVacate)
	return one[1], nil
}

// installTarget asks for an ordinary descriptor of a direct one, for one SendFile.
func (d *uring) installTarget(slot uint32, e *entry) bool {
	s := d.next(d.ringOf(int(e.fd)))
	if s == nil {
		return false
	}
	s.Install(slotOf(int(e.fd)), token(slot, e))
	return true
}

// installed goes on with a SendFile that has its ordinary descriptor, or has to do without.
func (d *uring) installed(slot uint32, e *entry, o *sys.Outcome) {
	f := d.holds.at(e.hold).file
	switch err := syscall.Errno(-o.Res); {
	case o.Res >= 0:
		f.target, f.opened = int(o.Res), true
		d.again(slot, e)
	case err == syscall.EMFILE || err == syscall.ENFILE:
		f.copying = true
		d.again(slot, e)
	default:
		d.finish(slot, e, 0, err)
	}
}

// stagingBytes is the piece in which a file is copied when no descriptor is left to send it by.
const stagingBytes = 64 << 10

// copyFile sends the next piece through the ring, from memory.
func (d *uring) copyFile(slot uint32, e *entry, h *hold, f *fileSend) bool {
	piece, flags := h.buf[h.taken:], sys.MsgWaitAll
	if len(piece) == 0 && len(f.piece) == 0 && f.left > 0 {
		if err := d.stage(f); err != nil {
			d.finish(slot, e, 0, err)
			return true
		}
	}
	if len(piece) == 0 {
		piece = f.piece
	}
	if len(piece) == 0 {
		d.finish(slot, e, 0, nil)
		return true
	}
	r := d.ringOf(int(e.fd))
	s := d.next(r)
	if s == nil {
		return false
	}
	if e.marks&corked != 0 || f.left > 0 {
		flags |= sys.MsgMore
	}
	s.Send(slotOf(int(e.fd)), piece, flags, token(slot, e))
	s.Flags |= sys.FixedFile
	return true
}

// stage reads the next piece of the file.
func (d *uring) stage(f *fileSend) error {
	if f.staging == nil {
		if n := len(d.staging); n > 0 {
			f.staging, d.staging = d.staging[n-1], d.staging[:n-1]
		} else {
			memory, err := sys.Map(stagingBytes)
			if err != nil {
				return err
			}
			f.staging = memory
		}
	}
	n, err := sys.ReadAt(f.from, f.staging[:min(len(f.staging), f.left)], f.off)
	if err == nil && n == 0 {
		err = driver.ErrShrunk
	}
	if err != nil {
		return err
	}
	f.piece = f.staging[:n]
	f.off += int64(n)
	f.left -= n
	return nil
}

// copied handles the outcome of sending a piece.
func (d *uring) copied(slot uint32, e *entry, o *sys.Outcome) {
	h := d.holds.at(e.hold)
	if o.Res <= 0 {
		err := syscall.EPIPE
		if o.Res < 0 {
			err = syscall.Errno(-o.Res)
		}
		d.finish(slot, e, 0, err)
		return
	}
	n := int(o.Res)
	if h.taken < len(h.buf) {
		h.taken += n
	} else {
		h.file.piece = h.file.piece[n:]
	}
	if h.taken == len(h.buf) && h.file.left == 0 && len(h.file.piece) == 0 {
		d.finish(slot, e, n, nil)
		return
	}
	d.progress(slot, e, n)
	d.again(slot, e)
}

// abandon lets go of what a cancelled SendFile was about to get.
func (f *fileSend) abandon(o *sys.Outcome) {
	if f.target < 0 && !f.copying && o.Res >= 0 {
		f.target, f.opened = int(o.Res), true
	}
}

// newFile takes a fileSend with old values.
func (d *uring) newFile() *fileSend {
	n := len(d.files)
	if n == 0 {
		return &fileSend{}
	}
	f := d.files[n-1]
	d.files = d.files[:n-1]
	return f
}

// endFile gives back what a SendFile used.
func (d *uring) endFile(f *fileSend) {
	if f.opened {
		_ = sys.Close(f.target)
	}
	if f.staging != nil {
		d.staging = append(d.staging, f.staging)
	}
	d.files = append(d.files, f)
}
