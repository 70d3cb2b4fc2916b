package uring

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

func TestRemaining(t *testing.T) {
	whole := []byte("abcdefghij")
	h := hold{buf: whole[:3], rest: [][]byte{whole[3:5], nil, whole[5:9], whole[9:]}, total: len(whole)}
	for h.taken = 0; h.taken <= len(whole); h.taken++ {
		var space [driver.RestMax][]byte
		head, rest := h.remaining(&space)
		if got := append(bytes.Clone(head), bytes.Join(rest, nil)...); !bytes.Equal(got, whole[h.taken:]) {
			t.Errorf("after %d bytes %q remains, want %q", h.taken, got, whole[h.taken:])
		}
	}
	if h.buf == nil || len(h.rest) != 4 || len(h.rest[0]) != 2 {
		t.Error("what the caller lent was changed")
	}
}

func TestTokensAreNew(t *testing.T) {
	table := table{limit: 3}
	defer table.close()
	seen := map[uint64]bool{}
	for range 100 {
		var slots []uint32
		for range 3 {
			slot, e := table.take()
			e.code = driver.Recv
			tok := token(slot, e)
			if seen[tok] || tok>>32 == 0 {
				t.Fatalf("token %#x is not new, or is one of the driver's own", tok)
			}
			seen[tok] = true
			slots = append(slots, slot)
		}
		if _, e := table.take(); e != nil {
			t.Fatal("a fourth operation of three")
		}
		for _, slot := range slots {
			table.give(slot, table.at(slot))
		}
	}
	for tok := range seen {
		if _, e := table.find(tok); e != nil {
			t.Fatalf("%#x is still found", tok)
		}
	}
	slot, e := table.take()
	e.code, e.generation = driver.Recv, ^uint32(0)
	if table.give(slot, e); e.generation == 0 {
		t.Error("generation 0 comes after the last")
	}
}

func TestQuietOrder(t *testing.T) {
	var q quiet
	next, taken := uint64(0), uint64(0)
	for i := range uint64(5000) {
		q.push(i, uint32(i))
		next++
		for next-taken > i%7 {
			if got := q.items[q.head].tok; got != taken {
				t.Fatalf("%d comes out instead of %d", got, taken)
			}
			q.head++
			taken++
		}
	}
	if cap(q.items) > 64 {
		t.Errorf("a queue of at most 7 grew to %d", cap(q.items))
	}
}

func TestUnsupported(t *testing.T) {
	for _, c := range []struct {
		err      error
		why, fix string
	}{
		{syscall.ENOSYS, "no io_uring", "6.6"},
		{syscall.EINVAL, "too old", "6.6"},
		{sys.RingLacks{What: "features 0x1"}, "features 0x1", "6.6"},
		{syscall.ENOMEM, "RLIMIT_MEMLOCK", "ulimit -l"},
		{syscall.EMFILE, "descriptor", "ulimit -n"},
		{syscall.EPERM, "", "io_uring"},
		{syscall.EIO, syscall.EIO.Error(), "6.6"},
	} {
		s := unsupported(c.err)
		if s.OK || !strings.Contains(s.Why, c.why) || !strings.Contains(s.Fix, c.fix) {
			t.Errorf("%v: %+v", c.err, s)
		}
		if err := explain(c.err); !errors.Is(err, c.err) || !strings.Contains(err.Error(), s.Fix) {
			t.Errorf("%v is explained as %v", c.err, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newRig(t, driver.Options{}, 1, nil)
	for _, o := range []driver.Options{
		{Ops: 1}, {Blocks: r.pool}, {Blocks: r.pool, Ops: -1}, {Blocks: r.pool, Ops: 1 << 31},
	} {
		if d, err := Open(o); err == nil {
			t.Errorf("%+v opens", o)
			_ = d.Close()
		}
	}
}
