// Package standard is the list: the drivers and the models that are compiled in.
// It alone names them all; adding one is one line here.
package standard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/poll"
	"github.com/myriad-server/myriad/driver/rtsig"
	"github.com/myriad-server/myriad/driver/selects"
	"github.com/myriad-server/myriad/driver/sweep"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/serve/goroutine"
	"github.com/myriad-server/myriad/serve/reactor"
	"github.com/myriad-server/myriad/serve/single"
	"github.com/myriad-server/myriad/serve/thread"
	"github.com/myriad-server/myriad/serve/workpool"
)

// Drivers returns every driver that talks to the kernel, best first.
func Drivers() []driver.Factory {
	drivers := []driver.Factory{
		uring.Factory, epoll.Factory, poll.Factory, rtsig.Factory, selects.Factory, sweep.Factory,
	}
	slices.SortStableFunc(drivers, func(a, b driver.Factory) int { return b.Rank - a.Rank })
	return drivers
}

// Models returns every serving model, the usual one first.
func Models() []serve.Model {
	return []serve.Model{reactor.New(), goroutine.New(), workpool.New(), thread.New(), single.New()}
}

// Auto is the name that leaves the choice of the driver to the machine.
const Auto = "auto"

// Passed is a driver that the automatic choice passed over.
type Passed struct {
	Name    string
	Support driver.Support
}

// Driver finds a driver. "auto" goes down the ranks and returns what it passed over, with the reasons; a driver
// chosen by name is never replaced by another: that it does not work here is an error with the mend.
func Driver(name string) (driver.Factory, []Passed, error) {
	var passed []Passed
	var names []string
	for _, f := range Drivers() {
		names = append(names, f.Name)
		if name != Auto && name != f.Name {
			continue
		}
		s := f.Probe()
		if s.OK {
			return f, passed, nil
		}
		if name != Auto {
			return driver.Factory{}, nil, fmt.Errorf("driver %s does not work here: %s; %s", name, s.Why, s.Fix)
		}
		passed = append(passed, Passed{f.Name, s})
	}
	if name == Auto {
		return driver.Factory{}, passed, fmt.Errorf("no driver works here; passed over %d, see: myriad drivers", len(passed))
	}
	return driver.Factory{}, nil, fmt.Errorf("there is no driver %q; there are auto, %s", name, strings.Join(names, ", "))
}

// Model finds a model by name.
func Model(name string) (serve.Model, error) {
	var names []string
	for _, m := range Models() {
		if m.Name() == name {
			return m, nil
		}
		names = append(names, m.Name())
	}
	return nil, fmt.Errorf("there is no model %q; there are %s", name, strings.Join(names, ", "))
}
