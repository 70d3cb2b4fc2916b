package rtsig_test

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/rtsig"
)

var options = map[string]func() driver.Options{
	"each signal":    func() driver.Options { return driver.Options{} },
	"per descriptor": func() driver.Options { return driver.Options{PerDescriptor: true} },
}

func TestDriver(t *testing.T) {
	for name, o := range options {
		t.Run(name, func(t *testing.T) { drivertest.Run(t, rtsig.Factory, o) })
	}
}

func BenchmarkEcho(b *testing.B) {
	for name, o := range options {
		b.Run(name, func(b *testing.B) { drivertest.Benchmark(b, rtsig.Factory, o) })
	}
}
