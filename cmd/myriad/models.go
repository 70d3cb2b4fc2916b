package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/standard"
)

type modelsCommand struct{}

// Run prints the models and what moves their bytes, and the models of worker processes.
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
	fmt.Fprintln(table, "\nPROCESSES (--processes N)\tCONNECTIONS COME TO THE WORKERS BY")
	for _, m := range processModels {
		fmt.Fprintf(table, "%s\t%s\n", m.name, m.by)
	}
	return table.Flush()
}

// processModels are the ways in which connections come to worker processes, the usual one first.
var processModels = []struct {
	name config.ProcessModel
	by   string
}{
	{config.ProcessReusePort, "listening sockets of their own; the kernel spreads; the default"},
	{config.ProcessShared, "one listening socket, from which all accept"},
	{config.ProcessPrefork, "the process above them, which accepts, places by balance, and passes the connection on"},
	{config.ProcessPorts, "ports of their own; at the listener's clients are told which worker has the fewest"},
}
