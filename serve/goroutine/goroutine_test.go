package goroutine_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/goroutine"
	"github.com/myriad-server/myriad/serve/servetest"
)

var suite = servetest.Suite{Model: goroutine.New(), Site: servetest.Site()}

func TestModel(t *testing.T) { suite.Run(t) }

func BenchmarkExchange(b *testing.B) { suite.Bench(b) }
