package wheel

import (
	"testing"
	"time"
)

const slots = 1 << 20

func full(buckets int) *Wheel {
	w := New(8*time.Millisecond, buckets, 0)
	for slot := range uint32(slots) {
		w.Set(slot, 60_000*millisecond+int64(slot)*millisecond/64)
	}
	return w
}

// BenchmarkSetLater is the path of a request: the deadline of a connection in use moves on.
func BenchmarkSetLater(b *testing.B) {
	for _, c := range []struct {
		name   string
		stride uint32
		mask   uint32
	}{
		{"64 of a million", 1, 63},
		{"any of a million", 7919, slots - 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := full(65536)
			b.ReportAllocs()
			at := 70_000 * millisecond
			slot := uint32(0)
			for b.Loop() {
				slot = (slot + c.stride) & c.mask
				at++
				w.Set(slot, at)
			}
		})
	}
}

// BenchmarkSetEarlier alternates between a relink and a lazy move.
func BenchmarkSetEarlier(b *testing.B) {
	w := full(65536)
	b.ReportAllocs()
	slot := uint32(0)
	for b.Loop() {
		slot = (slot + 7919) & (slots - 1)
		w.Clear(slot)
		w.Set(slot, 20_000*millisecond+int64(slot)*1000)
		w.Set(slot, 10_000*millisecond+int64(slot)*1000)
	}
}

// BenchmarkTurn is what every turn of a loop pays: Expire within the same tick, then Next.
func BenchmarkTurn(b *testing.B) {
	w := full(65536)
	b.ReportAllocs()
	now := int64(0)
	for b.Loop() {
		now += 10
		w.Expire(now%millisecond, nil)
		w.Next(now % millisecond)
	}
}

// BenchmarkIdleMillion advances a wheel with a million idle connections whose deadlines pass and are set again: the
// time is for each tick of 8 ms.
func BenchmarkIdleMillion(b *testing.B) {
	w := full(65536)
	dst := make([]uint32, 0, slots)
	b.ReportAllocs()
	now := int64(0)
	fired := 0
	for b.Loop() {
		now += int64(w.Tick())
		dst = w.Expire(now, dst[:0])
		for _, slot := range dst {
			w.Set(slot, now+60_000*millisecond)
		}
		fired += len(dst)
	}
	b.ReportMetric(float64(fired)/float64(b.N), "fired/op")
}
