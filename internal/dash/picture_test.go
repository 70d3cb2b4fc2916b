package dash_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/myriad-server/myriad/internal/dash/browser"
)

var (
	pageFlag     = flag.String("page", "", "the URL of a dashboard to take pictures of")
	picturesFlag = flag.String("pictures", "", "the folder to write them to")
	untilFlag    = flag.String("until", "document.querySelectorAll('#table tbody tr').length > 10", "when they are taken")
)

// TestPictures takes the pictures of the documents, of a server that runs: see docs/dashboard.md.
func TestPictures(t *testing.T) {
	if *pageFlag == "" || *picturesFlag == "" {
		t.Skip("no server was named to take pictures of: use -page and -pictures")
	}
	b := browser.Start(t)
	tabs := map[string]*browser.Tab{}
	for name, l := range map[string]browser.Look{
		"dashboard.png":       {Width: 1440, Height: 1220},
		"dashboard-dark.png":  {Width: 1440, Height: 1220, Dark: true},
		"dashboard-phone.png": {Width: 390, Height: 844, Phone: true},
	} {
		tabs[name] = b.Open(*pageFlag, l)
	}
	for name, p := range tabs {
		p.Await(*untilFlag)
		p.Await("document.querySelectorAll('.findings details').length > 0")
		p.Picture(filepath.Join(*picturesFlag, name))
		if bad := p.Complaints(); len(bad) > 0 {
			t.Errorf("%s: %q", name, bad)
		}
	}
}
