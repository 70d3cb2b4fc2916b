// Package static answers requests with the files of a folder.
//
// What was found is remembered for a short time, for all threads together: an open descriptor for a large file, the
// content itself with a finished head for a small one, the absence for a name that is not there. Looking something up
// takes no lock. Once an entry is older than Options.Valid the next request that meets it looks at the folder again; a
// file that was changed or replaced gets a new entry, and answers that have begun go on with the file they began with.
// A file that was deleted and is not asked for any more is closed within a minute.
//
// # What is promised about content
//
// The length of an answer comes from the open descriptor that its content comes from, and a small file that changed
// while it was read is not kept. A file that is replaced (written under another name, then renamed) is sent whole, old
// or new. A file that is overwritten in place while it is being sent may be sent partly old and partly new; if it
// shrinks, the connection is broken off, because the length promised cannot be kept. The same is done if it is larger
// than 256 KiB and its time of change or its size is not the same any more before its last 64 KiB are sent; what is
// smaller leaves at once, and so do these 64 KiB.
//
// # Validators
//
// The ETag is strong: the time of the last change in nanoseconds, the size and the inode number. Two different contents
// have the same one only if a file is rewritten in place, in the same size, without its time of change moving; whoever
// sets file times by hand can do that. A precompressed neighbour is a file of its own and so has an ETag of its own.
//
// # What is refused
//
// The folder is an [os.Root]: no name and no symbolic link leads out of it. When its own name comes to lead to another
// one, because a link was renamed or a folder was put in its place, that is opened instead, at the latest when twice
// Options.Valid has passed; while there is none under the name, the old one is served. Only regular files are served,
// and names that begin with a dot only if Options.Hidden says so. Methods but GET, HEAD and OPTIONS get 405.
package static

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// Options is which folder is served, and how. All but Root may be left out.
type Options struct {
	// Root is the folder.
	Root string
	// Strip is cut off the front of a path before it is looked up; a path without it is not found.
	Strip string
	// Index are the names tried, in order, when a folder is asked for.
	Index []string
	// Listing says that a folder without an index is listed. Otherwise the answer is 403.
	Listing bool
	// Hidden says that names which begin with a dot are served. Otherwise the answer is 404, but for /.well-known/.
	Hidden bool
	// Precompressed are the content codings looked for beside a file, best first: "br" as name.br, "zstd" as
	// name.zst, "gzip" as name.gz. What a neighbour holds is not compared with the file, but one that is older by two
	// seconds or more is left aside: it was made before the file was changed, and holds what was there before.
	Precompressed []string
	// Types are media types by the end of the name, such as ".wasm", before the built-in ones.
	Types map[string]string
	// Entries is how many found names are remembered; negative: none. Each may hold a descriptor, and one more for
	// each of Precompressed. Default 1024.
	Entries int
	// Valid is how long an entry is used before the folder is looked at again. From one second on it is counted in
	// whole seconds of the wall clock, and never longer than said. Default 1 s.
	Valid time.Duration
	// MemoryFile is the largest file kept in memory; negative: none. Default 16 KiB.
	MemoryFile int64
	// Memory is how many bytes of files are kept in memory together. Default 64 MiB.
	Memory int64
}

// Files is a web.Handler that answers with the files of a folder. All threads may use it at once.
type Files struct {
	options Options
	folder  atomic.Pointer[folder]
	looked  atomic.Int64 // when it was last compared with what Options.Root leads to
	opening sync.Mutex   // of another folder
	strip   string
	codings []coding
	found   *cache // nil: nothing is remembered
	missing *cache
	memory  atomic.Int64 // bytes of content kept
	open    atomic.Int64 // files open for what is remembered
	sweeper sweeper
	coarse  bool // time is counted in seconds
	closed  atomic.Bool
}

// missingEntries is the largest number of absent names that are remembered: anybody can make up names.
const missingEntries = 1024

// skew is how far the clocks of two threads may be apart, in nanoseconds, before an entry from the future is doubted.
const skew = int64(2 * time.Second)

// Open opens the folder.
func Open(o Options) (*Files, error) {
	f := &Files{options: o, strip: strings.TrimRight(o.Strip, "/")}
	if f.strip != "" && f.strip[0] != '/' {
		return nil, fmt.Errorf("static: %q does not begin with \"/\", so it is the front of no path", o.Strip)
	}
	set := func(n *int64, otherwise int64) {
		if *n == 0 {
			*n = otherwise
		}
	}
	set(&f.options.MemoryFile, 16<<10)
	set(&f.options.Memory, 64<<20)
	if f.options.Valid <= 0 {
		f.options.Valid = time.Second
	}
	f.coarse = f.options.Valid >= time.Second
	if o.Entries == 0 {
		o.Entries = 1024
	}
	for _, name := range o.Precompressed {
		c, ok := codingNamed(name)
		if !ok {
			return nil, fmt.Errorf("static: the coding %q is unknown; br, zstd and gzip are known", name)
		}
		f.codings = append(f.codings, c)
	}
	if len(f.codings) > maxCodings {
		return nil, fmt.Errorf("static: more than %d codings", maxCodings)
	}
	f.sweeper.every = sweepTime / sweepParts
	if o.Entries > 0 {
		f.found = newCache(o.Entries)
		f.missing = newCache(min(o.Entries, missingEntries))
	}
	if _, err := f.reopen(); err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	return f, nil
}

// Close forgets everything that was found, and the folder. Answers that have begun are completed; later requests get
// 503.
func (f *Files) Close() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	if f.closed.Swap(true) {
		return nil
	}
	f.unwatch()
	f.forget()
	f.folder.Load().leave()
	return nil
}

