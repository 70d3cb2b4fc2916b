package sweep_test

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/sweep"
)

func options() driver.Options { return driver.Options{} }

func TestDriver(t *testing.T) { drivertest.Run(t, sweep.Factory, options) }

func BenchmarkEcho(b *testing.B) { drivertest.Benchmark(b, sweep.Factory, options) }
