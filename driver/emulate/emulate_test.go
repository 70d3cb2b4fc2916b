package emulate

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// script is a poller that does what it is told and counts what it is asked.
type script struct {
	next   []Hint
	lost   bool
	polls  []time.Duration
	sets   int
	wakes  int
	gone   []int
	refuse error
	broken error
	closed bool
}

func (s *script) Name() string { return "script" }

func (s *script) Set(int, Interest, Interest) error {
	s.sets++
	return s.refuse
}

func (s *script) Poll(dst []Hint, d time.Duration) (n int, lost bool, err error) {
	s.polls = append(s.polls, d)
	n = copy(dst, s.next)
	lost = s.lost
	if n == 0 && !lost && s.broken == nil && d > 0 {
		<-time.After(d)
	}
	s.next, s.lost = nil, false
	return n, lost, s.broken
}

func (s *script) Wake() error {
	s.wakes++
	return nil
}

func (s *script) Close() error {
	s.closed = true
	return nil
}

func (s *script) Gone(fd int) { s.gone = append(s.gone, fd) }

func (s *script) Part(fd int) { s.Gone(fd) }

// fixture is a machine over a script, with a pair of sockets.
type fixture struct {
	*testing.T
	s         *script
	m         *machine
	near, far int
	dst       [8]driver.Completion
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	pool, err := buf.NewPool(64, 16, buf.Heap)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, s: &script{}}
	d, err := New(f.s, driver.Options{Blocks: pool, Ops: 16}, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.m = d.(*machine)
	if f.near, f.far, err = sys.SocketPair(sys.Stream); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Adopt(f.near); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sys.Close(f.near)
		_ = sys.Close(f.far)
	})
	return f
}

func (f *fixture) submit(op driver.Op) driver.Token {
	f.Helper()
	op.FD = f.near
	token, err := f.m.Submit(op)
	if err != nil {
		f.Fatal(err)
	}
	return token
}

func (f *fixture) write(p string) {
	f.Helper()
	if _, err := sys.Send(f.far, []byte(p), 0); err != nil {
		f.Fatal(err)
	}
}

// wait gives the completions of a Wait that does not block.
func (f *fixture) wait() []driver.Completion {
	f.Helper()
	n, err := f.m.Wait(f.dst[:], 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range f.dst[:n] {
		if c.Block != nil {
			c.Block.Release()
		}
	}
	return f.dst[:n]
}

// TestSteadyState receives one block at a time and wants no change of interest
// and one poll for each.
func TestSteadyState(t *testing.T) {
	f := newFixture(t)
	f.m.table[f.near].marks &^= pieces // as if it were TCP
	f.submit(driver.Op{Code: driver.Recv})
	for range 10 {
		f.write("x")
		f.s.next = []Hint{{FD: f.near, What: Readable}}
		if got := f.wait(); len(got) != 1 || got[0].Result != 1 {
			t.Fatalf("received %+v", got)
		}
		f.submit(driver.Op{Code: driver.Recv})
	}
	if f.s.sets != 1 || len(f.s.polls) != 10 {
		t.Errorf("ten receives took %d changes of interest and %d polls", f.s.sets, len(f.s.polls))
	}
}

// TestDry leaves out the attempt that must be refused: bytes that no hint told of
// are not looked for.
func TestDry(t *testing.T) {
	f := newFixture(t)
	f.m.table[f.near].marks &^= pieces // as if it were TCP
	f.write("one")
	f.submit(driver.Op{Code: driver.Recv})
	if got := f.wait(); len(got) != 1 || got[0].Result != 3 {
		t.Fatalf("received %+v", got)
	}
	f.write("two") // behind a short read, and no hint yet
	f.submit(driver.Op{Code: driver.Recv})
	if got := f.wait(); len(got) != 0 {
		t.Fatalf("received %+v without a hint", got)
	}
	f.s.lost = true
	if got := f.wait(); len(got) != 1 || got[0].Result != 3 {
		t.Fatalf("received %+v after hints were lost", got)
	}
}

// TestUnwanted drops interest at the first hint that nobody waits for.
func TestUnwanted(t *testing.T) {
	f := newFixture(t)
	token := f.submit(driver.Op{Code: driver.Recv})
	if err := f.m.Cancel(token); err != nil {
		t.Fatal(err)
	}
	f.wait()
	if f.s.sets != 1 {
		t.Fatalf("%d changes of interest for one parked operation", f.s.sets)
	}
	for range 3 {
		f.s.next = []Hint{{FD: f.near, What: Readable}}
		f.wait()
	}
	if f.s.sets != 2 || f.m.table[f.near].want != 0 {
		t.Errorf("%d changes of interest, %d is still wanted", f.s.sets, f.m.table[f.near].want)
	}
}

// TestRefused has the poller refuse a descriptor: its operation must say so.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	f.s.refuse = syscall.ENOSPC
	f.submit(driver.Op{Code: driver.Recv})
	if got := f.wait(); len(got) != 1 || got[0].Err != syscall.ENOSPC {
		t.Fatalf("completed %+v", got)
	}
	f.s.refuse = nil
	f.submit(driver.Op{Code: driver.Recv})
	if got := f.wait(); len(got) != 0 {
		t.Fatalf("completed %+v", got)
	}
}

