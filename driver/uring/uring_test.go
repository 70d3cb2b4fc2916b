package uring

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
)

func TestDriver(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(map[bool]string{false: "ordinary", true: "direct"}[direct], func(t *testing.T) {
			drivertest.Run(t, Factory, func() driver.Options { return driver.Options{Direct: direct} })
		})
	}
}
