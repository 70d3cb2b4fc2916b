package load

import (
	"math/rand/v2"
	"net/netip"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// Local ports. To let the kernel choose costs a search that grows with how many are taken (240 to 450 us each when most
// are); a port that is said costs 16 us. Ports begin below those that the kernel gives out by itself.
const (
	portFirst    = 10_000
	portEnd      = 60_000
	portTries    = 64
	perSource    = 20_000 // connections that share a source address, when addresses are found here
	spreadBeyond = 8_000  // connections to one destination, above which source addresses are found here
)

// places hands out the local ends of a worker's connections. The zero value leaves them to the kernel.
type places struct {
	sources []netip.Addr
	chosen  bool // ports are chosen here
	ports   int  // of each source that belong to this worker
	base    int  // the first of them
	next    int
	raw     []byte
}

// newPlaces divides the ports of the plan's sources among its workers.
func newPlaces(p *Plan, sources []netip.Addr, number int) *places {
	s := &places{sources: sources, chosen: len(sources) > 0 && p.PerConnect == 0}
	s.ports = (portEnd - portFirst) / p.Threads
	s.base = portFirst + number*s.ports
	return s
}

// sourcesOf is the plan's source addresses, or others when there are too many connections for one: addresses of the
// loopback network that no other run is likely to have used, for the kernel remembers the ports of closed connections.
func sourcesOf(p *Plan) []netip.Addr {
	to := p.Target.Address.Addr()
	n := p.Connections + p.Idle + p.Slow.Connections
	if len(p.Sources) > 0 || !to.Is4() || !to.IsLoopback() || n <= spreadBeyond {
		return p.Sources
	}
	second, third := byte(1+rand.N(250)), byte(rand.N(250))
	var list []netip.Addr
	for i := range (n + perSource - 1) / perSource {
		list = append(list, netip.AddrFrom4([4]byte{127, second, third + byte(i/250), byte(1 + i%250)}))
	}
	return list
}

// bind gives a socket its local end.
func (s *places) bind(fd int) error {
	if s == nil || len(s.sources) == 0 {
		return nil
	}
	if !s.chosen {
		source := s.sources[s.next%len(s.sources)]
		s.next++
		err := sys.SetOption(fd, sys.Option{Level: sys.LevelIP, Name: sys.BindAddressNoPort, Value: 1})
		if err != nil {
			return err
		}
		s.raw, _ = sys.EncodeAddress(s.raw[:0], netip.AddrPortFrom(source, 0))
		return sys.Bind(fd, s.raw)
	}
	err := error(syscall.EADDRINUSE)
	for try := 0; try < portTries && err == syscall.EADDRINUSE; try++ {
		source := s.sources[s.next%len(s.sources)]
		port := s.base + s.next/len(s.sources)%s.ports
		s.next++
		s.raw, _ = sys.EncodeAddress(s.raw[:0], netip.AddrPortFrom(source, uint16(port)))
		err = sys.Bind(fd, s.raw)
	}
	return err
}
