package main

import (
	"fmt"

	"github.com/myriad-server/myriad/internal/app"
)

type checkCommand struct {
	File string `arg:"" help:"The configuration."`
}

// Run prints every problem and every warning of a configuration, and what it can hold when there is no problem.
func (k checkCommand) Run(c console) error {
	loaded, warnings, err := app.Known().Load(k.File, nil)
	for _, warning := range warnings {
		fmt.Fprintf(c.err, "warning: %s\n\n", warning.Error())
	}
	if err != nil {
		return err
	}
	host, err := app.Examine()
	if err != nil {
		return err
	}
	plan, err := app.NewPlan(loaded, host)
	if err != nil {
		return err
	}
	for _, warning := range plan.Unused {
		fmt.Fprintf(c.err, "warning: %s\n\n", warning.Error())
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintf(c.err, "warning: %s\n\n", warning)
	}
	upstreams := ""
	if n := len(loaded.Upstreams); n > 0 {
		upstreams = fmt.Sprintf(", %d upstreams", n)
	}
	loops := ""
	if plan.Loops > 0 {
		loops = fmt.Sprintf(", loops %d", plan.Loops)
	}
	fmt.Fprintf(c.out, "ok: %s: %d listeners, %d routes%s; driver %s, model %s%s\n", k.File,
		len(loaded.Listeners), len(loaded.Routes), upstreams, plan.DriverName(), plan.Model.Name(), loops)
	_, err = fmt.Fprintf(c.out, "capacity: %s\n", plan.Capacity.String())
	return err
}
