package sim

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

var acceptErrors = [...]syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
}

func (m *machine) accept(o *operation) {
	k, l := m.kernel, o.d.listener
	for len(l.pending) > 0 {
		if k.chance(k.faults.AcceptError) {
			err := acceptErrors[k.rand.IntN(len(acceptErrors))]
			if err == syscall.ECONNABORTED {
				k.abandon(l.shift())
			}
			m.finish(o, 0, err, nil)
			return
		}
		d, err := k.acceptOne(l)
		if err != nil {
			m.finish(o, 0, err, nil)
			return
		}
		if !o.op.Many || o.cancelled {
			m.finish(o, d.number, nil, nil)
			return
		}
		m.progress(o, d.number, nil)
	}
}

func (m *machine) receive(o *operation) {
	k, s := m.kernel, o.d.stream
	for range 1 + k.rand.IntN(4) {
		if s.in.size() == 0 {
			m.receiveNothing(o, s)
			return
		}
		b := m.blocks.TakeInput()
		if b != nil && k.chance(k.faults.NoBlock) {
			b.Release()
			b = nil
		}
		if b == nil {
			m.finish(o, 0, driver.ErrNoBlock, nil)
			return
		}
		n := min(s.in.size(), b.Size())
		if k.chance(k.faults.ShortRead) {
			n = 1 + k.rand.IntN(n)
		}
		if s.in.room() == 0 {
			s.peer.nudge()
		}
		s.in.read(b.Bytes()[:n])
		if o.op.Len > 0 {
			o.op.Len = max(o.op.Len-n, 0)
			o.op.Many = o.op.Many && o.op.Len > 0 && !k.chance(0.1)
		}
		if !o.op.Many || o.cancelled && k.chance(0.5) {
			m.finish(o, n, nil, b)
			return
		}
		m.progress(o, n, b)
	}
	k.stir(o)
}

// receiveNothing ends a receive that will bring nothing any more, or leaves it parked.
func (m *machine) receiveNothing(o *operation, s *stream) {
	switch {
	case s.err != nil:
		err := s.err
		s.err = nil // told once; then it is the end
		m.finish(o, 0, err, nil)
	case s.dead || s.in.fin:
		m.finish(o, 0, nil, nil)
	}
}

// broken is why nothing can be sent any more, or nil.
func (s *stream) broken() error {
	if s.err != nil {
		err := s.err
		s.err = nil
		return err
	}
	if s.dead {
		return syscall.EPIPE
	}
	return nil
}

func (m *machine) send(o *operation) {
	s := o.d.stream
	total := len(o.op.Buf)
	for _, piece := range o.op.Rest {
		total += len(piece)
	}
	for o.done < total {
		if err := s.broken(); err != nil {
			m.finish(o, 0, err, nil)
			return
		}
		if m.pour(s, o, piece(&o.op, o.done)) == 0 {
			return
		}
	}
	m.finish(o, 0, nil, nil)
}

// piece is what follows the first done bytes, within one piece.
func piece(op *driver.Op, done int) []byte {
	if done < len(op.Buf) {
		return op.Buf[done:]
	}
	done -= len(op.Buf)
	for _, p := range op.Rest {
		if done < len(p) {
			return p[done:]
		}
		done -= len(p)
	}
	return nil
}

// pour gives p to the client as far as there is room. If nothing, or too little, was
// taken, the operation will be stirred.
func (m *machine) pour(s *stream, o *operation, p []byte) int {
	k := m.kernel
	n := min(len(p), s.out.room())
	if n == 0 {
		return 0
	}
	if k.chance(k.faults.ShortWrite) {
		n = 1 + k.rand.IntN(n)
	}
	k.carry(s, p[:n])
	o.done += n
	if n < len(p) && s.out.room() > 0 && k.chance(0.5) {
		k.stir(o)
		return 0
	}
	return n
}

// fileChunk is the most that one step of a SendFile carries.
const fileChunk = 16 << 10

func (m *machine) sendFile(o *operation) {
	k, s := m.kernel, o.d.stream
	total := len(o.op.Buf) + o.op.Len
	for o.done < total {
		if err := s.broken(); err != nil {
			m.finish(o, 0, err, nil)
			return
		}
		p, err := m.filePiece(o)
		if err != nil {
			m.finish(o, 0, err, nil)
			return
		}
		if m.pour(s, o, p) == 0 {
			break
		}
		if k.chance(k.faults.PartialFile) {
			m.finish(o, 0, nil, nil)
			return
		}
	}
	switch n := o.done - o.reported; {
	case o.done == total:
		m.finish(o, 0, nil, nil)
	case n > 0:
		o.reported = o.done
		m.progress(o, n, nil)
	}
}

// filePiece is what is to be sent next: bytes before the file, or bytes of it.
func (m *machine) filePiece(o *operation) ([]byte, error) {
	if o.done < len(o.op.Buf) {
		return o.op.Buf[o.done:], nil
	}
	sent := o.done - len(o.op.Buf)
	want := min(o.op.Len-sent, fileChunk)
	off := o.op.Off + int64(sent)
	if o.op.From >= firstFile {
		f := m.kernel.fileOf(o.op.From)
		if f == nil {
			m.kernel.Fail("a file was let go of while it was being sent")
			return nil, syscall.EBADF
		}
		if off >= int64(len(f.content)) {
			return nil, driver.ErrShrunk
		}
		return f.content[off:min(off+int64(want), int64(len(f.content)))], nil
	}
	p := make([]byte, want)
	n, err := sys.ReadAt(o.op.From, p, off)
	if err == nil && n == 0 {
		err = driver.ErrShrunk
	}
	return p[:max(n, 0)], err
}
