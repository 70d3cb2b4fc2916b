package main

import (
	"context"
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

// startAdmin starts the admin API that answers for all workers, if there is to be one, at a socket that is open, or (0)
// at a new one. A place that nobody has named is none to fail for.
func (s *supervisor) startAdmin(c *config.Config, socket int) error {
	admin := control.NewAbove(crew{s, c.Engine.ProcessModel}, version, s.level, s.log)
	s.mu.Lock()
	s.admin = admin
	s.mu.Unlock()
	if c.Admin.Off {
		return nil
	}
	mountPages(admin)
	if s.lent {
		admin.Lend(socket)
	} else {
		admin.Take(socket)
	}
	address, err := admin.Start(c.Admin)
	switch {
	case err == nil:
		s.log.Info("admin API", "address", address)
	case c.Admin.Auto():
		s.log.Warn("there is no admin API", "error", err)
	default:
		return err
	}
	return nil
}

// closeAdmin ends the admin API, and removes what workers that were killed have left beside it.
func (s *supervisor) closeAdmin() {
	s.mu.Lock()
	admin := s.admin
	s.mu.Unlock()
	_ = admin.Close()
	_ = os.RemoveAll(filepath.Dir(workerSocket(os.Getpid(), 0)))
}

// Workers tells of the workers.
func (c crew) Workers(ctx context.Context) (control.Workers, error) {
	status, err := c.fleet.Status(ctx)
	if err != nil {
		return control.Workers{}, err
	}
	all := control.Workers{
		Condition: string(status.Condition), Model: string(c.model), Desired: status.Desired, Ready: status.Ready,
		Retry: control.Seconds(status.RetryIn), Workers: []control.Worker{}, Supervisor: c.Supervisor(),
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

// upgrade has workers of a binary take over; of this program as it is by now if it is empty. Then the supervisor goes
// on as that program, too, which is asked before anything changes whether it could.
func (s *supervisor) upgrade(ctx context.Context, binary string) error {
	if binary == "" {
		path, err := findProgram("")
		if err != nil {
			return err
		}
		binary = path
	}
	var coming string
	if s.bus == nil {
		var err error
		if coming, err = s.rehearsal(binary); err != nil {
			return err
		}
	}
	if err := s.fleet.Upgrade(ctx, func() proc.Command { return s.command(binary) }); err != nil {
		return err
	}
	if s.bus == nil {
		s.become(binary, coming)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stays = "it keeps the bus"
	return nil
}

// Supervisor tells of the supervisor itself.
func (c crew) Supervisor() control.Supervisor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return control.Supervisor{PID: os.Getpid(), Version: version, Turn: c.turn, Coming: c.coming, Stays: c.stays}
}

var _ control.Crew = crew{}
