package dash_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/dash"
	"github.com/myriad-server/myriad/internal/dash/browser"
)

// pages is a server of the page alone.
func pages() *http.ServeMux {
	mux := http.NewServeMux()
	for _, pattern := range dash.Patterns {
		mux.Handle(pattern, dash.Handler())
	}
	return mux
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w
}

// TestPolicy holds every file to a policy without exceptions, and the page to having nothing that would need one.
func TestPolicy(t *testing.T) {
	mux := pages()
	page := get(t, mux, "/")
	if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", page.Code, page.Header().Get("Content-Type"))
	}
	text := page.Body.String()
	inline := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\son\w+\s*=|\sstyle\s*=|javascript:|https?://`)
	if found := inline.FindString(text); found != "" {
		t.Errorf("the page has %q", found)
	}
	files := regexp.MustCompile(`(?:href|src)="(/dash/[^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(files) < 3 {
		t.Fatalf("the page names %q", files)
	}
	imports := regexp.MustCompile(`from '\./([a-z]+\.js)'`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|Fragment`)
	seen := map[string]bool{}
	for len(files) > 0 {
		path := files[0][1]
		files = files[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		file := get(t, mux, path)
		if file.Code != http.StatusOK {
			t.Errorf("%s: %d", path, file.Code)
		}
		want := map[string]string{".js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[path[len(path)-3:]]
		if got := file.Header().Get("Content-Type"); !strings.HasPrefix(got, want) || want == "" {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
		if !strings.Contains(file.Header().Get("Content-Security-Policy"), "default-src 'none'") ||
			file.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, file.Header())
		}
		if found := markup.FindString(file.Body.String()); found != "" && strings.HasSuffix(path, ".js") {
			t.Errorf("%s makes markup of text: %s", path, found)
		}
		for _, match := range imports.FindAllStringSubmatch(file.Body.String(), -1) {
			files = append(files, []string{"", "/dash/" + match[1]})
		}
	}
	if policy := page.Header().Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "script-src 'self'") {
		t.Errorf("the policy is %q", policy)
	}
}

// TestOnlyItsFiles answers nothing else, and does not send again what a browser has.
func TestOnlyItsFiles(t *testing.T) {
	mux := pages()
	for path, want := range map[string]int{
		"/dash/main.js": 200, "/dash/nothing.js": 404, "/dash/": 404, "/dash/..%2fdash.go": 404, "/other": 404,
	} {
		if got := get(t, mux, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/dash/main.js", http.NoBody)
	r.Header.Set("If-None-Match", get(t, mux, "/dash/main.js").Header().Get("ETag"))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("%d for what the browser has", w.Code)
	}
}

const hostile = `<img src=x onerror="window.pwned=1"></title><script>window.pwned=1</script>`

// TestHostileTexts shows a page a server of which every text is an attack.
func TestHostileTexts(t *testing.T) {
	b := browser.Start(t)
	connection := `{"id": "HOSTILE", "state": "HOSTILE", "protocol": "HOSTILE", "peer": "HOSTILE", "upstream": "HOSTILE",
		"endpoint": "HOSTILE", "tcp": {"state": "HOSTILE"}, "age_seconds": 1, "quiet_seconds": 1}`
	server := told{
		"GET /v1/conns": `{"open": 1, "matched": 1, "states": {"idle": 1}, "connections": [` + connection + `]}`,
		"GET /v1/status": `{"version": "HOSTILE", "pid": "HOSTILE", "model": "HOSTILE", "driver": "HOSTILE",
		"listeners": ["HOSTILE"], "workers": 1, "connections": {"open": 1},
			"capacity": {"connections": 9, "first_wall": "HOSTILE"},
			"streams": [{"listener": "unix:HOSTILE", "counts": {"sessions": 1, "sessions_open": 1}}]}`,
		"GET /v1/sessions": `{"open": 1, "sessions": [{"id": "HOSTILE", "listener": "HOSTILE", "peer": "HOSTILE",
			"endpoint": "HOSTILE", "age_seconds": 1, "quiet_seconds": 1}]}`,
		"GET /v1/workers": `{"condition": "HOSTILE", "process_model": "HOSTILE", "ready": "HOSTILE", "desired": 1,
			"workers": [{"worker": "HOSTILE", "slot": "HOSTILE", "pid": "HOSTILE", "state": "HOSTILE",
			"why": "HOSTILE"}]}`,
		"GET /v1/upstreams": `{"drained": {}, "upstreams": [{"name": "HOSTILE", "policy": "HOSTILE", "waiting": 0,
		"endpoints": [{"address": "HOSTILE", "name": "HOSTILE", "state": "HOSTILE", "why": "HOSTILE", "open": 1, "leased": 1,
		"idle": 0}]}]}`,
		"GET /v1/config": `{"routes": [{"prefix": "HOSTILE", "proxy": {"upstream": "HOSTILE"}}]}`,
		"GET /v1/causes": `[{"code": "HOSTILE", "of": "connection", "meaning": "HOSTILE", "look_at": "HOSTILE"}]`,
		"GET /v1/closed": `{"closed": [{"cause": "HOSTILE", "peer": "HOSTILE", "error": "HOSTILE", "ended": "HOSTILE"}]}`,
		"GET /v1/doctor": `{"well": [], "notes": [], "findings": [{"check": "HOSTILE", "harm": "HOSTILE",
		"title": "HOSTILE", "evidence": ["HOSTILE"], "cause": "HOSTILE", "fix": "HOSTILE", "better": "HOSTILE",
		"recheck": "HOSTILE"}]}`,
		"GET /v1/events": "event: closed\ndata: " + `{"cause": "HOSTILE", "peer": "HOSTILE", "error": "HOSTILE"}` + "\n\n",
	}
	for pattern, document := range server {
		server[pattern] = strings.ReplaceAll(document, "HOSTILE", strings.ReplaceAll(hostile, `"`, `\"`))
	}
	at, _ := server.serve(t, "127.0.0.1:0")
	p := b.Open("http://"+at, browser.Look{Width: 1400, Height: 900})
	p.Await("document.querySelectorAll('#table tbody tr').length === 1")
	p.Await("document.querySelectorAll('.findings details').length === 1")
	p.Await("document.querySelectorAll('#ended tbody tr').length > 1")
	p.Await("document.querySelectorAll('#upstreams .endpoint').length === 1")
	p.Await("document.querySelectorAll('#sessions tbody tr').length === 1")
	p.Await("document.querySelectorAll('#workers tbody tr').length === 1")
	p.Eval("document.querySelector('#table tbody tr').click()")
	p.Press("Enter")
	p.Await("document.getElementById('dialog').open")
	injected := p.Eval("document.querySelectorAll('main img, main script, dialog img, [onerror]').length")
	if injected != 0.0 {
		t.Errorf("%v elements were made of texts", injected)
	}
	if p.Eval("window.pwned === undefined") != true {
		t.Error("a text was run")
	}
	if text := p.Eval("document.querySelector('#table tbody').innerText"); !strings.Contains(text.(string), "<img src=x") {
		t.Errorf("the text is not shown as it is: %q", text)
	}
	for _, complaint := range p.Complaints() {
		if strings.Contains(complaint, "Security") || strings.Contains(complaint, "exceptionDetails") {
			t.Errorf("the page complains: %s", complaint)
		}
	}
}
