// Command chat is rooms over WebSocket, on any number of servers: who talks on one is heard on all of them, and who
// loses one goes to another and misses nothing.
//
//	go run ./examples/chat                                   # one server, with a bus of its own
//	go run ./examples/chat --bus nats://127.0.0.1:4222       # one of several, on a bus that is there
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
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/web"
)

//go:embed page.html
var page []byte

type options struct {
	Listen string `default:"127.0.0.1:8080" help:"Where people connect."`
	Driver string `default:"auto" help:"How the kernel tells of connections."`
	Bus    string `help:"The bus, nats://HOST:PORT; one of this process's own if it is not said."`
	Token  string `env:"CHAT_BUS_TOKEN" help:"What the bus asks for."`
	Offer  string `placeholder:"ADDR" help:"Let others use the bus of this process, at 127.0.0.1:4222 or the like."`
	Dir    string `help:"Where the bus of this process keeps what was said; a temporary folder if it is not said."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("chat"), kong.Description("Rooms over WebSocket."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, o *options, log *slog.Logger) error {
	at := bus.Options{URLs: []string{o.Bus}, Token: o.Token, Name: "chat", Log: log}
	if o.Bus == "" {
		own, end, err := o.ownBus(log)
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
	chat, err := newChat(ctx, b, log)
	if err != nil {
		return err
	}
	defer chat.close()
	s := &myriad.Server{Listen: []string{o.Listen}, HTTP: chat, Driver: o.Driver, Log: log}
	s.Ready = func() { log.Info("open for everybody", "page", "http://"+o.Listen+"/") }
	return s.Serve(ctx)
}

// ownBus starts a bus within this process.
func (o *options) ownBus(log *slog.Logger) (*bus.Server, func(), error) {
	dir, remove := o.Dir, func() {}
	if dir == "" {
		made, err := os.MkdirTemp("", "chat-")
		if err != nil {
			return nil, nil, err
		}
		dir, remove = made, func() { _ = os.RemoveAll(made) }
	}
	options := bus.ServerOptions{Dir: dir, Log: log, Token: o.Token}
	if o.Offer != "" {
		var err error
		if options.Listen, err = netip.ParseAddrPort(o.Offer); err != nil {
			remove()
			return nil, nil, fmt.Errorf("--offer: %w", err)
		}
		if o.Token == "" {
			remove()
			return nil, nil, errors.New("--offer needs CHAT_BUS_TOKEN, which the other servers say as well")
		}
	}
	s, err := bus.Serve(options)
	if err != nil {
		remove()
		return nil, nil, err
	}
	return s, func() { s.Close(); remove() }, nil
}

var pageAnswer = web.NewAnswer(200, "text/html; charset=utf-8", page)
