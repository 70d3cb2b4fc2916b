package uring

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
)

// variants are the driver as it is, and with everything so small that each limit is met all the time.
var variants = []struct {
	name   string
	direct bool
	shrink func(*tuning)
}{
	{name: "ordinary"},
	{name: "direct", direct: true},
	{name: "tiny queues", shrink: func(t *tuning) { t.submissions, t.outcomes, t.entries = 2, 4, 4 }},
	{name: "tiny queues and tables", direct: true, shrink: tinyTables},
}

func tinyTables(t *tuning) {
	t.submissions, t.outcomes, t.entries = 8, 16, 8
	t.tableSlots, t.tableQueue, t.tableOutcomes, t.margin = 64, 4, 16, 20
}

// variant is the factory of a driver whose tuning was shrunk.
func variant(shrink func(*tuning)) driver.Factory {
	f := Factory
	f.Open = func(o driver.Options) (driver.Driver, error) {
		t := standard(o)
		if shrink != nil {
			shrink(&t)
		}
		return open(o, t)
	}
	return f
}

func TestDriver(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			drivertest.Run(t, variant(v.shrink), func() driver.Options { return driver.Options{Direct: v.direct} })
		})
	}
}

func BenchmarkDriver(b *testing.B) {
	for _, v := range variants[:2] {
		b.Run(v.name, func(b *testing.B) {
			drivertest.Benchmark(b, variant(v.shrink), func() driver.Options { return driver.Options{Direct: v.direct} })
		})
	}
}
