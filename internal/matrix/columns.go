// Package matrix is the table that this project is judged by: every behaviour under every driver and every model.
//
// Its test runs two suites in each column: that of package servetest, which watches a model from both sides, and one
// that asks whole servers, made from a configuration, over real sockets and looks at every byte of their answers.
// "make matrix" runs it and prints the table. The columns come from package standard, so a driver or a model that is
// new there appears here by itself.
//
// Under the race detector and in a short run only the columns that are marked as such are run: the driver that
// completes, the usual one that is told of readiness, and a model with a thread of control for each connection. What
// the other columns add is system calls, which the race detector does not see into.
package matrix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/serve"
)

// Column is one way to run a server.
type Column struct {
	// Name is the model, what moves the bytes, and what else is special: "reactor epoll level".
	Name string
	// Model runs the connections.
	Model serve.Model
	// Driver is what the model's loops open, with Options; it has no name under a model that brings its own way.
	Driver  driver.Factory
	Options driver.Options
	// Accept says how connections come to the loops.
	Accept serve.Accept
	// Lines say the same to a configuration, as "--set" takes them.
	Lines []string
	// Processes is the process model of two workers that run Model; empty: the server is one process.
	Processes string
	// AtOnce is how many connections are served at the same time; 0 is as many as come.
	AtOnce int
	// Short says that the column is run under the race detector and in short runs.
	Short bool
	// Hole is why there is nothing to run, if there is not.
	Hole string
}

// A variant is a driver with a choice of its own.
type variant struct {
	driver, name, line string
	options            driver.Options
	accept             serve.Accept
}

var variants = []variant{
	{driver: "uring", name: "direct", line: "engine.direct=always", options: driver.Options{Direct: true}},
	{driver: "uring", name: "acceptor", line: "engine.accept=acceptor", accept: serve.OneAcceptor},
	{driver: "epoll", name: "level", line: "engine.trigger=level", options: driver.Options{Level: true}},
	{driver: "epoll", name: "acceptor", line: "engine.accept=acceptor", accept: serve.OneAcceptor},
	{
		driver: "rtsig", name: "descriptor", line: "engine.signal=per_descriptor",
		options: driver.Options{PerDescriptor: true},
	},
}

// atOnce is for the models that do not serve as many connections as come.
var atOnce = map[string]int{"single": 1, "workpool": workers}

// workers is how many a server has under the models that have workers.
const workers = 128

// short are the columns of a short run.
var short = []string{"reactor uring", "reactor epoll", "goroutine runtime"}

// Columns returns all of them, and the holes: each model beside each driver.
func Columns() []Column {
	var columns []Column
	for _, m := range standard.Models() {
		if m.Driver() == "" {
			columns = append(columns, withDrivers(m)...)
		} else {
			columns = append(columns, withoutDriver(m)...)
		}
	}
	columns = append(columns, withProcesses(columns)...)
	for i := range columns {
		c := &columns[i]
		c.AtOnce = atOnce[c.Model.Name()]
		c.Short = slices.Contains(short, c.Name)
		c.Lines = append(c.Lines, "engine.model="+c.Model.Name(), fmt.Sprint("engine.workers=", workers))
	}
	return columns
}

// processModels are the ways in which connections come to several worker processes.
var processModels = config.ProcessModel("").Values()

// processes is how many workers there are.
const processes = 2

// withProcesses has a column for each process model over each plain driver of the reactor that lasting is promised for,
// and a hole for each of the others: what a worker runs is a server as in the columns of one process.
func withProcesses(single []Column) []Column {
	var columns []Column
	for _, m := range processModels {
		for _, c := range single {
			_, mover, _ := strings.Cut(c.Name, " ")
			if c.Model.Name() != "reactor" || mover != c.Driver.Name {
				continue
			}
			c.Name, c.Processes = m+" "+mover, m
			if m == string(config.ProcessShared) || m == string(config.ProcessPrefork) {
				c.Accept = serve.OneAcceptor // as there is one socket
			}
			c.Lines = append(slices.DeleteFunc(slices.Clone(c.Lines), func(line string) bool {
				return strings.HasPrefix(line, "engine.accept=") // it follows from the process model
			}), fmt.Sprint("engine.processes=", processes), "engine.process_model="+m)
			if !slices.Contains(lastingDrivers, mover) {
				c.Hole = "workers are tested with the drivers uring and epoll; the others are tested in one process"
			}
			columns = append(columns, c)
		}
	}
	return columns
}

// lastingDrivers are those that are promised to lose nothing when processes come and go.
var lastingDrivers = []string{"uring", "epoll"}

// withDrivers has a column for each driver and each variant of it.
func withDrivers(m serve.Model) []Column {
	var columns []Column
	for _, f := range standard.Drivers() {
		plain := Column{
			Name: m.Name() + " " + f.Name, Model: m, Driver: f,
			Lines: []string{"engine.driver=" + f.Name, "engine.accept=reuseport"},
		}
		if f.Name == "uring" {
			plain.Lines = append(plain.Lines, "engine.direct=never")
		}
		columns = append(columns, plain)
		for _, v := range variants {
			if v.driver != f.Name {
				continue
			}
			special := plain
			special.Name += " " + v.name
			special.Options, special.Accept = v.options, v.accept
			special.Lines = append(slices.Clone(plain.Lines), v.line)
			columns = append(columns, special)
		}
	}
	return columns
}

// withoutDriver has one column for a model that brings its own way of moving bytes, and a hole for each driver.
func withoutDriver(m serve.Model) []Column {
	columns := []Column{{Name: m.Name() + " " + m.Driver(), Model: m}}
	for _, f := range standard.Drivers() {
		columns = append(columns, Column{
			Name: m.Name() + " " + f.Name, Model: m,
			Hole: fmt.Sprintf("a model that moves bytes by %s opens no driver", ways[m.Driver()]),
		})
	}
	return columns
}

// ways are the answers of Model.Driver, as part of a sentence.
var ways = map[string]string{"blocking": "blocking calls", "runtime": "Go's own poller"}
