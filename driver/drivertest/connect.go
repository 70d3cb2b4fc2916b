package drivertest

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

func acceptOnce(r *rig) {
	for _, listen := range []func(*rig) listener{tcpListener, unixListener} {
		l := listen(r)
		accept := r.start(driver.Op{Code: driver.Accept, FD: l.id})
		r.silent(accept)
		far := r.dial(l)
		c := r.finish(accept)
		if c.Err != nil {
			r.Fatalf("accept: %v", c.Err)
		}
		r.greet(c.Result, far)
		far = r.dial(l)
		c = r.do(driver.Op{Code: driver.Accept, FD: l.id}) // the connection is there first
		if c.Err != nil {
			r.Fatalf("accept: %v", c.Err)
		}
		r.greet(c.Result, far)
	}
}

// greet sends a few bytes both ways, to see that two ends belong together.
func (r *rig) greet(near, far int) {
	r.Helper()
	word := r.bytes(8)
	recv := r.start(driver.Op{Code: driver.Recv, FD: near})
	r.write(far, word)
	r.finish(recv)
	r.same("the near end", recv.data, word)
	r.ok(driver.Op{Code: driver.Send, FD: near, Buf: word})
	r.same("the far end", r.read(far, len(word), 100), word)
}

func acceptMany(r *rig) {
	const n = 300
	l := tcpListener(r)
	accept := r.start(driver.Op{Code: driver.Accept, FD: l.id, Many: true})
	r.silent(accept)
	far := make([]int, n)
	for i := range far {
		far[i] = r.dial(l)
	}
	r.until("all are accepted", func() bool { return len(accept.results) == n })
	if accept.over {
		r.Fatalf("Many has ended: %+v", accept.last)
	}
	for _, c := range accept.results[:10] {
		fd, done, err := r.d.Descriptor(c.Result)
		r.must(err)
		local, err := sys.LocalAddress(fd)
		r.must(err)
		if addr, _ := sys.EncodeAddress(nil, local); string(addr) != string(l.addr) {
			r.Errorf("accepted at %v", local)
		}
		if fd == c.Result {
			r.flags(fd)
		}
		done()
	}
	for _, c := range accept.results {
		r.close(c.Result)
	}
}

// flags checks that a descriptor is non-blocking and close-on-exec.
func (r *rig) flags(fd int) {
	r.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	r.must(err)
	var flags uint32
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "flags: %o", &flags); err == nil {
			break
		}
	}
	const nonblocking, closeOnExec = 0o4000, 0o2000000
	if flags&nonblocking == 0 || flags&closeOnExec == 0 {
		r.Errorf("descriptor %d has flags %o", fd, flags)
	}
}

// childMark tells a child process of acceptLimit that it is one.
const childMark = "MYRIAD_DRIVERTEST_CHILD"

// acceptLimit runs in a process of its own, whose limit on descriptors it lowers.
func acceptLimit(r *rig) {
	if r.options.Direct {
		r.Skip("direct descriptors are not counted by RLIMIT_NOFILE; use the driver without Options.Direct to see it")
	}
	if os.Getenv(childMark) != "" {
		acceptAtLimit(r)
		return
	}
	var pattern []string
	for part := range strings.SplitSeq(r.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	child := exec.Command(os.Args[0], "-test.run", strings.Join(pattern, "/"), "-test.count=1", "-test.v")
	child.Env = append(os.Environ(), childMark+"=1")
	output, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+r.Name()) {
		r.Fatalf("the child process: %v\n%s", err, output)
	}
}

