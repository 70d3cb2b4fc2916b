package drivertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// patience is how long anything may take that must happen.
const patience = 20 * time.Second

// rigRoom is how much room a case gives the driver; zero fields have defaults.
type rigRoom struct {
	operations  int
	completions int // of one Wait
	blocks      int
	blockBytes  int
	pipes       int
}

// rig is a driver under test. It accounts for every token: each must be new, be
// completed once without More, and come with what it was submitted with.
type rig struct {
	testing.TB
	d       driver.Driver
	options driver.Options
	random  *rand.Rand
	room    []driver.Completion
	live    map[driver.Token]*flight
	retired map[driver.Token]bool
	users   uint64
	order   int // completions so far
	owned   map[int]bool
	pipes   map[*driver.Pipe]bool // of the test, at the moment
	far     []int                 // descriptors of the test itself
	hold    bool                  // keep blocks in the flights instead of copying them
	closed  bool
	before  []string
}

// flight is one operation and what has come of it.
type flight struct {
	op      driver.Op
	token   driver.Token
	results []driver.Completion // not yet taken by next
	data    []byte              // received bytes, in order
	peers   []netip.AddrPort    // RecvFrom: where each datagram came from
	sizes   []int               // RecvFrom: their lengths
	blocks  []*buf.Block        // if the rig holds
	total   int                 // sum of the results
	over    bool
	last    driver.Completion
	order   int // when it was over
}

func newRig(t testing.TB, f driver.Factory, o driver.Options, room rigRoom) *rig {
	t.Helper()
	runtime.LockOSThread()
	before := descriptors(t)
	pool, err := buf.NewPool(or(room.blockBytes, 4096), or(room.blocks, 256), sys.Map)
	if err != nil {
		t.Fatal(err)
	}
	o.Blocks, o.Ops = pool, or(room.operations, 1024)
	o.Pipes = driver.NewPipes(or(room.pipes, 64), sys.RoomyPipe, sys.Close)
	d, err := f.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if d.Name() != f.Name {
		t.Errorf("the driver of %q calls itself %q", f.Name, d.Name())
	}
	r := &rig{
		TB: t, d: d, options: o, random: seed(t), room: make([]driver.Completion, or(room.completions, 256)),
		live: map[driver.Token]*flight{}, retired: map[driver.Token]bool{}, owned: map[int]bool{}, before: before,
		pipes: map[*driver.Pipe]bool{},
	}
	t.Cleanup(r.end)
	return r
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// end cancels and closes everything and looks for what was left behind.
func (r *rig) end() {
	defer runtime.UnlockOSThread()
	if !r.closed {
		for token := range r.live {
			r.must(r.d.Cancel(token))
		}
		r.until("everything cancelled is over", func() bool { return len(r.live) == 0 })
		for _, id := range sorted(r.owned) {
			r.close(id)
		}
		r.must(r.d.Close())
	}
	for _, fd := range r.far {
		_ = sys.Close(fd)
	}
	for p := range r.pipes {
		p.Release()
	}
	if n := r.options.Pipes.Lent(); n != 0 {
		r.Errorf("%d pipes are lent out at the end", n)
	}
	r.options.Pipes.Close()
	if n := r.options.Blocks.Lent(); n != 0 {
		r.Errorf("%d blocks are lent out at the end", n)
	}
	if after := descriptors(r); !slices.Equal(r.before, after) {
		r.Errorf("descriptors before:\n%s\nafter:\n%s", strings.Join(r.before, "\n"), strings.Join(after, "\n"))
	}
}

func sorted(set map[int]bool) (list []int) {
	for v := range set {
		list = append(list, v)
	}
	slices.Sort(list)
	return list
}

// ownPoller has the runtime open its own poller, which it keeps, before descriptors
// are counted.
var ownPoller = sync.OnceValue(func() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	return errors.Join(read.Close(), write.Close())
})

