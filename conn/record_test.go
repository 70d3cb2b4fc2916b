package conn

import (
	"errors"
	"testing"
)

// TestMemory fills a memory with more ends than it keeps: the last ones of each kind are there, in their order, and
// many that were orderly do not push out the others.
func TestMemory(t *testing.T) {
	var m Memory
	if len(m.Recall()) != 0 {
		t.Error("a new memory recalls something")
	}
	why := errors.New("odd")
	for i := range 3 * memoryEnds {
		r := Record{ID: uint64(i)}
		if i%100 == 7 {
			r.Why = why
		}
		m.Keep(&r)
	}
	var orderly, broken []uint64
	for _, r := range m.Recall() {
		if r.Why == nil {
			orderly = append(orderly, r.ID)
		} else {
			broken = append(broken, r.ID)
		}
	}
	if len(orderly) != memoryEnds || orderly[memoryEnds-1] != 3*memoryEnds-1 {
		t.Errorf("%d orderly ends, the last one %d", len(orderly), orderly[len(orderly)-1])
	}
	if len(broken) != 16 || broken[0] != 7 {
		t.Errorf("the others are %v", broken)
	}
	for _, ids := range [][]uint64{orderly, broken} {
		for i := 1; i < len(ids); i++ {
			if ids[i] <= ids[i-1] {
				t.Fatalf("%d comes after %d", ids[i], ids[i-1])
			}
		}
	}
}
