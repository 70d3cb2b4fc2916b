package ws

import (
	"compress/flate"
	"io"
	"slices"
	"sync"
)

// WindowBits is the largest window, and that of the standard library: 1<<15 bytes.
const WindowBits = 15

const (
	windowBytes = 1 << WindowBits
	leastBits   = 8
)

// tail is what the sender has cut off the end of a message (RFC 7692 section 7.2.1), and behind it an empty block that
// says that there is no more.
var tail = []byte{0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF}

// source gives a decompressor the bytes of a message and then the tail.
type source struct {
	bytes []byte
	tail  []byte
}

// Read is for stored blocks.
func (s *source) Read(p []byte) (int, error) {
	n := copy(p, s.bytes)
	s.bytes = s.bytes[n:]
	if n > 0 {
		return n, nil
	}
	if n = copy(p, s.tail); n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	s.tail = s.tail[n:]
	return n, nil
}

// ReadByte keeps the decompressor from reading ahead.
func (s *source) ReadByte() (b byte, err error) {
	from := &s.bytes
	if len(*from) == 0 {
		from = &s.tail
	}
	if len(*from) == 0 {
		return 0, io.EOF
	}
	b, *from = (*from)[0], (*from)[1:]
	return b, nil
}

// inflater is a decompressor and where it reads from. It takes some 45 KiB, and is borrowed for one message.
type inflater struct {
	source source
	reader io.Reader
}

// reset makes it ready to read the source behind what the window holds.
func (f *inflater) reset(window []byte) {
	if f.reader == nil {
		f.reader = flate.NewReaderDict(&f.source, window)
		return
	}
	_ = f.reader.(flate.Resetter).Reset(&f.source, window) // it cannot fail
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate appends what a message is decompressed, at most limit bytes. The window is what the message may refer to.
// What would be more than the limit is not produced, however small it is compressed.
func inflate(dst, message, window []byte, limit int64) ([]byte, *Error) {
	f := inflaters.Get().(*inflater)
	defer func() {
		f.source = source{}
		inflaters.Put(f)
	}()
	f.source = source{message, tail}
	f.reset(window)
	from := len(dst)
	dst = slices.Grow(dst, int(min(limit+1, max(512, 4*int64(len(message))))))
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, 1)
		}
		// One byte beyond the limit is asked for, and is the proof that there is too much.
		room := min(int64(cap(dst)), int64(from)+limit+1)
		n, err := f.reader.Read(dst[len(dst):room])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)-from) > limit:
			return dst, ErrMessageSize
		case err == nil:
		case err != io.EOF:
			return dst, ErrDeflate
		case len(f.source.bytes) == 0:
			return dst, nil
		default:
			// The sender ended its stream within the message, and began another (RFC 7692 section 7.2.3.4).
			f.reset(slide(append([]byte(nil), window...), dst[from:]))
		}
	}
}

// slide moves a window on over what was received.
func slide(window, over []byte) []byte {
	if len(over) >= windowBytes {
		return append(window[:0], over[len(over)-windowBytes:]...)
	}
	if more := len(window) + len(over) - windowBytes; more > 0 {
		window = window[:copy(window, window[more:])]
	}
	return append(window, over...)
}

// deflater is a compressor and where it writes to. It takes about a megabyte, and is borrowed for one message.
type deflater struct {
	out    []byte
	writer *flate.Writer
}

// Write appends what the compressor gives.
func (f *deflater) Write(p []byte) (int, error) {
	f.out = append(f.out, p...)
	return len(p), nil
}

// deflaters are the compressors by level, from flate.BestSpeed to flate.BestCompression.
var deflaters [flate.BestCompression + 1]sync.Pool

// AppendDeflated appends p as the payload of a compressed message, for a peer whose window has 1<<bits bytes. Each call
// begins anew: the peer needs nothing that was sent before. level is that of package compress/flate, 1 to 9; any other
// is 1.
func AppendDeflated(dst, p []byte, level int, bits uint8) []byte {
	if level < flate.BestSpeed || level > flate.BestCompression {
		level = flate.BestSpeed
	}
	f, _ := deflaters[level].Get().(*deflater)
	if f == nil {
		f = new(deflater)
		f.writer, _ = flate.NewWriter(f, level) // the level is a valid one
	}
	f.out = dst
	stretch := len(p)
	if bits < WindowBits {
		stretch = 1 << max(bits, leastBits)
	}
	for {
		// A stretch that is no longer than the window cannot refer to anything outside of it.
		now := p[:min(stretch, len(p))]
		f.writer.Reset(f)
		_, _ = f.writer.Write(now) // deflater.Write cannot fail
		_ = f.writer.Flush()
		if p = p[len(now):]; len(p) == 0 {
			break
		}
	}
	dst, f.out = f.out[:len(f.out)-4], nil // what every flush ends with is left out
	deflaters[level].Put(f)
	return dst
}
