package app

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/config"
)

const (
	tellEvery   = 100 * time.Millisecond // how late processes know what others have admitted
	tellMost    = 64 << 10               // bytes of one message
	busPause    = time.Second            // between two attempts to reach a bus that was never there
	rateSubject = "myriad.rate."         // and what the rate is called
	originBytes = 8
)

// OwnBus is the bus that a configuration has the server run itself, or nil if there is none, or no need for one.
func OwnBus(c *config.Config) (*bus.ServerOptions, error) {
	if c.Bus == nil || len(c.Bus.Servers) > 0 || c.Engine.Processes == 0 && c.Bus.Cluster == nil {
		return nil, nil
	}
	o := new(bus.ServerOptions)
	own := c.Bus.Cluster
	if own == nil {
		return o, nil
	}
	secret, err := readSecret(own.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("bus.cluster.secret_file: %w", err)
	}
	o.Name = own.Node
	o.Cluster = &bus.Cluster{Name: own.Name, Routes: own.Routes, Secret: secret, Apart: true}
	if o.Cluster.Listen, err = netip.ParseAddrPort(own.Listen); err != nil {
		return nil, fmt.Errorf("bus.cluster.listen: %w", err)
	}
	// A server of a cluster has a socket for clients, also where it has none.
	o.Listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	return o, nil
}

func readSecret(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// gossip is what processes tell each other over the bus: what their clients have used of rates.
type gossip struct {
	app    *App
	origin [originBytes]byte // begins what this process tells, so that it knows it when it comes back
	stop   chan struct{}
	group  sync.WaitGroup
	own    *bus.Server // that runs in this process
}

// openBus begins to tell and to hear. Without a bus nothing runs.
func (a *App) openBus() error {
	c := a.now().plan.Config
	if c.Bus == nil {
		return nil
	}
	g := &gossip{app: a, stop: make(chan struct{})}
	at, own := a.options.Bus, (*bus.ServerOptions)(nil)
	switch {
	case at != nil:
	case len(c.Bus.Servers) > 0:
		at = &bus.Options{URLs: c.Bus.Servers}
		if c.Bus.TokenFile != "" {
			token, err := readSecret(c.Bus.TokenFile)
			if err != nil {
				return fmt.Errorf("bus.token_file: %w", err)
			}
			at.Token = token
		}
	default:
		var err error
		if own, err = OwnBus(c); own == nil || err != nil {
			return err
		}
		own.Log, at = a.options.Log, new(bus.Options)
	}
	_, _ = rand.Read(g.origin[:]) // it ends the program rather than to fail
	to := *at
	to.Name, to.Log = c.Server.Name, a.options.Log
	connected := make(chan *bus.Bus, 1)
	g.group.Go(func() { g.connect(to, own, connected) })
	g.group.Go(func() { g.tell(connected) })
	a.closers = append(a.closers, g.close)
	return nil
}

func (g *gossip) close() error {
	close(g.stop)
	g.group.Wait()
	if g.own != nil {
		g.own.Close()
	}
	return nil
}

// connect waits for the bus. Once it was there the client comes back to it by itself. An own one has to wait where the
// process that this one follows still has the address.
func (g *gossip) connect(at bus.Options, own *bus.ServerOptions, connected chan<- *bus.Bus) {
	for told := false; ; told = true {
		b, err := g.join(&at, own)
		if err == nil {
			connected <- b
			return
		}
		if !told {
			g.app.options.Log.Warn("the bus is away", "cause", err, "meanwhile", "rates count in each process for itself")
		}
		select {
		case <-time.After(busPause):
		case <-g.stop:
			close(connected)
			return
		}
	}
}

func (g *gossip) join(at *bus.Options, own *bus.ServerOptions) (*bus.Bus, error) {
	if own != nil && g.own == nil {
		s, err := bus.Serve(*own)
		if err != nil {
			return nil, err
		}
		g.own, at.Server = s, s
	}
	b, err := bus.Connect(*at)
	if err != nil {
		return nil, err
	}
	if _, err = b.Subscribe(rateSubject+"*", g.hear); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// tell tells, again and again, what was admitted here. What cannot be told is forgotten: it would come too late.
func (g *gossip) tell(connected <-chan *bus.Bus) {
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	var b *bus.Bus
	message := make([]byte, originBytes, tellMost)
	copy(message, g.origin[:])
	for {
		select {
		case b = <-connected:
			connected = nil
		case <-ticker.C:
			for name, l := range g.app.now().limiters {
				for {
					message = l.Told(message[:originBytes], tellMost-originBytes)
					if len(message) == originBytes {
						break
					}
					if b != nil {
						_ = b.Publish(rateSubject+name, message) // that the bus is away is in the log
					}
				}
			}
		case <-g.stop:
			if connected != nil {
				b = <-connected // it comes, or the channel is closed
			}
			if b != nil {
				b.Close()
			}
			return
		}
	}
}

// hear counts what another process has told. Rates that this one does not have are of no interest.
func (g *gossip) hear(m bus.Message) {
	l := g.app.now().limiters[strings.TrimPrefix(m.Subject, rateSubject)]
	if l != nil && len(m.Data) > originBytes && !bytes.Equal(m.Data[:originBytes], g.origin[:]) {
		l.Heard(m.Data[originBytes:])
	}
}
