package static

import (
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// kind is what a path stands for.
type kind uint8

const (
	missing   kind = iota // nothing that is served
	forbidden             // something that must not be read
	slashless             // a folder, asked for without its "/"
	listing               // a folder that is listed
	regular               // a file
)

// resource is what was found under a path. Only its times change.
type resource struct {
	path    string
	kind    kind
	name    string                 // in the root: the file, or the folder to list
	tried   []string               // index names that were not there
	plain   *variant               // the file itself
	coded   [maxCodings]*variant   // its neighbours, in the order of Files.codings
	varies  bool                   // there is a neighbour
	page    atomic.Pointer[[]byte] // a listing, once it was asked for
	checked atomic.Int64
	used    atomic.Int64
}

// variant is one file, and what answers with it are made of.
type variant struct {
	name      string
	stamp     stamp
	size      int64
	modified  int64 // seconds since 1970
	etag      string
	kind      string      // media type
	file      *file       // nil when the content is in memory
	whole     *web.Answer // the whole answer when the content is in memory
	lines     []byte      // the field lines of 200 and 206 without their length
	partLines []byte      // the same without the type, for an answer of several parts
	same      *web.Answer // 304
}

// touch notes that the resource was used.
func (r *resource) touch(now int64) {
	if r.used.Load() != now {
		r.used.Store(now)
	}
}

// fill finds out what a path stands for.
func (f *Files) fill(root *os.Root, p string, now int64) (*resource, error) {
	r := &resource{path: p}
	r.checked.Store(now)
	folder := strings.HasSuffix(p, "/")
	r.name = strings.Trim(p, "/")
	if r.name == "" {
		r.name = "."
	}
	info, err := root.Stat(r.name)
	switch {
	case err != nil:
		r.kind, err = kindOf(err)
		return r, err
	case info.IsDir() && !folder:
		r.kind = slashless
		return r, nil
	case info.IsDir():
		return r, f.fillFolder(root, r)
	case folder:
		return r, nil
	}
	return r, f.fillFile(root, r, info)
}

// fillFolder finds what answers for a folder: an index, a listing, or nothing.
func (f *Files) fillFolder(root *os.Root, r *resource) error {
	folder := r.name
	for _, index := range f.options.Index {
		r.name = path.Join(folder, index)
		if info, err := root.Stat(r.name); err == nil && !info.IsDir() {
			return f.fillFile(root, r, info)
		}
		r.tried = append(r.tried, r.name)
	}
	r.name, r.kind = folder, forbidden
	if f.options.Listing {
		r.kind = listing
	}
	return nil
}

// staleTime is how much older than its file a neighbour may be, in nanoseconds. Less than this comes about without
// anybody changing the file: file systems and archives count in steps of up to two seconds.
const staleTime = int64(2 * time.Second)

// stale says that a neighbour was made before its file was changed, and so holds what was there before.
func stale(neighbour, file fs.FileInfo) bool {
	return neighbour.ModTime().UnixNano()+staleTime <= file.ModTime().UnixNano()
}

// fillFile opens a file, about which info was found, and its neighbours.
func (f *Files) fillFile(root *os.Root, r *resource, info fs.FileInfo) error {
	for i, c := range f.codings {
		name := r.name + c.suffix
		if about, err := root.Stat(name); err != nil || stale(about, info) {
			continue
		}
		if v, err := f.variant(root, name, r.name, c.name, true); err == nil {
			r.coded[i], r.varies = v, true
		}
	}
	plain, err := f.variant(root, r.name, r.name, "", r.varies)
	if err != nil {
		f.retire(r)
		r.coded, r.varies = [maxCodings]*variant{}, false
		r.kind, err = kindOf(err)
		return err
	}
	r.plain, r.kind = plain, regular
	return nil
}

// variant opens one file and prepares its answers. named is the name that tells its type.
func (f *Files) variant(root *os.Root, name, named, coding string, varies bool) (*variant, error) {
	opened, info, err := open(root, name)
	if err != nil {
		return nil, err
	}
	v := &variant{name: name, stamp: stampOf(info), size: info.Size()}
	v.modified, v.etag = info.ModTime().Unix(), v.stamp.etag()
	content, kept := f.read(opened, v)
	v.kind = f.typeOf(named, coding, opened)
	fields := make([]http1.FieldLine, 0, 6)
	add := func(id http1.KnownField, value string) {
		fields = append(fields, http1.FieldLine{Name: id.String(), Value: value})
	}
	add(http1.ETag, v.etag)
	if varies {
		add(http1.Vary, "Accept-Encoding")
	}
	v.same = web.NewAnswer(304, "", nil, fields...)
	add(http1.LastModified, string(http1.FormatTime(nil, v.modified)))
	add(http1.AcceptRanges, "bytes")
	if coding != "" {
		add(http1.ContentEncoding, coding)
	}
	v.partLines = web.FieldLines(fields...)
	add(http1.ContentType, v.kind)
	v.lines = web.FieldLines(fields...)
	if kept {
		v.whole = web.NewAnswer(200, "", content, fields...)
		opened.Close()
		return v, nil
	}
	v.file = &file{os: opened, fd: int(opened.Fd()), stamp: v.stamp}
	v.file.holds.Store(1)
	f.open.Add(1)
	return v, nil
}

// read reads a file that is to be kept in memory, and reports whether it is.
func (f *Files) read(opened *os.File, v *variant) ([]byte, bool) {
	if v.size > f.options.MemoryFile || v.size < 0 {
		return nil, false
	}
	if f.memory.Add(v.size) > f.options.Memory {
		f.memory.Add(-v.size)
		return nil, false
	}
	content, ok := readWhole(opened, v.stamp)
	if !ok {
		f.memory.Add(-v.size)
	}
	return content, ok
}

// typeOf is the media type of a file: by its name, or by its first bytes unless those are coded.
func (f *Files) typeOf(name, coding string, opened *os.File) string {
	ending := strings.ToLower(path.Ext(name))
	if t, ok := f.options.Types[ending]; ok {
		return t
	}
	if t, ok := types[ending]; ok {
		return t
	}
	if coding != "" {
		return "application/octet-stream"
	}
	var first [512]byte
	n, _ := opened.ReadAt(first[:], 0)
	return http.DetectContentType(first[:n])
}

// unchanged looks whether the files of a resource are those that it has, and no others.
func (f *Files) unchanged(root *os.Root, r *resource) bool {
	for _, name := range r.tried {
		if info, err := root.Stat(name); err == nil && !info.IsDir() {
			return false
		}
	}
	file, err := root.Stat(r.name)
	if !r.plain.is(file, err) {
		return false
	}
	for i, c := range f.codings {
		info, err := root.Stat(r.name + c.suffix)
		usable := err == nil && info.Mode().IsRegular() && !stale(info, file)
		if v := r.coded[i]; v == nil && usable || v != nil && (!usable || !v.is(info, err)) {
			return false
		}
	}
	return true
}

// is says whether what was found under the variant's name is the variant's file.
func (v *variant) is(info fs.FileInfo, err error) bool {
	return err == nil && info.Mode().IsRegular() && stampOf(info) == v.stamp
}

// retire lets go of the files of a resource that is not remembered any more. Answers that hold one go on.
func (f *Files) retire(r *resource) {
	if page := r.page.Swap(&noPage); page != nil && page != &noPage {
		f.memory.Add(-int64(len(*page)))
	}
	r.plain.retire(f)
	for _, v := range r.coded {
		v.retire(f)
	}
}

func (v *variant) retire(f *Files) {
	switch {
	case v == nil:
	case v.file != nil:
		f.open.Add(-1)
		v.file.Release()
	default:
		f.memory.Add(-v.size)
	}
}
