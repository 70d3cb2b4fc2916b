package sys

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTestRing opens a ring for the test's goroutine, or fails the test: every supported kernel has one.
func openTestRing(t *testing.T) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := OpenRing(8, 32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func tcpPair(t *testing.T) (a, b int) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	defer unix.Close(l)
	must(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(l, 1))
	name, err := unix.Getsockname(l)
	must(err)
	a, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	must(unix.Connect(a, name))
	b, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	must(err)
	t.Cleanup(func() { unix.Close(a); unix.Close(b) })
	return a, b
}

// A silent send is the heart of the ring driver: what the socket takes whole posts nothing, and what it does not
// take whole posts, inside the same enter, how much it took.
func TestSilentSend(t *testing.T) {
	r := openTestRing(t)
	fd, _ := tcpPair(t)
	const flags = MsgDontWait | MsgWaitAll
	small, big := make([]byte, 100), make([]byte, 64<<20)
	send := func(p []byte, vector bool) (res int32, posted bool) {
		s := r.Next()
		if vector {
			r.SendVector(s, fd, p[:len(p)/2], [][]byte{p[len(p)/2:]}, nil, flags, 7)
		} else {
			s.Send(fd, p, flags, 7)
		}
		s.Flags |= SkipSuccess
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		if r.Pending() {
			t.Fatal("the submission was not taken")
		}
		if r.Ready() == 0 {
			return 0, false
		}
		o := *r.Outcome(0)
		r.Seen(1)
		if o.UserData != 7 {
			t.Fatalf("user data %d", o.UserData)
		}
		return o.Res, true
	}
	for _, vector := range []bool{false, true} {
		if vector {
			fd, _ = tcpPair(t)
		}
		if res, posted := send(small, vector); posted {
			t.Fatalf("a whole send posted %d", res)
		}
		res, posted := send(big, vector)
		if !posted || res <= 0 || int(res) >= len(big) {
			t.Fatalf("a partial send: posted %v, result %d; want the bytes taken", posted, res)
		}
		if res, posted = send(big, vector); !posted || syscall.Errno(-res) != syscall.EAGAIN {
			t.Fatalf("a send into a full socket: posted %v, result %d; want EAGAIN", posted, res)
		}
	}
}

func TestOpcodes(t *testing.T) {
	known, err := openTestRing(t).Opcodes()
	if err != nil {
		t.Fatal(err)
	}
	if !known[RingSend] || !known[RingRecv] || known[255] {
		t.Fatalf("opcodes: %v", known)
	}
}

// A wait for more outcomes than there will be ends with the tick: the kernel counts a timeout as reason enough.
func TestTickEndsAnyWait(t *testing.T) {
	r := openTestRing(t)
	fd, far := tcpPair(t)
	r.Next().Poll(fd, PollIn, false, 7)
	r.Tick(r.Next(), 20e6, 8)
	if _, err := unix.Write(far, []byte{1}); err != nil {
		t.Fatal(err)
	}
	for r.Ready() < 2 {
		if err := r.EnterBriefly(8); err != nil && err != syscall.EINTR {
			t.Fatal(err)
		}
	}
	for i, want := range []uint64{7, 8} {
		if got := r.Outcome(uint32(i)).UserData; got != want {
			t.Errorf("outcome %d is of %d, want %d", i, got, want)
		}
	}
	r.Seen(r.Ready())
}
