package single_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/single"
)

var suite = servetest.Suite{Model: single.New(), Site: servetest.Site(), AtOnce: 1}

func TestModel(t *testing.T) { suite.Run(t) }

func BenchmarkExchange(b *testing.B) { suite.Bench(b) }
