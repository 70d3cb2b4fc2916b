package workpool_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/workpool"
)

func TestModel(t *testing.T) {
	servetest.Suite{Model: workpool.New(), Site: servetest.Site(), AtOnce: 8}.Run(t)
}
