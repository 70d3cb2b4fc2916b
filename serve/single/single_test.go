package single_test

import (
	"testing"

	"github.com/myriad-server/myriad/serve/servetest"
	"github.com/myriad-server/myriad/serve/single"
)

func TestModel(t *testing.T) {
	servetest.Suite{Model: single.New(), Site: servetest.Site(), AtOnce: 1}.Run(t)
}
