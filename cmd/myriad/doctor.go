package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/doctor"
)

// doctorCommand looks for what this host will deny a server of many connections.
type doctorCommand struct {
	PID      int           `name:"pid" placeholder:"N" help:"Ask about this process, too; where workers serve, a worker."`
	Watch    bool          `help:"Go on, and tell what has come and what has gone."`
	Interval time.Duration `default:"1s" help:"Between two looks at counters; 0 judges them since the start of the host."`
	JSON     bool          `help:"Print JSON; with --watch a report a line."`
	Check    []string      `placeholder:"NAME" help:"Run these checks alone."`

	doctorSettings
}

// Run examines the host once, or until it is stopped. What is found is no failure of the command.
func (d *doctorCommand) Run(c console) error {
	checks, err := d.checks()
	if err != nil {
		return usage(err)
	}
	switch {
	case d.Interval < 0:
		return usage(fmt.Errorf("--interval %v: a time from 0 on is wanted", d.Interval))
	case d.Watch && d.Interval == 0:
		return usage(errors.New("--watch needs an --interval"))
	}
	if err := d.check(d.Watch, d.JSON); err != nil {
		return usage(err)
	}
	if d.PID != 0 {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", d.PID)); err != nil {
			return usage(fmt.Errorf("there is no process %d", d.PID))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	host := doctor.This(d.PID)
	if err := host.Enter(); err != nil {
		// What can be seen from here is worth having, and each check that needs more says so.
		fmt.Fprintf(c.err, "myriad: %v\n", err)
	}
	if d.Watch {
		return d.watch(ctx, c, host, checks)
	}
	if d.Undo {
		return d.undo(c.out, host)
	}
	plan, err := d.plan(host)
	if err != nil {
		return err
	}
	changes := d.Diff || d.Apply
	if plan != nil && !changes {
		if d.JSON {
			return plan.JSON(c.out)
		}
		return plan.Text(c.out)
	}
	report, err := doctor.Examine(ctx, host, checks, d.Interval)
	switch {
	case err != nil:
		return err
	case changes:
		return d.change(c.out, host, plan, report)
	case d.JSON:
		return report.JSON(c.out)
	}
	return report.Text(c.out, colourful(c.out))
}

// checks are those that were named, or all.
func (d *doctorCommand) checks() ([]doctor.Check, error) {
	all := doctor.Checks()
	if len(d.Check) == 0 {
		return all, nil
	}
	var chosen []doctor.Check
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	for _, name := range d.Check {
		found := false
		for _, c := range all {
			if c.Name == name {
				chosen, found = append(chosen, c), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no check is called %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

// watch examines again and again until it is told to end, which is no error.
func (d *doctorCommand) watch(ctx context.Context, c console, host *doctor.Host, checks []doctor.Check) error {
	var last *doctor.Report
	for {
		host.Sample()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.Interval):
		}
		report, err := doctor.Examine(ctx, host, checks, d.Interval)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case d.JSON:
			err = report.Line(c.out)
		default:
			err = report.Changes(c.out, last, colourful(c.out))
		}
		if err != nil {
			return err
		}
		last = report
	}
}

// colourful tells whether colours can be seen where something is written, and are wanted: see no-color.org.
func colourful(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	about, err := file.Stat()
	return err == nil && about.Mode()&os.ModeCharDevice != 0
}
