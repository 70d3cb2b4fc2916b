// Command chat is rooms over WebSocket, on any number of servers: who talks on one is heard on all of them, and who
// loses one goes to another and misses nothing.
//
//	go run ./examples/chat                                   # one server, with a bus of its own
//	go run ./examples/chat --workers 4                       # four worker processes and a bus, all of them supervised
//	go run ./examples/chat --bus nats://127.0.0.1:4222       # one of several, on a bus that is there
//	go run ./examples/chat users --users 10000               # many people, who talk and check what they hear
//	kill -USR2 PID                                           # the program as it is by now goes on; nobody is cut off
//
// A message is appended to the journal of the bus, and goes to people when it comes back from there, in the order and
// with the number that it has for everybody. So a server keeps nothing that others do not have, and a client that comes
// back says the number of the last message that it has seen.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"

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

// loops is how many event loops a server of one process has; a worker has one.
const loops = 2

// upgrades gets something when another process is to go on.
func upgrades() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	return signals
}

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	if _, follows := os.LookupEnv(followVariable); proc.IsChild() && !follows {
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
		return c.Serve.supervise(ctx, log, upgrades(), nil)
	}
	return c.Serve.run(ctx, log)
}

// run serves until ctx is done, in this process, or until another one has taken over, which SIGUSR2 asks for.
func (s *serving) run(ctx context.Context, log *slog.Logger) error {
	before, err := followed()
	if err == nil {
		err = s.follow(ctx, before, log)
	}
	if before != nil && err != nil {
		_ = before.Fail(err) // it is heard when this comes before Ready
	}
	return err
}

// follow is run behind another process, if there is one. The bus of that one has to end before this one can have its
// own; what is said meanwhile waits.
func (s *serving) follow(ctx context.Context, before *predecessor, log *slog.Logger) error {
	group, err := s.sockets(before)
	if err != nil {
		return err
	}
	chat := newChat(log)
	defer chat.close()
	h, err := newHost(chat, &s.place, group, loops, log)
	if err != nil {
		return err
	}
	end := func() {}
	late := before != nil && s.Bus == ""
	if late {
		s.folder = before.dir
	} else if end, err = s.connect(ctx, chat, log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := upgrades()
	var beside sync.WaitGroup
	var failed error
	var next *proc.Channel
	err = h.serve(ctx, func() {
		log.Info("open for everybody", "page", "http://"+s.Listen+"/")
		beside.Go(func() {
			defer cancel()
			if before != nil {
				h.takeOver(ctx, before)
			}
			if late {
				if end, failed = s.connect(ctx, chat, log); failed != nil {
					return
				}
			}
			next = h.leave(ctx, asked, s.folder)
		})
	})
	cancel()
	beside.Wait()
	chat.close()
	s.left = next != nil
	end()
	if next != nil {
		next.Close()
	}
	return errors.Join(err, failed)
}

// connect has the rooms be on the bus: that of others, or one of this process.
func (s *serving) connect(ctx context.Context, chat *chat, log *slog.Logger) (end func(), err error) {
	at, endOwn := bus.Options{URLs: []string{s.Bus}, Token: s.Token, Name: "chat", Log: log}, func() {}
	if s.Bus == "" {
		var own *bus.Server
		if own, endOwn, err = s.open(s.Token, log); err != nil {
			return func() {}, err
		}
		at = bus.Options{Server: own, Name: "chat", Log: log}
		if url := own.URL(); url != "" {
			log.Info("others may use the bus", "url", url, "token", "as CHAT_BUS_TOKEN says")
		}
	}
	b, err := bus.Connect(at)
	if err != nil {
		endOwn()
		return func() {}, err
	}
	end = func() { b.Close(); endOwn() }
	if err := chat.open(ctx, b, s.Copies); err != nil {
		end()
		return func() {}, err
	}
	return end, nil
}

var pageAnswer = web.NewAnswer(200, "text/html; charset=utf-8", page)