// descriptors lists what the process has open.
func descriptors(t testing.TB) (open []string) {
	t.Helper()
	if err := ownPoller(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		target, err := os.Readlink("/proc/self/fd/" + name.Name())
		if err != nil || strings.HasPrefix(target, "/proc/") {
			continue // the directory that was read
		}
		open = append(open, name.Name()+" "+target)
	}
	slices.Sort(open)
	return open
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// start submits an operation; a full driver is waited for.
func (r *rig) start(op driver.Op) *flight {
	r.Helper()
	f, err := r.try(op)
	for deadline := time.Now().Add(patience); errors.Is(err, driver.ErrFull); f, err = r.try(op) {
		if time.Now().After(deadline) {
			r.Fatal("the driver stays full")
		}
		r.turn(time.Millisecond)
	}
	if err != nil {
		r.Fatalf("submit: %v", err)
	}
	return f
}

// try submits an operation once.
func (r *rig) try(op driver.Op) (*flight, error) {
	r.Helper()
	r.users++
	op.User = r.users<<32 | uint64(op.Code)
	token, err := r.d.Submit(op)
	if err != nil {
		return nil, err
	}
	if token == 0 || r.live[token] != nil || r.retired[token] {
		r.Fatalf("token %#x is zero or not new", token)
	}
	f := &flight{op: op, token: token}
	delete(r.pipes, op.Pipe)
	r.live[token] = f
	return f, nil
}

// turn waits once and accounts for what comes.
func (r *rig) turn(d time.Duration) int {
	r.Helper()
	n, err := r.d.Wait(r.room, d)
	if err != nil {
		r.Fatalf("wait: %v", err)
	}
	for i := range r.room[:n] {
		r.account(r.room[i])
		r.room[i] = driver.Completion{}
	}
	return n
}

func (r *rig) account(c driver.Completion) {
	r.Helper()
	r.order++
	f := r.live[c.Token]
	if f == nil {
		r.Fatalf("a completion of %#x, which is not in flight (it was: %v): %+v", c.Token, r.retired[c.Token], c)
	}
	if c.User != f.op.User || c.Code != f.op.Code {
		r.Fatalf("a completion with another operation's values: %+v of %+v", c, f.op)
	}
	more := c.Flags&driver.More != 0
	if more && (c.Err != nil || !f.op.Many && f.op.Code != driver.SendFile && f.op.Code != driver.SpliceOut) {
		r.Fatalf("More is not to be expected here: %+v", c)
	}
	f.total += c.Result
	if c.Block != nil {
		f.data = append(f.data, c.Block.Bytes()[:c.Result]...)
		if c.Code == driver.RecvFrom {
			f.peers, f.sizes = append(f.peers, c.Block.Peer), append(f.sizes, c.Result)
		}
		if r.hold {
			f.blocks = append(f.blocks, c.Block)
		} else {
			c.Block.Release()
		}
		c.Block = nil
	}
	if c.Code == driver.Accept && c.Err == nil {
		r.owned[c.Result] = true
	}
	if c.Pipe != nil {
		r.pipes[c.Pipe] = true
	}
	if c.Code == driver.Close {
		delete(r.owned, f.op.FD)
	}
	f.results = append(f.results, c)
	if !more {
		f.over, f.last, f.order = true, c, r.order
		delete(r.live, c.Token)
		r.retired[c.Token] = true
	}
}

// until takes turns until done.
func (r *rig) until(what string, done func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			r.Fatalf("does not happen: %s\nin flight: %s", what, r.flying())
		}
		r.turn(time.Millisecond)
	}
}

func (r *rig) flying() string {
	var b strings.Builder
	for _, f := range r.live {
		fmt.Fprintf(&b, "\n%#x: code %d on %d, %d so far", f.token, f.op.Code, f.op.FD, f.total)
	}
	return b.String()
}

// next is the flight's oldest completion that was not asked for yet.
func (r *rig) next(f *flight) driver.Completion {
	r.Helper()
	r.until("a completion", func() bool { return len(f.results) > 0 })
	c := f.results[0]
	f.results = f.results[1:]
	return c
}

// finish is the flight's last completion.
func (r *rig) finish(f *flight) driver.Completion {
	r.Helper()
	r.until(fmt.Sprintf("the end of code %d", f.op.Code), func() bool { return f.over })
	return f.last
}

// do submits an operation and gives its last completion.
func (r *rig) do(op driver.Op) driver.Completion {
	r.Helper()
	return r.finish(r.start(op))
}

// ok is do for what must succeed.
func (r *rig) ok(op driver.Op) int {
	r.Helper()
	c := r.do(op)
	if c.Err != nil {
		r.Fatalf("code %d: %v", op.Code, c.Err)
	}
	return c.Result
}

// silent checks that nothing comes of f in a while.
func (r *rig) silent(f *flight) {
	r.Helper()
	for range 3 {
		r.turn(2 * time.Millisecond)
	}
	if f.over || len(f.results) > 0 {
		r.Fatalf("code %d completes for no reason: %+v", f.op.Code, f.last)
	}
}

// adopt gives a descriptor to the driver; the rig closes it in the end.
func (r *rig) adopt(fd int) int {
	r.Helper()
	id, err := r.d.Adopt(fd)
	r.must(err)
	r.owned[id] = true
	return id
}

func (r *rig) close(id int) {
	r.Helper()
	r.ok(driver.Op{Code: driver.Close, FD: id})
}

// mine makes the test the owner of a descriptor.
func (r *rig) mine(fd int, err error) int {
	r.Helper()
	r.must(err)
	r.far = append(r.far, fd)
	return fd
}

// drop closes a descriptor of the test.
func (r *rig) drop(fd int) {
	r.far = slices.DeleteFunc(r.far, func(other int) bool { return other == fd })
	r.must(sys.Close(fd))
}

// write sends all of p from the far end while the driver works.
func (r *rig) write(fd int, p []byte) {
	r.Helper()
	r.until("the far end has written", func() bool {
		n, err := sys.Send(fd, p, 0)
		if err != nil && err != syscall.EAGAIN {
			r.Fatalf("the far end: %v", err)
		}
		if err == nil {
			p = p[n:]
		}
		return len(p) == 0
	})
}

// read receives n bytes, or up to the end if n < 0, at the far end while the
// driver works.
func (r *rig) read(fd, n, step int) []byte {
	r.Helper()
	var all []byte
	room := make([]byte, step)
	r.until("the far end has read", func() bool {
		if len(all) == n {
			return true
		}
		most := len(room)
		if n >= 0 {
			most = min(most, n-len(all))
		}
		k, err := sys.Recv(fd, room[:most], 0)
		if err != nil {
			if err != syscall.EAGAIN {
				r.Fatalf("the far end: %v", err)
			}
			return false
		}
		all = append(all, room[:k]...)
		return k == 0 || len(all) == n
	})
	return all
}

// same compares without printing megabytes.
func (r *rig) same(what string, got, want []byte) {
	r.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	r.Fatalf("%s: %d bytes instead of %d, the first difference at %d", what, len(got), len(want), at)
}

// bytes gives n random bytes.
func (r *rig) bytes(n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], r.random.Uint64())
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p) // it never fails
	return p
}