// TestBroken has the poller fail altogether.
func TestBroken(t *testing.T) {
	f := newFixture(t)
	f.s.broken = syscall.EINVAL
	if _, err := f.m.Wait(f.dst[:], -1); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Wait returns %v", err)
	}
	if _, err := f.m.Wait(nil, 0); err == nil {
		t.Error("Wait without room succeeds")
	}
}

// TestSecond refuses a second operation in the same direction rather than forget
// the first.
func TestSecond(t *testing.T) {
	f := newFixture(t)
	first := f.submit(driver.Op{Code: driver.Recv})
	second := f.submit(driver.Op{Code: driver.Recv})
	if got := f.wait(); len(got) != 1 || got[0].Token != second || got[0].Err != syscall.EBUSY {
		t.Fatalf("completed %+v", got)
	}
	f.write("x")
	f.s.next = []Hint{{FD: f.near, What: Readable}}
	if got := f.wait(); len(got) != 1 || got[0].Token != first || got[0].Result != 1 {
		t.Fatalf("completed %+v", got)
	}
}

// TestCloseCancels does not forget what is parked on a descriptor that is closed.
func TestCloseCancels(t *testing.T) {
	f := newFixture(t)
	parked := f.submit(driver.Op{Code: driver.Recv})
	closing := f.submit(driver.Op{Code: driver.Close})
	got := slices.Clone(f.wait())
	if len(got) != 2 || got[0].Token != parked || got[0].Err != driver.ErrCanceled || got[1].Token != closing {
		t.Fatalf("completed %+v", got)
	}
	if !slices.Equal(f.s.gone, []int{f.near}) {
		t.Errorf("the poller was told of %v", f.s.gone)
	}
}

// TestPauses is how the machine waits: briefly after traffic, long when idle, not
// at all with something to return.
func TestPauses(t *testing.T) {
	f := newFixture(t)
	want := func(d time.Duration, pauses ...time.Duration) {
		t.Helper()
		f.s.polls = nil
		if _, err := f.m.Wait(f.dst[:], d); err != nil {
			t.Fatal(err)
		}
		if len(f.s.polls) > 3 || !slices.Equal(f.s.polls[:min(len(f.s.polls), len(pauses))], pauses) {
			t.Errorf("Wait for %v polled for %v, not %v", d, f.s.polls, pauses)
		}
	}
	const short = sys.BriefWait / 2
	want(short, short)
	want(0, 0)
	f.submit(driver.Op{Code: driver.Shutdown})
	want(time.Hour, 0) // something to return
	f.s.next = []Hint{{FD: f.near, What: Readable}}
	want(2*sys.BriefWait, sys.BriefWait, 2*sys.BriefWait) // the hint is stale: nobody knows how long it took
	want(short, short)
	if err := f.m.Wake(); err != nil {
		t.Fatal(err)
	}
	want(-1, 0)
	f.s.next = nil
	want(3*sys.BriefWait, sys.BriefWait, 2*sys.BriefWait) // a wake is traffic
	if f.s.wakes != 1 {
		t.Errorf("one wake told the poller %d times", f.s.wakes)
	}
	for range 10 {
		if err := f.m.Wake(); err != nil {
			t.Fatal(err)
		}
	}
	if f.s.wakes != 2 {
		t.Errorf("ten wakes at once told the poller %d times", f.s.wakes-1)
	}
}

