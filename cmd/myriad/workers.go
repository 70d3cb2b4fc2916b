package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/myriad-server/myriad/internal/control"
)

type workersCommand struct {
	Admin string `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	JSON  bool   `help:"Print JSON, as the API answers it."`
}

// Run lists the worker processes of a running server.
func (k workersCommand) Run(c console) error {
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	var all control.Workers
	text, err := client.Ask(context.Background(), "GET", "/v1/workers", nil, &all)
	if err != nil {
		return err
	}
	if k.JSON {
		_, err := c.out.Write(text)
		return err
	}
	return printWorkers(c.out, &all)
}

// printWorkers writes the workers as a table, and below it how they are as a whole.
func printWorkers(w io.Writer, all *control.Workers) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORKER\tSLOT\tPID\tSTATE\tGENERATION\tUPTIME\tCONNECTIONS\tREQUESTS/S\tCPU\tMEMORY\tRESTARTS")
	for i := range all.Workers {
		o := &all.Workers[i]
		state := o.State
		if o.Why != "" {
			state += " (" + o.Why + ")"
		}
		fmt.Fprintf(table, "%d\t%d\t%d\t%s\t%d\t%s\t%d\t%.0f\t%.0f%%\t%s\t%d\n", o.Worker, o.Slot, o.PID, state, o.Generation,
			age(o.Uptime), o.Connections, o.Rate, 100*o.Busy, size(uint64(max(o.ResidentBytes, 0))), o.Restarts)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %d of %d ready, process model %s\n", all.Condition, all.Ready, all.Desired, all.Model)
	return err
}
