package loop

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/conn"
)

// TestSlots admits and vacates at random: a slot has one connection at a time, an ID finds its connection while it is
// open and never another one, and slots are used again.
func TestSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Loop{vacant: none, number: uint8(rapid.IntRange(0, maxLoops-1).Draw(t, "loop"))}
		running[l.number] = l
		defer func() { running[l.number] = nil }()
		live := map[uint64]*connection{}
		var ids, gone []uint64
		most := 0
		for range rapid.IntRange(0, 1500).Draw(t, "steps") {
			if len(ids) == 0 || rapid.IntRange(0, 99).Draw(t, "kind") < 60 {
				c := l.admit(7, 0)
				if live[c.ID()] != nil || c.state != conn.Open || l.at(c.index) != c {
					t.Fatalf("slot %d was given twice", c.index)
				}
				live[c.ID()], ids = c, append(ids, c.ID())
			} else {
				i := rapid.IntRange(0, len(ids)-1).Draw(t, "which")
				l.vacate(live[ids[i]])
				delete(live, ids[i])
				gone = append(gone, ids[i])
				ids = append(ids[:i], ids[i+1:]...)
			}
			most = max(most, len(ids))
			if l.open != len(ids) || int(l.made) > most {
				t.Fatalf("%d open, want %d; %d slots made for %d at most", l.open, len(ids), l.made, most)
			}
		}
		for id, c := range live {
			if l.find(id) != c {
				t.Fatalf("connection %x is not found", id)
			}
		}
		for _, id := range gone {
			if l.find(id) != nil {
				t.Fatalf("connection %x is found after its end", id)
			}
		}
	})
}

// TestIdleBytes holds an idle connection to one cache line, and what is attached to it to a place beside.
func TestIdleBytes(t *testing.T) {
	if size := reflect.TypeFor[connection]().Size(); size != 64 {
		t.Errorf("a slot has %d bytes", size)
	}
	if size := reflect.TypeFor[aside]().Size(); size != 12 {
		t.Errorf("what lies beside a slot has %d bytes", size)
	}
	if size := reflect.TypeFor[[placesChunk]any]().Size() / placesChunk; size != 16 {
		t.Errorf("a place has %d bytes", size)
	}
	l := &Loop{vacant: none}
	running[0] = l
	defer func() { running[0] = nil }()
	v := new(int)
	rapid.Check(t, func(t *rapid.T) {
		var all []*connection
		model := map[*connection]any{}
		for range rapid.IntRange(0, 3000).Draw(t, "steps") {
			switch i := len(all); rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				c := l.admit(7, 0)
				if c.Attached() != nil {
					t.Fatal("something is attached to a new connection")
				}
				c.Attach(v)
				all, model[c] = append(all, c), v
			case 2:
				if i > 0 {
					c := all[rapid.IntRange(0, i-1).Draw(t, "which")]
					c.Attach(i)
					model[c] = i
				}
			case 3:
				if i > 0 {
					c := all[rapid.IntRange(0, i-1).Draw(t, "which")]
					c.Attach(nil)
					delete(model, c)
				}
			}
		}
		for _, c := range all {
			if c.Attached() != model[c] {
				t.Fatalf("%v is attached, not %v", c.Attached(), model[c])
			}
		}
		if used := int(l.places.made) - len(l.places.free); used != len(model) {
			t.Fatalf("%d places are used for %d", used, len(model))
		}
		for _, c := range all {
			c.Attach(nil)
			l.vacate(c)
		}
	})
}
