// Package myriad serves connections: the shortest way into the engine.
//
// A [Server] names where to listen, how the kernel tells (the driver), who runs which connection (the model), and what
// answers: a handler of requests, or of bytes. Whoever needs more says it with the packages that this one puts
// together: serve for the models, driver and its folders for the kernel, loop for a single event loop, conn for the
// contract of handlers, web and proto/http1 for HTTP.
package myriad

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// Server is what is served and how. Zero values have the defaults stated; Listen, and one of HTTP and Bytes, are
// required.
type Server struct {
	// Listen holds addresses: "127.0.0.1:8080", ":80", "[::]:80", "unix:/run/it.sock", "unix:@abstract".
	Listen []string
	// HTTP answers requests. It is called on the thread of the connection and must not block under "reactor".
	HTTP web.Handler
	// Bytes makes handlers for protocols of your own: one for each loop, or as many as serve at the same time.
	Bytes func() conn.Handler
	// Driver is the name of a driver, or "auto", the default: the best that works here.
	Driver string
	// Model is the name of a model; "reactor" by default.
	Model string
	// Loops is the number of event loops; by default one for each processor.
	Loops int
	// Connections is the largest number of open connections. By default nine tenths of the descriptor limit.
	Connections int
	// Drain is how long a graceful stop may take; 30 s by default.
	Drain time.Duration
	// Ready, if set, is called once every address is being listened on.
	Ready func()
	// Log gets a line when accepting pauses and resumes; nothing is logged if nil.
	Log *slog.Logger
}

// The sizes that Serve chooses: blocks of 16 KiB, up to 64 MiB of them for each loop, 1 MiB of output a connection.
const (
	blockBytes  = 16 << 10
	blocks      = 4096
	outputBytes = 1 << 20
	workers     = 128
	queue       = 1024
)

// Serve serves until ctx is done, then stops gracefully: it accepts no more, lets connections finish what they began,
// and returns when the last one is closed or Drain has passed. It raises the soft limit on descriptors to the hard one.
func (s *Server) Serve(ctx context.Context) error {
	if len(s.Listen) == 0 {
		return errors.New("myriad: Listen is empty; name an address such as 127.0.0.1:8080")
	}
	if (s.HTTP == nil) == (s.Bytes == nil) {
		return errors.New("myriad: set one of HTTP and Bytes")
	}
	model, err := standard.Model(otherwise(s.Model, "reactor"))
	if err != nil {
		return err
	}
	site, err := s.site()
	if err != nil {
		return err
	}
	if model.Driver() == "" {
		if site.Driver, _, err = standard.Driver(otherwise(s.Driver, standard.Auto)); err != nil {
			return err
		}
	} else if s.Driver != "" && s.Driver != standard.Auto {
		return fmt.Errorf("myriad: the %s model brings its own driver (%s)", model.Name(), model.Driver())
	}
	var groups []*listen.Group
	defer func() {
		for _, g := range groups {
			g.Close()
		}
	}()
	handler := s.Bytes
	if handler == nil {
		handler = (&web.Server{Root: s.HTTP}).Handler
	}
	for _, address := range s.Listen {
		spec, err := listen.Parse(address)
		if err != nil {
			return err
		}
		if spec.Network == "udp" {
			return fmt.Errorf("myriad: %s is a datagram address; serve it with package serve", address)
		}
		spec.Backlog, spec.NoDelay = 4096, true
		spec.ReusePort = spec.Network == "tcp" && site.Limits.Loops > 1 && model.Driver() == ""
		g := listen.NewGroup(spec)
		groups = append(groups, g)
		site.Listeners = append(site.Listeners, serve.Listener{
			Name: address, Network: spec.Network, Open: g.Open, Closed: g.Closed, Handler: handler,
		})
	}
	return model.Serve(ctx, site)
}

// site is the part of the site that does not depend on addresses.
func (s *Server) site() (*serve.Site, error) {
	descriptors, _, err := sys.RaiseDescriptors()
	if err != nil {
		return nil, err
	}
	site := &serve.Site{
		Options: driver.Options{},
		Limits: serve.Limits{
			Loops: s.Loops, Workers: workers, Queue: queue, Connections: s.Connections,
			BlockBytes: blockBytes, Blocks: blocks, OutputBytes: outputBytes, Drain: s.Drain,
		},
		Ready: s.Ready, Log: s.Log,
	}
	if s.Loops == 0 {
		site.Limits.Loops = runtime.NumCPU()
	}
	if s.Connections == 0 {
		site.Limits.Connections = int(min(descriptors, 1<<24) / 10 * 9)
	}
	if s.Drain == 0 {
		site.Limits.Drain = 30 * time.Second
	}
	return site, nil
}

func otherwise(name, fallback string) string {
	if name == "" {
		return fallback
	}
	return name
}
