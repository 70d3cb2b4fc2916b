package main

import (
	"context"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

type benchCommand struct {
	Target      string        `arg:"" help:"What to put under load."`
	Connections int           `short:"c" default:"64" help:"Active connections."`
	Duration    time.Duration `short:"d" default:"10s" help:"How long is measured."`
}

// Run puts the target under load and prints what came of it.
func (b benchCommand) Run(c console) error {
	plan := load.Default()
	target, err := load.ParseTarget(context.Background(), b.Target)
	if err != nil {
		return usage(err)
	}
	plan.Target, plan.Connections, plan.Duration = target, b.Connections, b.Duration
	report, err := load.Run(context.Background(), plan, nil)
	if err != nil {
		return err
	}
	return report.Text(c.out)
}
