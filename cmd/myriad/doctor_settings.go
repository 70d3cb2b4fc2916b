package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/myriad-server/myriad/internal/doctor"
)

// doctorSettings are the flags of the doctor that plan and change.
type doctorSettings struct {
	Target       string `placeholder:"N" help:"Plan for so many connections (100k, 1M): what they need, what there is."`
	Destinations int    `default:"1" help:"With --target: how many addresses a proxy dials."`
	Diff         bool   `help:"Show what --apply would change."`
	Apply        bool   `help:"Raise what was found, and what --target needs, now and for the next start. Shows it first."`
	Undo         bool   `help:"Put everything back as it was before the first --apply."`
	Unit         string `default:"myriad.service" help:"With --apply: the service of systemd that gets the limits."`
	Root         string `default:"/" hidden:"" help:"Where etc and var are."`
}

// check refuses flags that contradict each other.
func (d *doctorSettings) check(watch, object bool) error {
	changes := d.Diff || d.Apply
	switch {
	case d.Undo && (changes || d.Target != ""):
		return errors.New("--undo goes alone")
	case watch && (changes || d.Undo || d.Target != ""):
		return errors.New("--watch only looks: it goes without --target, --diff, --apply and --undo")
	case object && (changes || d.Undo):
		return errors.New("--json is for what was found, and for --target alone")
	case d.Destinations < 1:
		return fmt.Errorf("--destinations %d: a number from 1 on is wanted", d.Destinations)
	}
	return nil
}

// plan is what --target asks for, or nil.
func (d *doctorSettings) plan(host *doctor.Host) (*doctor.Plan, error) {
	if d.Target == "" {
		return nil, nil
	}
	connections, err := doctor.Connections(d.Target)
	if err != nil {
		return nil, usage(fmt.Errorf("--target: %w", err))
	}
	return doctor.PlanFor(host, doctor.Load{Connections: connections, Destinations: d.Destinations}), nil
}

func (d *doctorSettings) installation() *doctor.Installation {
	return &doctor.Installation{Root: d.Root, Unit: d.Unit}
}

// change shows what is to be changed for a plan and for what was found, and changes it if that was asked for.
func (d *doctorSettings) change(out io.Writer, host *doctor.Host, plan *doctor.Plan, report *doctor.Report) error {
	var settings []doctor.Setting
	if plan != nil {
		settings = plan.Settings()
	}
	for _, finding := range report.Findings {
		settings = append(settings, finding.Settings...)
	}
	change, err := d.installation().Prepare(host, settings)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, change.Diff()); err != nil {
		return err
	}
	if change.Print != "" {
		if _, err := fmt.Fprintf(out, "\nWithout systemd the limits are for whoever starts the server to set:\n\n%s\n",
			change.Print); err != nil {
			return err
		}
	}
	if change.Nothing() {
		_, err := fmt.Fprintln(out, "There is nothing to change.")
		return err
	}
	if !d.Apply {
		return nil
	}
	if err := change.Apply(); err != nil {
		return err
	}
	next := ""
	if change.Limits() {
		next = fmt.Sprintf(" The limits hold after: systemctl daemon-reload && systemctl restart %s.", d.Unit)
	}
	_, err = fmt.Fprintf(out, "Done; myriad doctor --undo takes it back.%s\n", next)
	return err
}

// undo puts everything back.
func (d *doctorSettings) undo(out io.Writer, host *doctor.Host) error {
	done, err := d.installation().Undo(host)
	for _, line := range done {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	if err == nil && len(done) == 0 {
		_, err = fmt.Fprintln(out, "There is nothing to put back.")
	}
	return err
}