// forget empties the caches.
func (f *Files) forget() {
	if f.found != nil {
		f.found.clear(f.retire)
		f.missing.clear(f.retire)
	}
}

// served are the methods that files answer.
var served = web.MethodsOf(http1.GET, http1.HEAD, http1.OPTIONS)

// Serve answers with the file that the path names.
func (f *Files) Serve(x *web.Exchange) {
	if m := x.Method(); m != http1.GET && m != http1.HEAD {
		x.RefuseMethod(served)
		return
	}
	path, ok := f.local(x.Path())
	if !ok {
		x.Fail(404)
		return
	}
	now := f.now(x)
	// An entry can be retired between being found and being held. It is then looked up again; to lose twice is rare.
	for range 8 {
		r, err := f.lookup(path, now)
		if err != nil {
			break
		}
		done := f.give(x, r)
		if f.found == nil {
			f.retire(r)
		}
		if done {
			return
		}
	}
	x.Fail(503)
}

// local is the part of a path that names something in the folder, and whether it may.
func (f *Files) local(path []byte) ([]byte, bool) {
	if f.strip != "" {
		if len(path) < len(f.strip) || string(path[:len(f.strip)]) != f.strip {
			return nil, false
		}
		if path = path[len(f.strip):]; len(path) > 0 && path[0] != '/' {
			return nil, false
		}
	}
	// No name of a file holds a "/", encoded or not.
	return path, (f.options.Hidden || !hidden(path)) && bytes.IndexByte(path, web.EncodedSlash) < 0
}

var (
	hiddenMark = []byte("/.")
	wellKnown  = []byte("/.well-known/")
)

// hidden tells whether a name in the path begins with a dot. What stands at the top under /.well-known (RFC 8615) is
// there to be found: certificates are proved with it.
func hidden(path []byte) bool {
	if bytes.HasPrefix(path, wellKnown) {
		path = path[len(wellKnown)-1:]
	}
	return bytes.Contains(path, hiddenMark)
}

// now is the time that the age of entries is counted in, in nanoseconds since 1970. Clocks of connections agree
// only in their seconds, so shorter validity asks the operating system.
func (f *Files) now(x *web.Exchange) int64 {
	if f.coarse {
		return x.Conn().Wall() * int64(time.Second)
	}
	return time.Now().UnixNano()
}

// lookup is what a path stands for: as remembered if that is not too old, otherwise as it is.
func (f *Files) lookup(path []byte, now int64) (*resource, error) {
	var r *resource
	if f.found != nil {
		r = f.found.find(path)
		if r == nil {
			r = f.missing.find(path)
		}
		if r != nil && f.fresh(r, now) {
			return r, nil
		}
	}
	d := f.enter(now)
	if d == nil {
		return nil, fs.ErrClosed
	}
	defer d.leave()
	if r != nil && r.kind == regular && f.unchanged(d.root, r) {
		return r, nil
	}
	r, err := f.fill(d.root, string(path), now)
	if err != nil || f.found == nil {
		return r, err
	}
	into, from := f.found, f.missing
	if r.kind == missing {
		into, from = from, into
	}
	into.put(r, now, f.retire)
	from.remove(r.path, f.retire)
	if r.kind == regular {
		f.watch()
	}
	if f.closed.Load() {
		// Close may have come before put; what it could not see is forgotten here.
		f.forget()
		return nil, fs.ErrClosed
	}
	return r, nil
}

// fresh says whether an entry may be used as it is. Of those who find it too old one looks at the folder, and the
// others use it for that moment longer.
func (f *Files) fresh(r *resource, now int64) bool {
	checked := r.checked.Load()
	if age := now - checked; age < int64(f.options.Valid) && age > -skew {
		r.touch(now)
		return true
	}
	if !r.checked.CompareAndSwap(checked, now) {
		return true
	}
	r.touch(now)
	return false
}

// give answers with a resource. It reports false if that was retired meanwhile.
func (f *Files) give(x *web.Exchange, r *resource) bool {
	switch r.kind {
	case missing:
		x.Fail(404)
	case forbidden:
		x.Fail(403)
	case slashless:
		f.redirect(x)
	case listing:
		f.list(x, r)
	case regular:
		v := r.choose(x.Request(), f.codings)
		if v.size > largeBytes && v.file != nil && v.file.Changed() {
			r.checked.Store(math.MinInt64 / 2) // what is known of it would be noticed to be wrong when it has been sent
			return false
		}
		return f.send(x, v)
	}
	return true
}

// largeBytes is from which size on it is noticed that a file changes while it is sent.
const largeBytes = 256 << 10

// redirect sends the client to the folder that it named without its "/".
func (f *Files) redirect(x *web.Exchange) {
	var space [512]byte
	b := web.EscapePath(space[:0], x.Path())
	b = append(b, '/')
	if query := x.Query(); query != nil {
		b = append(b, '?')
		b = append(b, query...)
	}
	x.AddBytes("Location", b)
	x.Status(301)
	x.Reply(nil)
}

// kindOf is what an error of opening or looking at a file means to the client. What may be over in a moment, such as
// a lack of descriptors, is passed on.
func kindOf(err error) (kind, error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return forbidden, nil
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.EIO), errors.Is(err, syscall.EINTR), errors.Is(err, fs.ErrClosed):
		return missing, err
	}
	// Not there, not a folder, too long a name, a loop of links, or a way out of the root: all of it is not found.
	return missing, nil
}
