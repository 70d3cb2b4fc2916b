package proof

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/dash/browser"
)

// page is what the browser runs. It reports to the server from which it came, through the proxy as everything it does.
//
//go:embed testdata/browser.html
var page string

// TestBrowser has a real browser load a page through the proxy, speak WebSocket with and without compression, follow a
// stream of events and send a large form, all at the same time.
func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	reports := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/socket", serveEcho)
	mux.HandleFunc("/events", serveEvents)
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})
	mux.HandleFunc("/report", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		select {
		case reports <- string(text):
		default:
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p := start(t, []string{server.Listener.Addr().String()})
	b.Open("http://"+p.address+"/", browser.Look{Width: 800, Height: 600})
	select {
	case report := <-reports:
		if report != "all is well" {
			t.Errorf("the page says %q", report)
		}
	case <-time.After(4 * patience):
		t.Error("the page does not report")
	}
	server.CloseClientConnections()
}

// serveEvents tells ten events, each when it happens, and ends.
func serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for n := range 10 {
		_, _ = fmt.Fprintf(w, "data: %d %s\n\n", n, strings.Repeat("x", n))
		_ = http.NewResponseController(w).Flush()
	}
	<-r.Context().Done() // the page goes when it has seen them
}
