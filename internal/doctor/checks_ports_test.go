package doctor

import (
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sockets"
)

// elsewhere is an address of the namespace that is not of the loopback's network, so that connections to it are judged
// like any other's.
const elsewhere = "10.77.0.1"

func addElsewhere(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("ip", "address", "add", elsewhere+"/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("ip address add: %v: %s", err, out)
	}
}

// service is a listener with the connections that were dialled to it and accepted; all are closed with the test.
type service struct {
	*testing.T
	listener         net.Listener
	dialled, accepts []net.Conn
}

func newService(t *testing.T, address string) *service {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{T: t, listener: listener}
	t.Cleanup(func() {
		s.drop()
		_ = listener.Close()
	})
	return s
}

// fill makes so many connections.
func (s *service) fill(count int) {
	s.Helper()
	for range count {
		s.dial(1)
		s.accept(1)
	}
}

// dial makes so many connections that wait in the accept queue.
func (s *service) dial(count int) {
	s.Helper()
	for range count {
		client, err := net.DialTimeout("tcp", s.listener.Addr().String(), 10*time.Second)
		if err != nil {
			s.Fatal(err)
		}
		s.dialled = append(s.dialled, client)
	}
}

// accept takes so many out of the accept queue.
func (s *service) accept(count int) {
	s.Helper()
	for range count {
		server, err := s.listener.Accept()
		if err != nil {
			s.Fatal(err)
		}
		s.accepts = append(s.accepts, server)
	}
}

// closeAll closes one end of connections, in order.
func closeAll(ends []net.Conn) {
	for _, c := range ends {
		_ = c.Close()
	}
}

// closeDialled closes all connections, first the end that dialled: it stays in TIME_WAIT.
func (s *service) closeDialled() {
	for i, client := range s.dialled {
		_ = client.Close()
		_, _ = s.accepts[i].Read(make([]byte, 1))
		_ = s.accepts[i].Close()
	}
	s.dialled, s.accepts = nil, nil
	s.settle()
}

// end resets all connections, and waits until nothing is left of them.
func (s *service) end() {
	s.drop()
	s.settle()
}

// settle waits until all that was closed is gone or in TIME_WAIT: segments take a moment also within a host.
func (s *service) settle() {
	s.Helper()
	_, text, _ := net.SplitHostPort(s.listener.Addr().String())
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		s.Fatal(err)
	}
	waiting := sockets.All &^ (sockets.Listen.Bit() | sockets.TimeWait.Bit())
	for deadline := time.Now().Add(10 * time.Second); ; {
		left := 0
		for _, q := range []sockets.Query{{LocalPort: uint16(port)}, {RemotePort: uint16(port)}} {
			q.States = waiting
			_ = sockets.List(q, func(*sockets.Socket) { left++ })
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%d sockets do not go", left)
		}
		<-time.After(time.Millisecond)
	}
}

// drop ends all connections with a reset, so that nothing will be left of them.
func (s *service) drop() {
	for _, c := range append(s.dialled, s.accepts...) {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	s.dialled, s.accepts = nil, nil
}

func TestLocalPortsInUse(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, portRange, "40000 40119")
	setSysctl(t, "net.ipv4.ip_local_reserved_ports", "40010-40027,40100,40101,50000")
	s := newService(t, "127.0.0.1:7000")
	h := This(0)
	onlyFinding(t, h, localPorts, Info, "there are 100 local ports", "20 of them")
	s.fill(85)
	onlyFinding(t, h, localPorts, Warning, "85 of 100 local ports are in use to 127.0.0.1:7000", "85 open")
	s.fill(12)
	f := onlyFinding(t, h, localPorts, Outage, "97 of 100", "127.0.0.1 -> 127.0.0.1:7000", "so many connections are open")
	other := newService(t, "127.0.0.1:7001") // another destination has all ports to itself
	other.fill(30)
	onlyFinding(t, h, localPorts, Outage, "97 of 100")
	applySettings(t, f)
	isWell(t, h, localPorts)
}

func TestLocalPortsForecast(t *testing.T) {
	if !apart(t) {
		return
	}
	addElsewhere(t)
	setSysctl(t, portRange, "40000 40199")
	s := newService(t, elsewhere+":7000")
	s.fill(40)
	s.closeDialled()
	h := This(0)
	f := onlyFinding(t, h, localPorts, Warning, "are about to be used up", "40 in TIME_WAIT", "4 closed a second",
		"240 ports will be in TIME_WAIT", "the last one is taken in 40 s", "each closed one holds its port")
	setSysctl(t, "net.ipv4.tcp_tw_reuse", "1") // a port waits for a second then
	onlyFinding(t, h, localPorts, Info, "there are 200 local ports")
	setSysctl(t, "net.ipv4.tcp_tw_reuse", "2")
	applySettings(t, f)
	isWell(t, h, localPorts)
}

// TestLocalPortsOfClients: connections that were accepted here take no local ports, though they have other addresses.
func TestLocalPortsOfClients(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.fill(50)
	census, err := This(0).Census()
	if err != nil || len(census.Routes) != 1 {
		t.Fatalf("routes: %v, %v", census.Routes, err)
	}
}

func TestTimeWaitOverflow(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, timeWaitLimit, "10")
	s := newService(t, "127.0.0.1:7000")
	h := This(0)
	isWell(t, h, timeWaitBuckets)
	h.Sample()
	s.fill(30)
	s.closeDialled()
	f := onlyFinding(t, h, timeWaitBuckets, Warning, "10 of 10 sockets in TIME_WAIT", "TCPTimeWaitOverflow: 20 more",
		"closes many connections first")
	applySettings(t, f)
	onlyFinding(t, h, timeWaitBuckets, Warning, "TCPTimeWaitOverflow: 20 more") // there is room, and there was none
	h.Sample()
	s.fill(5)
	s.closeDialled()
	isWell(t, h, timeWaitBuckets)
}

func TestTimeWaitReuse(t *testing.T) {
	if !apart(t) {
		return
	}
	addElsewhere(t)
	setSysctl(t, portRange, "40000 40099")
	s := newService(t, elsewhere+":7000")
	s.fill(30)
	s.closeDialled()
	h := This(0)
	f := onlyFinding(t, h, timeWaitReuse, Warning, "30 local ports to 10.77.0.1:7000", "tcp_tw_reuse: 2")
	applySettings(t, f)
	isWell(t, h, timeWaitReuse)
	setSysctl(t, "net.ipv4.tcp_timestamps", "0")
	f = onlyFinding(t, h, timeWaitReuse, Warning, "tcp_timestamps: 0")
	applySettings(t, f)
	isWell(t, h, timeWaitReuse)
}

// TestTimeWaitReuseWithinTheHost: the default allows it there, as no segment of the loopback is late.
func TestTimeWaitReuseWithinTheHost(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, portRange, "40000 40099")
	s := newService(t, "127.0.0.1:7000")
	s.fill(30)
	s.closeDialled()
	isWell(t, This(0), timeWaitReuse)
	setSysctl(t, "net.ipv4.tcp_tw_reuse", "0")
	onlyFinding(t, This(0), timeWaitReuse, Warning, "tcp_tw_reuse: 0")
}
