package buf

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// TestPool takes, holds and releases at random, against a plain account of who holds what.
func TestPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 300).Draw(t, "size")
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		p, err := NewPool(size, limit, Heap)
		if err != nil {
			t.Fatal(err)
		}
		holds := map[*Block]int{}
		var lent []*Block
		marks := map[*Block]byte{}
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case kind <= 1:
				b := p.Take()
				if (b == nil) != (len(lent) == limit) {
					t.Fatalf("Take with %d of %d lent: %v", len(lent), limit, b)
				}
				if b == nil {
					continue
				}
				if holds[b] != 0 || b.Size() != size || len(b.Bytes()) != size || cap(b.Bytes()) != size || b.Shared() {
					t.Fatalf("a block of %d bytes, capacity %d, held %d times", b.Size(), cap(b.Bytes()), holds[b])
				}
				holds[b], lent = 1, append(lent, b)
				marks[b] = byte(len(marks) + 1)
				for i := range b.Bytes() {
					b.Bytes()[i] = marks[b]
				}
			case len(lent) == 0:
			case kind == 2:
				b := lent[rapid.IntRange(0, len(lent)-1).Draw(t, "which")]
				b.Hold()
				holds[b]++
				if !b.Shared() {
					t.Fatal("a block that is held twice is not shared")
				}
			default:
				i := rapid.IntRange(0, len(lent)-1).Draw(t, "which")
				b := lent[i]
				for _, got := range b.Bytes() {
					if got != marks[b] {
						t.Fatal("two blocks share memory")
					}
				}
				b.Release()
				if holds[b]--; holds[b] == 0 {
					lent = append(lent[:i], lent[i+1:]...)
				}
			}
			if p.Lent() != len(lent) || p.Limit() != limit || p.BlockSize() != size {
				t.Fatalf("%d lent, want %d", p.Lent(), len(lent))
			}
		}
		free(t, p, lent, holds)
	})
}

// free gives everything back, and wants the memory returned only then.
func free(t *rapid.T, p *Pool, lent []*Block, holds map[*Block]int) {
	regions := 0
	give := func([]byte) error { regions++; return nil }
	if err := p.Free(give); (err == nil) != (len(lent) == 0) {
		t.Fatalf("Free with %d lent: %v", len(lent), err)
	}
	for _, b := range lent {
		for range holds[b] {
			b.Release()
		}
	}
	if err := p.Free(give); err != nil {
		t.Fatal(err)
	}
	if want := (p.limit + regionBlocks - 1) / regionBlocks; regions > max(want, 4) {
		t.Fatalf("%d regions were given back", regions)
	}
	if p.Take() != nil {
		t.Fatal("a pool lends although its memory is gone")
	}
}

func TestNewPoolRefuses(t *testing.T) {
	for _, c := range []struct{ size, limit int }{{0, 1}, {1, 0}, {-1, 1}, {1, -1}} {
		if _, err := NewPool(c.size, c.limit, Heap); err == nil {
			t.Errorf("a pool of %d blocks of %d bytes was made", c.limit, c.size)
		}
	}
}

func TestNoMemory(t *testing.T) {
	p, err := NewPool(512, 4, func(int) ([]byte, error) { return nil, errors.New("none left") })
	if err != nil {
		t.Fatal(err)
	}
	if p.Take() != nil || p.Lent() != 0 {
		t.Error("a block was lent without memory")
	}
}

func TestReleasedTooOften(t *testing.T) {
	p, err := NewPool(512, 4, Heap)
	if err != nil {
		t.Fatal(err)
	}
	b := p.Take()
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("a block was released more often than held, and nobody said so")
		}
	}()
	b.Release()
}

func BenchmarkTakeRelease(b *testing.B) {
	p, err := NewPool(16<<10, 64, Heap)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Take().Release()
	}
}

// TestInput has input leave an eighth of the blocks, if there are eight.
func TestInput(t *testing.T) {
	for _, c := range []struct{ limit, most int }{{1, 1}, {2, 2}, {7, 7}, {8, 7}, {17, 15}, {4096, 3584}} {
		p, err := NewPool(1, c.limit, Heap)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for p.TakesInput() {
			if p.TakeInput() == nil {
				t.Fatalf("no block, with %d of %d lent", p.Lent(), c.limit)
			}
			n++
		}
		if n != c.most || p.Left() != c.limit-c.most || p.TakeInput() != nil {
			t.Errorf("%d of %d blocks were taken for input, want %d", n, c.limit, c.most)
		}
		for range c.limit - c.most {
			if p.Take() == nil {
				t.Error("no block for output")
			}
		}
	}
}
