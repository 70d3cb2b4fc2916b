package sim

import (
	"syscall"

	"github.com/myriad-server/myriad/driver"
)

// firstDescriptor is the lowest number of a simulated descriptor: out of reach of
// the real ones, so that a system call on one fails rather than hits something.
const firstDescriptor = 1 << 20

// descriptor is one entry of the table. It holds one of listener, stream and socket.
type descriptor struct {
	listener *Listener
	stream   *stream
	socket   *Socket
	read     *operation // the read-side operation, until Wait has returned its end
	write    *operation // the write-side operation
	number   int
	adopted  bool // the driver knows it
	used     bool // and something was submitted on it since
	closing  bool // Close was submitted
	reset    bool // closing it resets the connection
	shut     bool // Shutdown was submitted
}

// install puts d into the lowest free place, as dup(2) does; EMFILE if there is none.
func (k *Kernel) install(d *descriptor) error {
	if k.open >= k.options.Descriptors {
		return syscall.EMFILE
	}
	index := 0
	for index < len(k.table) && k.table[index] != nil {
		index++
	}
	if index == len(k.table) {
		k.table = append(k.table, nil)
	}
	k.table[index] = d
	d.number = firstDescriptor + index
	k.open++
	return nil
}

// descriptor is the open one of a number, or nil.
func (k *Kernel) descriptor(number int) *descriptor {
	if index := number - firstDescriptor; index >= 0 && index < len(k.table) {
		return k.table[index]
	}
	return nil
}

// release takes d out of the table and ends what it stood for.
func (k *Kernel) release(d *descriptor) {
	k.table[d.number-firstDescriptor] = nil
	k.open--
	switch {
	case d.stream != nil:
		k.closeStream(d.stream, d.reset)
	case d.listener != nil:
		k.closeListener(d.listener)
	default:
		k.closeSocket(d.socket)
	}
}

// stir has the operation of a side attempted again.
func (k *Kernel) stir(o *operation) {
	if o == nil || o.scheduled || o.over || !o.begun {
		return
	}
	o.scheduled = true
	k.events.push(event{at: k.now + k.delay(), op: o, generation: o.generation})
}

// sideOf is where an operation of a code is kept; nil for one that has no side.
func (d *descriptor) sideOf(c driver.Code) **operation {
	switch c {
	case driver.Accept, driver.Recv, driver.RecvFrom, driver.SpliceIn:
		return &d.read
	case driver.Close:
		return nil
	}
	return &d.write
}
