package reactor_test

import (
	"fmt"
	"testing"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/reactor"
	"github.com/myriad-server/myriad/serve/servetest"
)

// TestModel covers the model's own choices; package standard's tests run it over every driver.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		name   string
		driver driver.Factory
		accept serve.Accept
		spread balance.Policy
	}{
		{"epoll reuseport", epoll.Factory, serve.ReusePort, nil},
		{"epoll acceptor", epoll.Factory, serve.OneAcceptor, balance.LeastConnections{}},
		{"uring reuseport", uring.Factory, serve.ReusePort, nil},
		{"uring acceptor", uring.Factory, serve.OneAcceptor, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := servetest.Site()
			site.Driver, site.Accept, site.Spread = c.driver, c.accept, c.spread
			servetest.Suite{Model: reactor.New(), Site: site}.Run(t)
		})
	}
}

// TestMoving has connections leave and arrive with one loop and with several: the suite has two.
func TestMoving(t *testing.T) {
	for _, f := range []driver.Factory{epoll.Factory, uring.Factory} {
		for _, loops := range []int{1, 4} {
			t.Run(fmt.Sprint(f.Name, " ", loops), func(t *testing.T) {
				site := servetest.Site()
				site.Driver, site.Limits.Loops = f, loops
				servetest.Suite{Model: reactor.New(), Site: site}.RunMoving(t)
			})
		}
	}
}
