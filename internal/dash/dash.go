// Package dash is the dashboard: one page that shows a running server and all that it holds, live, from the admin API.
//
// The page is a client of the API like any other: it knows nothing that GET /v1/ does not tell, and this package knows
// neither the server nor the API. Everything is embedded, nothing comes from elsewhere, and nothing that a peer sends
// reaches the page as markup: texts are set as texts, and the browser is told to refuse everything else.
package dash

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// policy is what the page may do: run and look like its own files, and ask its own server. No markup is ever made of
// text, no other page may hold this one in a frame, and no form leads anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"

// Patterns are what Handler answers, in the form of http.ServeMux.
var Patterns = []string{"GET /{$}", "GET /dash/{file}"}

// Handler answers with the page at / and its files below /dash/.
func Handler() http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "index.html"
		if r.URL.Path != "/" {
			name = path.Base(r.URL.Path)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(text)
		h := w.Header()
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
	})
}
