package static

import (
	"cmp"
	"errors"
	"html"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/web"
)

// listedNames is how many names a listing shows at most. To look at them takes a few microseconds each, in which the
// thread does nothing else.
const listedNames = 1000

// noPage stands in for the page of a resource that has been retired: none is kept any more.
var noPage []byte

// list answers with the names in a folder. A folder is read again for each request that finds its entry too old.
func (f *Files) list(x *web.Exchange, r *resource) {
	var page []byte
	if kept := r.page.Load(); kept != nil && kept != &noPage {
		page = *kept
	} else {
		d := f.enter(f.now(x))
		if d == nil {
			x.Fail(503)
			return
		}
		names, more, err := f.names(d.root, r.name)
		d.leave()
		if err != nil {
			x.Fail(503)
			return
		}
		page = render(string(x.Path()), names, more)
		if n := int64(len(page)); f.memory.Add(n) > f.options.Memory || !r.page.CompareAndSwap(nil, &page) {
			f.memory.Add(-n)
		}
	}
	x.Add("Content-Type", "text/html; charset=utf-8")
	x.Begin(int64(len(page)))
	x.Lend(page)
	x.End()
}

// names are what a listing shows: folders first, each in the order of their names. It reports whether there are more.
func (f *Files) names(root *os.Root, folder string) ([]fs.FileInfo, bool, error) {
	opened, err := root.Open(folder)
	if err != nil {
		return nil, false, err
	}
	defer opened.Close()
	entries, err := opened.ReadDir(listedNames + 1)
	more := len(entries) > listedNames
	entries = entries[:min(len(entries), listedNames)]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if e.Name()[0] == '.' && !f.options.Hidden {
			continue
		}
		// Stat of the root follows links within it; what leads out or has gone is not shown, as it is not served.
		info, err := root.Stat(folder + "/" + e.Name())
		if err == nil && (info.IsDir() || info.Mode().IsRegular()) {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		if a.IsDir() != b.IsDir() {
			if a.IsDir() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name(), b.Name())
	})
	return infos, more, nil
}

const listingHead = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>`

const listingStyle = `</title>
<style>
:root { color-scheme: light dark; font: 15px/1.6 system-ui, sans-serif }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.2rem; overflow-wrap: anywhere }
table { width: 100%; border-collapse: collapse }
td { padding: .15rem .5rem; border-top: 1px solid #8883 }
td:nth-child(n+2) { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; color: #888 }
a { text-decoration: none; overflow-wrap: anywhere } a:hover { text-decoration: underline }
</style>
<h1>`

// render makes the page. Names are escaped twice: for the address, and for the text.
func render(path string, infos []fs.FileInfo, more bool) []byte {
	var b strings.Builder
	title := html.EscapeString(strings.ToValidUTF8(path, "\uFFFD"))
	b.WriteString(listingHead + title + listingStyle + title + "</h1>\n<table>\n")
	if path != "/" {
		b.WriteString("<tr><td><a href=\"../\">../</a><td><td>\n")
	}
	for _, info := range infos {
		name, size := info.Name(), strconv.FormatInt(info.Size(), 10)
		if info.IsDir() {
			name, size = name+"/", ""
		}
		b.WriteString(`<tr><td><a href="./`)
		b.WriteString(html.EscapeString(string(web.EscapePath(nil, []byte(name)))))
		b.WriteString(`">` + html.EscapeString(strings.ToValidUTF8(name, "\uFFFD")) + "</a><td>" + size + "<td>")
		b.WriteString(info.ModTime().UTC().Format(time.DateTime) + "\n")
	}
	b.WriteString("</table>\n")
	if more {
		b.WriteString("<p>… and more: there are too many names here to show them all.</p>\n")
	}
	return []byte(b.String())
}
