package dash_test

import (
	"flag"
	"path/filepath"
	"testing"
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
	b := openBrowser(t)
	tabs := map[string]*tab{}
	for name, l := range map[string]look{
		"dashboard.png":       {width: 1440, height: 1220},
		"dashboard-dark.png":  {width: 1440, height: 1220, dark: true},
		"dashboard-phone.png": {width: 390, height: 844, phone: true},
	} {
		tabs[name] = b.open(*pageFlag, l)
	}
	for name, p := range tabs {
		p.await(*untilFlag)
		p.await("document.querySelectorAll('.findings details').length > 0")
		p.picture(filepath.Join(*picturesFlag, name))
		if bad := p.complaints(); len(bad) > 0 {
			t.Errorf("%s: %q", name, bad)
		}
	}
}
