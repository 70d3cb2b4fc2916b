// Package socket proves the WebSocket service on real drivers, against clients that others have written.
package socket

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/proto/ws/wstest"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is going to happen.
const patience = 60 * time.Second

// echo sends every message back, as the kind that it was.
type echo struct{ socket.Defaults }

func (echo) Message(c *socket.Conn, opcode ws.Opcode, p []byte) {
	if err := c.Send(opcode, p); err != nil {
		c.Close(ws.CodeInternal, err.Error())
	}
}

// echoes are the options of a server that takes all of the table.
var echoes = socket.Options{
	Limits: ws.Limits{MessageBytes: wstest.LargestMessage}, QueueBytes: 2 * wstest.LargestMessage,
	Deflate: &ws.Deflate{}, CompressBytes: 1, Protocols: []string{"chat.v2", "chat.v1"},
}

// started counts servers.
var started atomic.Int32

// start serves on a driver until the test ends, and returns the address.
func start(t testing.TB, driver string, h web.Handler) string {
	t.Helper()
	return serve(t, &myriad.Server{HTTP: h, Driver: driver, Loops: 2, Connections: 5000, Drain: time.Second})
}

// serve has a server listen until the test ends, and returns the address.
func serve(t testing.TB, s *myriad.Server) string {
	t.Helper()
	// An address of this process alone, so that nobody else has the port.
	id := os.Getpid()
	address := fmt.Sprintf("127.%d.%d.%d:%d", 64+id>>16&63, id>>8&255, max(id&255, 1), 20_000+started.Add(1))
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	s.Listen, s.Ready = []string{address}, func() { close(ready) }
	go func() { ended <- s.Serve(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		if s.Driver == "uring" && strings.Contains(err.Error(), "uring") {
			t.Skipf("the driver does not work here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return address
}

// dial connects, with a deadline for all that follows.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// drivers are those that the proofs run on: one that is told to try again, and one that completes.
var drivers = []string{"epoll", "uring"}

// TestConformance plays the whole table against a server, on both kinds of driver.
func TestConformance(t *testing.T) {
	cases := wstest.Cases(256 << 10)
	if testing.Short() || raceDetector {
		cases = wstest.Small(wstest.Cases(1 << 10))
	}
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			address := start(t, driver, socket.New(echo{}, echoes))
			var group sync.WaitGroup
			next := make(chan *wstest.Case)
			for range 2 {
				group.Go(func() {
					for c := range next {
						to := dial(t, address)
						if err := c.Run(to, "/"); err != nil {
							t.Errorf("%s, %s: %v", c.Number, c.What, err)
						}
						_ = to.Close()
					}
				})
			}
			for i := range cases {
				next <- &cases[i]
			}
			close(next)
			group.Wait()
			t.Logf("%d cases", len(cases))
		})
	}
}

// TestModels plays the groups that are about meaning, not about size, under the other drivers and models.
func TestModels(t *testing.T) {
	var cases []wstest.Case
	for _, c := range wstest.Small(wstest.Cases(1 << 10)) {
		group, _, _ := strings.Cut(c.Number, ".")
		if len(group) == 1 && group != "9" || strings.HasSuffix(c.Number, ".6") {
			cases = append(cases, c)
		}
	}
	for _, s := range []myriad.Server{
		{Driver: "poll"}, {Driver: "select"}, {Model: "goroutine"}, {Model: "workpool"}, {Model: "thread"}, {Model: "single"},
	} {
		t.Run(s.Driver+s.Model, func(t *testing.T) {
			s.HTTP = socket.New(echo{}, echoes)
			address := serve(t, &s)
			for _, c := range cases {
				to := dial(t, address)
				if err := c.Run(to, "/"); err != nil {
					t.Errorf("%s, %s: %v", c.Number, c.What, err)
				}
				_ = to.Close()
			}
			t.Logf("%d cases", len(cases))
		})
	}
}
