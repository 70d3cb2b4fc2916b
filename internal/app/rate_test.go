package app_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// TestRate bounds the requests of a route, and of no other.
func TestRate(t *testing.T) {
	s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, "listeners[0].address=127.0.0.1:0",
		"routes=[{path: /few, respond: {body: one}, rate: {requests: 2, per: 24h}}, {path: /many, respond: {body: two}}]")
	for i, c := range []struct {
		path string
		want int
	}{
		{"/few", 200}, {"/few", 200}, {"/few", 429}, {"/many", 200}, {"/few", 429}, {"/many", 200}, {"/many", 200},
	} {
		answer, err := http.Get("http://" + s.Address() + c.path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if told := answer.Header.Get("Retry-After"); answer.StatusCode != c.want || (told != "") != (c.want == 429) {
			t.Errorf("request %d, of %s: %d, Retry-After %q", i, c.path, answer.StatusCode, told)
		}
	}
}
