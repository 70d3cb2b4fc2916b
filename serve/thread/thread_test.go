package thread_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/thread"
)

func TestModel(t *testing.T) {
	servetest.Suite{Model: thread.New(), Site: servetest.Site()}.Run(t)
}
