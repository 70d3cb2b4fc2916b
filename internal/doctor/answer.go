package doctor

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// answerKept is how long a report is good for whoever asks next: a page that many look at costs one examination.
	answerKept = 10 * time.Second
	// answerRates is between two looks at counters, answerMost the longest that an examination may take.
	answerRates = time.Second
	answerMost  = time.Minute
)

// Handler answers GET with a report about the host and the process pid as JSON. It examines when it is asked, at most
// every ten seconds, whoever asks meanwhile.
func Handler(pid int) http.Handler {
	var mu sync.Mutex
	var kept []byte
	var at time.Time
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if kept == nil || time.Since(at) > answerKept {
			text, err := examined(r.Context(), pid)
			if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(`{"error": "the examination came to no end"}` + "\n")) // whoever asked may have gone
				return
			}
			kept, at = text, time.Now()
		}
		_, _ = w.Write(kept)
	})
}

// examined is a new report as JSON. An examination that was begun goes on for whoever asks next.
func examined(ctx context.Context, pid int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerMost)
	defer cancel()
	report, err := Examine(ctx, This(pid), Checks(), answerRates)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	err = report.JSON(&text)
	return []byte(text.String()), err
}
