package sim

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Reach makes an address that the loop can connect to; f makes the client of each
// connection. A nil f makes the address refuse.
func (k *Kernel) Reach(a netip.AddrPort, f func() Client) {
	if k.outside == nil {
		k.outside = map[netip.AddrPort]func() Client{}
	}
	k.outside[a] = f
}

// unconnected makes a descriptor of a real socket that was made to be connected,
// and closes that.
func (k *Kernel) unconnected(fd int) (*descriptor, error) {
	d := &descriptor{stream: &stream{
		in: pipe{limit: k.options.ReceiveBytes}, out: pipe{limit: k.options.SendBytes},
	}}
	if err := k.install(d); err != nil {
		return nil, err
	}
	d.stream.end = d
	return d, sys.Close(fd)
}

// Vanish makes an address that never answers: what connects to it is stuck until it is cancelled.
func (k *Kernel) Vanish(a netip.AddrPort) { k.Reach(a, vanished) }

func vanished() Client { return nil }

func (m *machine) connect(o *operation) {
	k, s := m.kernel, o.d.stream
	f := k.outside[sys.DecodeAddress(o.op.Addr)]
	if f == nil {
		m.finish(o, 0, syscall.ECONNREFUSED, nil)
		return
	}
	client := f()
	if client == nil {
		return
	}
	k.made++
	s.peer = &Peer{kernel: k, client: client, stream: s, Number: k.made, connected: true}
	s.peer.nudge()
	if k.chance(k.faults.Reset) {
		k.After(time.Duration(k.upTo(3*time.Second)), s.peer.Reset)
	}
	m.finish(o, 0, nil, nil)
}
