package goroutine_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/goroutine"
	"github.com/myriad-server/myriad/serve/servetest"
)

func TestModel(t *testing.T) {
	servetest.Suite{Model: goroutine.New(), Site: servetest.Site()}.Run(t)
}
