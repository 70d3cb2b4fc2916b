package doctor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
)

// TestHandler answers many at once with one examination of this process.
func TestHandler(t *testing.T) {
	h := Handler(os.Getpid())
	answers := make([]*httptest.ResponseRecorder, 5)
	var group sync.WaitGroup
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/doctor", http.NoBody)
		group.Go(func() { h.ServeHTTP(answers[i], r) })
	}
	group.Wait()
	var first Report
	if err := json.Unmarshal(answers[0].Body.Bytes(), &first); err != nil {
		t.Fatalf("%v: %s", err, answers[0].Body)
	}
	if first.PID != os.Getpid() || len(first.Well)+len(first.Findings) == 0 || first.Time.IsZero() {
		t.Errorf("the report is %+v", first)
	}
	for _, answer := range answers {
		if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" ||
			answer.Body.String() != answers[0].Body.String() {
			t.Errorf("%d %v: %s", answer.Code, answer.Header(), answer.Body)
		}
	}
}
