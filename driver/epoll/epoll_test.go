package epoll_test

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/epoll"
)

var options = map[string]func() driver.Options{
	"edge":  func() driver.Options { return driver.Options{} },
	"level": func() driver.Options { return driver.Options{Level: true} },
}

func TestDriver(t *testing.T) {
	for name, o := range options {
		t.Run(name, func(t *testing.T) { drivertest.Run(t, epoll.Factory, o) })
	}
}

func BenchmarkEcho(b *testing.B) {
	for name, o := range options {
		b.Run(name, func(b *testing.B) { drivertest.Benchmark(b, epoll.Factory, o) })
	}
}