func acceptAtLimit(r *rig) {
	const room, dials = 3, 8
	l := tcpListener(r)
	far := make([]int, dials)
	for i := range far {
		far[i] = r.mine(sys.Socket(l.family, sys.Stream, true))
	}
	// Fill the gaps, so that the limit is met after exactly room descriptors.
	highest := far[dials-1]
	for {
		fd, err := sys.Socket(l.family, sys.Stream, true)
		r.must(err)
		if fd > highest {
			r.must(sys.Close(fd))
			break
		}
		r.mine(fd, nil)
	}
	_, hard, err := sys.Limit(sys.LimitDescriptors)
	r.must(err)
	r.must(sys.SetLimit(sys.LimitDescriptors, uint64(highest+1+room), hard))
	accept := r.start(driver.Op{Code: driver.Accept, FD: l.id, Many: true})
	for _, fd := range far {
		if err := sys.Connect(fd, l.addr); err != nil && err != syscall.EINPROGRESS {
			r.Fatal(err)
		}
	}
	if c := r.finish(accept); c.Err != syscall.EMFILE {
		r.Fatalf("at the limit: %+v", c)
	}
	count := len(accept.results) - 1
	if count != room {
		r.Errorf("%d connections were accepted, not %d", count, room)
	}
	if c := r.do(driver.Op{Code: driver.Accept, FD: l.id}); c.Err != syscall.EMFILE {
		r.Fatalf("still at the limit: %+v", c)
	}
	for count < dials {
		for _, c := range accept.results {
			if c.Err == nil {
				r.close(c.Result)
			}
		}
		accept = r.start(driver.Op{Code: driver.Accept, FD: l.id, Many: true})
		before := count
		r.until("more are accepted", func() bool {
			count = before + len(accept.results)
			if accept.over {
				count--
			}
			return count == dials || accept.over
		})
	}
	r.must(sys.SetLimit(sys.LimitDescriptors, hard, hard))
}

func connect(r *rig) {
	for range 20 {
		addr, family := sys.EncodeAddress(nil, netip.AddrPortFrom(loopback, 0))
		listening := r.mine(r.listening(family, addr, 16), nil)
		local, err := sys.LocalAddress(listening)
		r.must(err)
		addr, _ = sys.EncodeAddress(nil, local)
		fd, err := sys.Socket(family, sys.Stream, true)
		r.must(err)
		id := r.adopt(fd)
		if n := r.ok(driver.Op{Code: driver.Connect, FD: id, Addr: addr}); n != 0 {
			r.Fatalf("connect: %d", n)
		}
		r.greet(id, r.mine(sys.Accept(listening)))
	}
}

func connectUnix(r *rig) {
	addr, err := sys.EncodeUnix(fmt.Sprintf("@myriad-drivertest-%d-%d", sys.Gettid(), r.random.Uint64()))
	r.must(err)
	listening := r.mine(r.listening(sys.Unix, addr, 16), nil)
	for range 2 {
		fd, err := sys.Socket(sys.Unix, sys.Stream, true)
		r.must(err)
		id := r.adopt(fd)
		r.ok(driver.Op{Code: driver.Connect, FD: id, Addr: addr})
		r.greet(id, r.mine(sys.Accept(listening)))
	}
}

func connectRefused(r *rig) {
	fd, local := r.datagramSocket() // a port of UDP that nobody listens to in TCP, most likely
	r.mine(fd, nil)
	for range 3 {
		addr, family := sys.EncodeAddress(nil, local)
		fd, err := sys.Socket(family, sys.Stream, true)
		r.must(err)
		id := r.adopt(fd)
		if c := r.do(driver.Op{Code: driver.Connect, FD: id, Addr: addr}); c.Err != syscall.ECONNREFUSED {
			r.Fatalf("a connect that is refused: %+v", c)
		}
		r.close(id)
	}
	absent, err := sys.EncodeUnix(fmt.Sprintf("@myriad-drivertest-absent-%d", r.random.IntN(math.MaxInt)))
	r.must(err)
	fd, err = sys.Socket(sys.Unix, sys.Stream, true)
	r.must(err)
	c := r.do(driver.Op{Code: driver.Connect, FD: r.adopt(fd), Addr: absent})
	if c.Err != syscall.ECONNREFUSED {
		r.Fatalf("a connect to a name that nobody has: %+v", c)
	}
}
