package app

import (
	"os"
	"testing"
)

// TestProcess counts the descriptors that a test opens, and finds a limit above them.
func TestProcess(t *testing.T) {
	const more = 100
	var a App
	before, limit, resident := a.Process()
	for range more {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
	}
	after, _, _ := a.Process()
	if after-before < more*9/10 || before < 3 { // others of the process may close some meanwhile
		t.Errorf("%d descriptors before, %d after %d more", before, after, more)
	}
	if limit != 0 && limit < after || resident <= 0 {
		t.Errorf("limit %d, %d bytes resident", limit, resident)
	}
}
