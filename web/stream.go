package web

import (
	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
)

// framing is how the end of the content is told.
type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
	noContent // the head is all there is
)

// Begin sends the head of an answer whose content follows with Write and WriteFile until End: length bytes of it, or
// as much as there will be when length is negative. Then it goes out in chunks, and to a client of HTTP/1.0 until the
// connection closes.
func (x *Exchange) Begin(length int64) {
	if x.answering != unanswered {
		return
	}
	switch {
	case x.status == 0:
		x.status = 200
	case x.status < 200 || x.status > 599:
		x.status = 500 // a fault of the handler
	}
	x.answering = streaming
	x.frame(length)
	ends := x.connection()
	b := http1.AppendStatus(x.handler.scratch[:0], x.status)
	b = append(b, x.handler.stamped(x.c)...)
	b = append(b, x.fields...)
	switch {
	case bodiless(x.status):
	case length >= 0:
		b = http1.AppendLength(b, length)
	case x.request.Minor > 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, ends...)
	b = http1.AppendHeadEnd(b)
	x.handler.scratch = bounded(b)
	x.put(b)
	x.head(0)
}

// frame decides how the content of the answer ends.
func (x *Exchange) frame(length int64) {
	switch {
	case bodiless(x.status) || x.request.Method == http1.HEAD && !x.malformed:
		x.framing = noContent
	case length >= 0:
		x.framing, x.left = byLength, length
	case x.request.Minor > 0:
		x.framing = byChunks
	default:
		x.framing, x.fate = byClose, last
	}
}

// Write sends a copy of content. What goes beyond the length promised is dropped. Before the first Write comes Begin.
// What is written at a time is little against Limits.OutputBytes; see Full, and Lend.
func (x *Exchange) Write(p []byte) {
	if x.answering != streaming || len(p) == 0 {
		return
	}
	switch x.framing {
	case noContent:
		return
	case byLength:
		p = p[:min(int64(len(p)), x.left)]
		x.left -= int64(len(p))
		x.put(p)
	case byClose:
		x.put(p)
	case byChunks:
		x.putChunk(p)
	}
	x.sent += int64(len(p))
	x.watch()
}

// Lend sends content that does not change until the exchange is answered or closed. It is Write without its copy:
// large content is queued piece by piece, as the client takes it.
func (x *Exchange) Lend(p []byte) {
	if x.framing == byLength {
		p = p[:min(int64(len(p)), x.left)]
	}
	if x.answering != streaming || x.framing == noContent || int64(len(p)) <= x.pace() {
		x.Write(p)
		return
	}
	switch x.framing {
	case byLength:
		x.left -= int64(len(p))
		x.lend(p)
	case byClose:
		x.lend(p)
	case byChunks:
		x.chunkHead(int64(len(p)))
		x.lend(p)
		x.put(chunkTail)
	}
	x.sent += int64(len(p))
	x.watch()
}

// putChunk queues one chunk.
func (x *Exchange) putChunk(p []byte) {
	x.chunkHead(int64(len(p)))
	x.put(p)
	x.put(chunkTail)
}

var chunkTail = []byte(http1.ChunkTail)

// chunkHead queues the size line of a chunk.
func (x *Exchange) chunkHead(n int64) {
	b := http1.AppendChunkHead(x.handler.scratch[:0], int(n))
	x.handler.scratch = b
	x.put(b)
}

// WriteBlock sends the bytes from..to of b without copying them, and takes over one hold of it. b comes from the pool
// of the exchange's own thread.
func (x *Exchange) WriteBlock(b *buf.Block, from, to int) {
	n := int64(to - from)
	if x.answering == streaming && x.framing == byLength {
		n = min(n, x.left)
		x.left -= n
	}
	if x.answering != streaming || x.framing == noContent || n <= 0 {
		b.Release()
		return
	}
	if x.framing == byChunks {
		x.chunkHead(n)
	}
	x.putBlock(b, from, from+int(n))
	if x.framing == byChunks {
		x.put(chunkTail)
	}
	x.sent += n
	x.watch()
}

// WriteFile sends n bytes of f from off, and takes over one hold of it: it is released here or when it has been sent.
func (x *Exchange) WriteFile(f conn.File, off, n int64) {
	if x.answering == streaming && x.framing == byLength {
		n = min(n, x.left)
		x.left -= n
	}
	if x.answering != streaming || x.framing == noContent || n <= 0 {
		f.Release()
		return
	}
	if x.framing == byChunks {
		x.chunkHead(n)
	}
	x.putFile(f, off, n)
	if x.framing == byChunks {
		x.put(chunkTail)
	}
	x.sent += n
	x.watch()
}

// ReplyFile gives the answer with the status and the fields set before, and n bytes of f from off as its content. It
// takes over one hold of f.
func (x *Exchange) ReplyFile(f conn.File, off, n int64) {
	x.Begin(n)
	x.WriteFile(f, off, n)
	x.End()
}

// Trailer adds a field behind the content. It is dropped unless the content goes out in chunks.
func (x *Exchange) Trailer(name, value string) {
	x.trailers = append(x.trailers, http1.FieldLine{Name: name, Value: value})
}

// End completes the answer. Content that is shorter than was promised breaks the connection off, because the client
// must not take it for the whole.
func (x *Exchange) End() {
	if x.answering != streaming {
		return
	}
	if x.framing == byLength && x.left > 0 {
		x.Abort(conn.ErrAborted)
		return
	}
	if x.framing == byChunks {
		b := http1.AppendChunkEnd(x.handler.scratch[:0], x.trailers...)
		x.handler.scratch = b
		x.put(b)
	}
	x.trailers = x.trailers[:0]
	x.finish()
}

// Full says that half of Limits.OutputBytes is queued, or that memory is short: a handler that has more writes it when
// OnFlushed says so. The connection of a handler that goes on beyond the whole is aborted.
func (x *Exchange) Full() bool {
	return x.c == nil || len(x.waits) > 0 || x.c.Queued() >= x.rules.limits.OutputBytes/2 || x.c.Room() <= 0
}

// OnFlushed has f called each time that everything queued has left, while the answer is not complete.
func (x *Exchange) OnFlushed(f func()) { x.onFlushed = f }

// OnClosed has f called if the connection ends before the answer is complete. The exchange must not be used any more
// then. why is nil when the client closed in an orderly way.
func (x *Exchange) OnClosed(f func(why error)) { x.onClosed = f }

// flushed tells the handler that everything queued has left.
func (x *Exchange) flushed() {
	defer x.survive()
	x.onFlushed()
}

// watch sets the timer for what a handler writes on its own time.
func (x *Exchange) watch() {
	if !x.driven && x.c != nil {
		x.arm()
	}
}
