package thread_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/thread"
)

var suite = servetest.Suite{Model: thread.New(), Site: servetest.Site()}

func TestModel(t *testing.T) { suite.Run(t) }

func BenchmarkExchange(b *testing.B) { suite.Bench(b) }
