package sim

import (
	"hash/maphash"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

var sumSeed = maphash.MakeSeed()

// sum is of all the memory that belongs to the driver while the operation is in flight.
func sum(op *driver.Op) uint64 {
	if len(op.Buf)+len(op.Rest)+len(op.Addr) == 0 {
		return 0
	}
	total := maphash.Bytes(sumSeed, op.Buf)
	for _, piece := range op.Rest {
		total = total*31 + maphash.Bytes(sumSeed, piece)
	}
	return total*31 + maphash.Bytes(sumSeed, op.Addr)
}

// check fails the run if the loop may not submit o now.
func (m *machine) check(o *operation) {
	k := m.kernel
	d, name := o.d, codeNames[o.op.Code]
	switch {
	case d == nil || !d.adopted:
		k.Fail("%s on descriptor %d, which is not open", name, o.op.FD-firstDescriptor)
		return
	case d.closing:
		k.Fail("%s on descriptor %d, which is being closed", name, o.op.FD-firstDescriptor)
		return
	case !d.may(o.op.Code):
		k.Fail("%s on a descriptor of another kind, or not connected", name)
		return
	}
	if o.op.Code == driver.Close {
		for _, other := range [...]*operation{d.read, d.write} {
			if other != nil && !other.cancelled {
				k.Fail("Close while a %s is in flight that was not cancelled", codeNames[other.op.Code])
			}
		}
		return
	}
	if other := *d.sideOf(o.op.Code); other != nil {
		k.Fail("%s while a %s is in flight on the same descriptor", name, codeNames[other.op.Code])
	}
	d.used = true
	switch o.op.Code {
	case driver.SpliceOut:
		if d.shut {
			k.Fail("%s after Shutdown", name)
		}
		m.checkPipe(&o.op)
	case driver.Send, driver.SendFile:
		if d.shut {
			k.Fail("%s after Shutdown", name)
		}
		if len(o.op.Rest) > driver.RestMax {
			k.Fail("Send with %d further pieces", len(o.op.Rest))
		}
		if o.op.Code == driver.SendFile && k.fileOf(o.op.From) == nil && o.op.From >= firstFile {
			k.Fail("SendFile of a file that nobody holds")
		}
	}
}

// may tells whether an operation makes sense on a descriptor of this kind.
func (d *descriptor) may(c driver.Code) bool {
	switch c {
	case driver.Accept:
		return d.listener != nil
	case driver.Recv, driver.Send, driver.SendFile, driver.SpliceIn, driver.SpliceOut, driver.Shutdown:
		return d.stream != nil && d.stream.peer != nil
	case driver.RecvFrom, driver.SendTo, driver.SendMany:
		return d.socket != nil
	case driver.Connect:
		return d.stream != nil && d.stream.peer == nil
	}
	return true
}

// Adopt takes in a listener, a socket, a pending connection that was accepted from
// the stand-in of its listener, or a real socket that is to be connected.
func (m *machine) Adopt(fd int) (int, error) {
	k := m.kernel
	d := k.descriptor(fd)
	if d == nil {
		d = k.stands[fd]
	}
	var err error
	switch {
	case d != nil:
	case fd < 0 || fd >= firstDescriptor:
		return 0, errNotOpen
	case k.handing == nil:
		d, err = k.unconnected(fd)
	default:
		if d, err = k.acceptOne(k.handing); err == nil {
			err = sys.Close(fd)
		}
	}
	if err != nil {
		return 0, err
	}
	d.adopted, d.used = true, false
	return d.number, nil
}

// Descriptor gives a real socket that stands for the simulated one until done is
// called: what was set on it then counts, and what is accepted from it are the
// pending connections.
func (m *machine) Descriptor(fd int) (int, func(), error) {
	d := m.kernel.descriptor(fd)
	switch {
	case d == nil || !d.adopted || d.closing:
		m.kernel.Fail("Descriptor of %d, which is not open", fd-firstDescriptor)
		return 0, nil, errNotOpen
	case d.listener != nil:
		return m.kernel.standForListener(d.listener)
	case d.stream != nil:
		return standForStream(d)
	}
	return d.socket.stand, func() {}, nil
}

// partFails is how often Part finds no descriptor for a connection that was worked with.
const partFails = 0.1

// Part makes a connection one that the driver does not know until it is adopted again, if the options say so. There is
// no other process that a listener could be open in.
func (m *machine) Part(fd int) (int, error) {
	d := m.kernel.descriptor(fd)
	switch {
	case !m.kernel.options.Parts:
		return 0, syscall.EMFILE
	case d == nil || d.stream == nil:
		return 0, errNotOpen
	case !d.adopted || d.closing || d.read != nil || d.write != nil:
		m.kernel.Fail("Part of %d, on which something is under way", fd-firstDescriptor)
		return 0, errNotOpen
	}
	if d.used && m.kernel.chance(partFails) {
		return 0, syscall.EMFILE
	}
	d.adopted = false
	return fd, nil
}
