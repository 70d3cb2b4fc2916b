package workpool_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/workpool"
)

var suite = servetest.Suite{Model: workpool.New(), Site: servetest.Site(), AtOnce: 8}

func TestModel(t *testing.T) { suite.Run(t) }

func BenchmarkExchange(b *testing.B) { suite.Bench(b) }
