package doctor

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/sys"
)

// atStart is what is logged when a server starts here.
func atStart(h *Host, local bool) string {
	var text strings.Builder
	LogAtStart(context.Background(), h, local, slog.New(slog.NewTextHandler(&text, nil)))
	return text.String()
}

func TestLogAtStart(t *testing.T) {
	if !apart(t) {
		return
	}
	needsConntrack(t)
	ownLink(t, "")
	e, err := sys.OpenEthtool()
	if err != nil {
		t.Skipf("no ethtool over netlink: %v", err)
	}
	defer func() { _ = e.Close() }()
	h := This(os.Getpid())
	if text := atStart(h, false); strings.Contains(text, "conntrack-timeouts") || strings.Contains(text, "card-offloads") {
		t.Errorf("before: %s", text)
	}
	setSysctl(t, conntrackEstablished, "300")
	conntrackEntries(t, 1)
	if err := e.SetFeature("first", "tx-tcp-segmentation", false); err != nil {
		t.Fatal(err)
	}
	for _, local := range []bool{false, true} {
		text := atStart(h, local)
		if !strings.Contains(text, "check=conntrack-timeouts") || !strings.Contains(text, "fix=\"sysctl -w net.") {
			t.Errorf("local %v: nothing of the timeout: %s", local, text)
		}
		if strings.Contains(text, "check=card-offloads") == local {
			t.Errorf("local %v: of cards: %s", local, text)
		}
		if strings.Contains(text, "harm=info") {
			t.Errorf("local %v: what does no harm: %s", local, text)
		}
	}
}

func TestLogAtStartOfNothing(t *testing.T) {
	h := fakeHost(t, nil)
	h.PID = 1
	if text := atStart(h, false); text != "" {
		t.Errorf("a host that cannot be read: %s", text)
	}
}
