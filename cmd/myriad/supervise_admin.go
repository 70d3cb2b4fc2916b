package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/proc"
)

// crew is the fleet as the admin API sees it.
type crew struct {
	*supervisor
	model config.ProcessModel
}

// startAdmin starts the admin API that answers for all workers, if there is to be one, at a socket that was lent, if it
// is not 0. A place that nobody has named is none to fail for.
func (s *supervisor) startAdmin(c *config.Config, lent int, level *slog.LevelVar) (*control.Server, error) {
	admin := control.NewAbove(crew{s, c.Engine.ProcessModel}, version, level, s.log)
	admin.Lend(lent)
	if c.Admin.Off {
		return admin, nil
	}
	mountPages(admin)
	address, err := admin.Start(c.Admin)
	switch {
	case err == nil:
		s.log.Info("admin API", "address", address)
	case c.Admin.Auto():
		s.log.Warn("there is no admin API", "error", err)
	default:
		return nil, err
	}
	return admin, nil
}

// Workers tells of the workers.
func (c crew) Workers(ctx context.Context) (control.Workers, error) {
	status, err := c.fleet.Status(ctx)
	if err != nil {
		return control.Workers{}, err
	}
	all := control.Workers{
		Condition: string(status.Condition), Model: string(c.model), Desired: status.Desired, Ready: status.Ready,
		Retry: control.Seconds(status.RetryIn), Workers: []control.Worker{},
	}
	restarts := c.fleet.Restarts()
	for i := range status.Workers {
		of := &status.Workers[i]
		w := control.Worker{
			Worker: uint64(of.ID), Slot: of.Slot, Seat: of.Seat, PID: of.PID, State: of.Phase, Why: of.Cause,
			Generation: of.Generation, Uptime: control.Seconds(of.Age), Restarts: restarts[of.Seat],
			Socket: workerSocket(os.Getpid(), of.Slot),
		}
		if of.Asked {
			w.Why = "a loop stands still"
		}
		if of.Board != nil {
			w.Connections, w.Accepted, w.Requests = of.Board.Total.Open, of.Board.Total.Accepted, of.Board.Total.Requests
		}
		if of.Usage != nil {
			w.ProcessorTime, w.ResidentBytes = control.Seconds(of.Usage.CPU), of.Usage.ResidentBytes
		}
		all.Workers = append(all.Workers, w)
	}
	return all, nil
}

// Scale changes how many there are to be.
func (c crew) Scale(ctx context.Context, workers int) error { return c.fleet.Scale(ctx, workers) }

// Drain ends all in good order.
func (c crew) Drain(ctx context.Context) error { return c.fleet.Drain(ctx) }

// Reload has all take the configuration as it is now.
func (c crew) Reload(ctx context.Context, dry bool) (*app.Change, error) {
	return c.fleet.Reload(ctx, dry)
}

// Upgrade has workers of another binary take over.
func (c crew) Upgrade(ctx context.Context, binary string) error { return c.upgrade(ctx, binary) }

// upgrade has workers of a binary take over; of this program as it is by now if it is empty.
func (s *supervisor) upgrade(ctx context.Context, binary string) error {
	if binary == "" {
		path, err := findProgram("")
		if err != nil {
			return err
		}
		binary = path
	}
	return s.fleet.Upgrade(ctx, func() proc.Command { return s.command(binary) })
}

// removeSockets removes what workers that were killed have left beside the admin API.
func removeSockets() { _ = os.RemoveAll(filepath.Dir(workerSocket(os.Getpid(), 0))) }

var _ control.Crew = crew{}
