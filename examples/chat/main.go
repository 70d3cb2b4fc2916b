// Command chat is rooms over WebSocket, on any number of servers: who talks on one is heard on all of them, and who
// loses one goes to another and misses nothing.
//
//	go run ./examples/chat                                   # one server, with a bus of its own
//	go run ./examples/chat --workers 4                       # four worker processes and a bus, all of them supervised
//	go run ./examples/chat --bus nats://127.0.0.1:4222       # one of several, on a bus that is there
//	go run ./examples/chat users --users 10000               # many people, who talk and check what they hear
//
// A message is appended to the journal of the bus, and goes to people when it comes back from there, in the order and
// with the number that it has for everybody. So a server keeps nothing that others do not have, and a client that comes
// back says the number of the last message that it has seen.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/web"
)

//go:embed page.html
var page []byte

type commands struct {
	Serve serving `cmd:"" default:"withargs" help:"Serve rooms."`
	Bus   machine `cmd:"" help:"Run a bus alone: the third of a cluster, that has a majority when one of two is away."`
	Users crowd   `cmd:"" help:"Be many people in many rooms, and tell what they heard."`
}

// place is where a server of the chat listens, and what it serves with: all that a worker has to know.
type place struct {
	Listen string `default:"127.0.0.1:8080" help:"Where people connect."`
	Driver string `default:"auto" help:"How the kernel tells of connections."`
	Bus    string `help:"The bus, nats://HOST:PORT; one of this program's own if it is not said."`
	Token  string `env:"CHAT_BUS_TOKEN" help:"What the bus asks for."`
	Copies int    `default:"1" help:"On how many machines of a cluster the journal is kept: 1, 3 or 5."`
}

// serving is one server, or several that share an address.
type serving struct {
	place   `embed:""`
	machine `embed:""`
	Workers int `help:"Worker processes; without any, this process serves."`
}

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	if proc.IsChild() {
		err = serveAsChild(log)
	} else {
		var c commands
		chosen := kong.Parse(&c, kong.Name("chat"), kong.Description("Rooms over WebSocket."))
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
		err = c.run(ctx, chosen.Command(), log)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func (c *commands) run(ctx context.Context, command string, log *slog.Logger) error {
	switch command {
	case "users":
		return c.Users.run(ctx, os.Stdout)
	case "bus":
		return c.Bus.run(ctx, log)
	}
	if c.Serve.Workers > 0 {
		return c.Serve.supervise(ctx, log, nil)
	}
	return c.Serve.run(ctx, log)
}

// run serves until ctx is done, in this process.
func (s *serving) run(ctx context.Context, log *slog.Logger) error {
	at := bus.Options{URLs: []string{s.Bus}, Token: s.Token, Name: "chat", Log: log}
	if s.Bus == "" {
		own, end, err := s.open(s.Token, log)
		if err != nil {
			return err
		}
		defer end()
		at = bus.Options{Server: own, Name: "chat", Log: log}
		if url := own.URL(); url != "" {
			log.Info("others may use the bus", "url", url, "token", "as CHAT_BUS_TOKEN says")
		}
	}
	b, err := bus.Connect(at)
	if err != nil {
		return err
	}
	defer b.Close()
	return s.serve(ctx, b, log, func() { log.Info("open for everybody", "page", "http://"+s.Listen+"/") })
}

// serve lets people in until ctx is done. ready is called when they can come.
func (p *place) serve(ctx context.Context, b *bus.Bus, log *slog.Logger, ready func()) error {
	chat, err := newChat(ctx, b, p.Copies, log)
	if err != nil {
		return err
	}
	defer chat.close()
	// With two loops or more the address can be shared, also with other processes.
	server := &myriad.Server{Listen: []string{p.Listen}, HTTP: chat, Driver: p.Driver, Loops: 2, Log: log, Ready: ready}
	return server.Serve(ctx)
}

var pageAnswer = web.NewAnswer(200, "text/html; charset=utf-8", page)
