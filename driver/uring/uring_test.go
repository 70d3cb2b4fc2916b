package uring

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, Factory, func() driver.Options { return driver.Options{} })
}
