package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/myriad-server/myriad/internal/bus"
)

// machine is the bus that a machine runs itself.
type machine struct {
	Offer   string   `placeholder:"ADDR" help:"Let others use the bus of this machine, at 127.0.0.1:4222 or the like."`
	Dir     string   `help:"Where the bus of this machine keeps what was said; a temporary folder if it is not said."`
	Name    string   `help:"What this machine is called among those of a cluster."`
	Cluster string   `placeholder:"ADDR" help:"Where the buses of other machines connect, to be one with this."`
	Route   []string `placeholder:"ADDR" help:"Where the other machines of the cluster are."`

	folder string // what Dir says, or the temporary one
	left   bool   // it is another process's by now
}

// options are those of the bus that was asked for, with its folder, which end removes if it is a temporary one.
func (m *machine) options(token string) (o bus.ServerOptions, end func(), err error) {
	o = bus.ServerOptions{Dir: m.Dir, Token: token, Name: m.Name}
	if o.Listen, err = address("--offer", m.Offer); err != nil {
		return o, nil, err
	}
	if m.Cluster != "" {
		o.Cluster = &bus.Cluster{Name: "chat", Routes: m.Route, Secret: token, Apart: m.Offer == ""}
		if o.Cluster.Listen, err = address("--cluster", m.Cluster); err != nil {
			return o, nil, err
		}
		if !o.Listen.IsValid() {
			o.Listen = anyPort
		}
	}
	if (m.Offer != "" || m.Cluster != "") && token == "" {
		return o, nil, errors.New("--offer and --cluster need CHAT_BUS_TOKEN, which the other servers say as well")
	}
	if o.Dir == "" {
		o.Dir = m.folder
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "chat-"); err != nil {
			return o, nil, err
		}
	}
	m.folder = o.Dir
	return o, func() {
		if m.Dir == "" && !m.left {
			_ = os.RemoveAll(m.folder) // what is left of it is in the folder of temporary files
		}
	}, nil
}

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func address(flag, text string) (a netip.AddrPort, err error) {
	if text != "" {
		if a, err = netip.ParseAddrPort(text); err != nil {
			err = fmt.Errorf("%s: %w", flag, err)
		}
	}
	return a, err
}

// open starts the bus within this process.
func (m *machine) open(token string, log *slog.Logger) (*bus.Server, func(), error) {
	o, end, err := m.options(token)
	if err != nil {
		return nil, nil, err
	}
	o.Log = log
	s, err := bus.Serve(o)
	if err != nil {
		end()
		return nil, nil, err
	}
	return s, func() { s.Close(); end() }, nil
}

// run is a bus alone, until ctx is done.
func (m *machine) run(ctx context.Context, log *slog.Logger) error {
	_, end, err := m.open(os.Getenv("CHAT_BUS_TOKEN"), log)
	if err != nil {
		return err
	}
	defer end()
	log.Info("the bus runs")
	<-ctx.Done()
	return nil
}