// TestPark holds what a parked receive costs, which a million connections pay.
func TestPark(t *testing.T) {
	if size := reflect.TypeFor[operation]().Size(); size > 32 {
		t.Errorf("an operation has %d bytes", size)
	}
	if size := reflect.TypeFor[entry]().Size(); size > 12 {
		t.Errorf("an entry has %d bytes", size)
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[operation](), reflect.TypeFor[entry]()} {
		for field := range kind.Fields() {
			if field.Type.Kind() < reflect.Bool || field.Type.Kind() > reflect.Uint64 {
				t.Errorf("%s.%s is a %v, which may hold a pointer", kind.Name(), field.Name, field.Type)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	pool, err := buf.NewPool(64, 1, buf.Heap)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []driver.Options{{}, {Blocks: pool}, {Ops: 5}, {Blocks: pool, Ops: -1}} {
		s := &script{}
		if _, err := New(s, o, 0); err == nil || !s.closed {
			t.Errorf("%+v: %v, the poller is closed: %v", o, err, s.closed)
		}
	}
}

func TestClosed(t *testing.T) {
	f := newFixture(t)
	if err := f.m.Close(); err != nil {
		t.Fatal(err)
	}
	_, submit := f.m.Submit(driver.Op{Code: driver.Recv})
	_, wait := f.m.Wait(f.dst[:], 0)
	for _, err := range []error{submit, wait, f.m.Cancel(1), f.m.Wake(), f.m.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("a closed driver answers %v", err)
		}
	}
}

func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var q queue[int]
	pushed, popped := 0, 0
	for range 20000 {
		if random.IntN(2) == 0 || q.size() == 0 {
			q.push(pushed)
			pushed++
			continue
		}
		if got := q.pop(); got != popped {
			t.Fatalf("popped %d instead of %d", got, popped)
		}
		popped++
		if q.size() != pushed-popped {
			t.Fatalf("size %d of %d", q.size(), pushed-popped)
		}
	}
	if cap(q.items) > 4096 {
		t.Errorf("a queue of at most a few hundred has room for %d", cap(q.items))
	}
}

func TestAdvance(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	for range 500 {
		var want, got []byte
		pieces := make([][]byte, 1+random.IntN(6))
		for i := range pieces {
			pieces[i] = bytes.Repeat([]byte{byte('a' + i)}, random.IntN(4))
			want = append(want, pieces[i]...)
		}
		c := cargo{head: pieces[0], rest: pieces[1:]}
		for c.advance(0) {
			flat := slices.Concat(append([][]byte{c.head}, c.rest...)...)
			n := 1 + random.IntN(len(flat))
			got = append(got, flat[:n]...)
			c.advance(n)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q passes as %q", want, got)
		}
	}
}

// TestSlots never gives a token twice, and finds none that was given back.
func TestSlots(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	var all slots
	seen := map[driver.Token]bool{}
	var live []driver.Token
	for range 20000 {
		if random.IntN(2) == 0 || len(live) == 0 {
			slot, o := all.take()
			o.code = driver.Recv
			token := all.tokenOf(slot)
			if token == 0 || seen[token] {
				t.Fatalf("token %#x is not new", token)
			}
			seen[token] = true
			live = append(live, token)
			continue
		}
		i := random.IntN(len(live))
		token := live[i]
		live = slices.Delete(live, i, i+1)
		slot, o := all.find(token)
		if o == nil {
			t.Fatalf("token %#x is lost", token)
		}
		all.give(slot)
		if _, o := all.find(token); o != nil {
			t.Fatalf("token %#x outlives its operation", token)
		}
	}
	if all.busy != len(live) {
		t.Errorf("%d slots are busy, %d should be", all.busy, len(live))
	}
}
