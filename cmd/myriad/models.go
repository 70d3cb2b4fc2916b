package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/myriad-server/myriad/internal/standard"
)

type modelsCommand struct{}

// Run prints the models and what moves their bytes.
func (modelsCommand) Run(c console) error {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MODEL\tBYTES ARE MOVED BY")
	for i, m := range standard.Models() {
		by := m.Driver() + " (of the model's own)"
		if m.Driver() == "" {
			by = "any driver: see myriad drivers"
		}
		if i == 0 {
			by += "; the default"
		}
		fmt.Fprintf(table, "%s\t%s\n", m.Name(), by)
	}
	return table.Flush()
}
