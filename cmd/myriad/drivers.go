package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/myriad-server/myriad/internal/standard"
)

type driversCommand struct {
	JSON bool `help:"Print JSON."`
}

// driverRow is one driver as the table shows it.
type driverRow struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Auto      bool   `json:"auto"` // what the automatic choice takes
	Why       string `json:"why,omitempty"`
	Fix       string `json:"fix,omitempty"`
	What      string `json:"what"`
}

// Run probes every driver and prints what it found.
func (d driversCommand) Run(c console) error {
	var rows []driverRow
	chosen, _, _ := standard.Driver(standard.Auto) // an error means that none works, which the table shows
	for _, f := range standard.Drivers() {
		s := f.Probe()
		row := driverRow{Name: f.Name, Available: s.OK, Auto: f.Name == chosen.Name, What: f.What}
		if !s.OK {
			row.Why, row.Fix = s.Why, s.Fix
		}
		rows = append(rows, row)
	}
	if d.JSON {
		encoder := json.NewEncoder(c.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(rows)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DRIVER\tAVAILABLE\tWHAT")
	for _, row := range rows {
		available := "yes"
		switch {
		case row.Auto:
			available = "yes, auto takes it"
		case !row.Available:
			available = "no"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", row.Name, available, row.What)
		if !row.Available {
			fmt.Fprintf(table, "\t\twhy not: %s\n\t\tfix: %s\n", row.Why, row.Fix)
		}
	}
	return table.Flush()
}
