package selects_test

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/drivertest"
	"github.com/myriad-server/myriad/driver/selects"
)

func options() driver.Options { return driver.Options{} }

func TestDriver(t *testing.T) { drivertest.Run(t, selects.Factory, options) }

func BenchmarkEcho(b *testing.B) { drivertest.Benchmark(b, selects.Factory, options) }
