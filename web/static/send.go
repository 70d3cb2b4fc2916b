package static

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// send answers with a variant, or parts of it. It reports false if its file has been closed meanwhile.
func (f *Files) send(x *web.Exchange, v *variant) bool {
	q := x.Request()
	switch judge(q, v) {
	case failed:
		x.Fail(412)
		return true
	case unchanged:
		x.Respond(v.same)
		return true
	}
	if value, ok := q.Field(http1.Range); ok && q.Method == http1.GET && !q.Repeated(http1.Range) && ranged(q, v) {
		var room [maxRanges]span
		switch spans, what := parseRange(value, v.size, room[:0]); what {
		case unsatisfiable:
			v.refuse(x)
			return true
		case some:
			return v.sendParts(x, spans)
		}
	}
	if v.whole != nil {
		x.Respond(v.whole)
		return true
	}
	if !v.file.hold() {
		return false
	}
	x.AddLines(v.lines)
	x.ReplyFile(v.file, 0, v.size)
	return true
}

// refuse says that nothing of what was asked for is there.
func (v *variant) refuse(x *web.Exchange) {
	var space [32]byte
	b := append(space[:0], "bytes */"...)
	x.AddBytes("Content-Range", strconv.AppendInt(b, v.size, 10))
	x.Fail(416)
}

// sendParts answers with ranges: with one as it is, with more as a multipart/byteranges.
func (v *variant) sendParts(x *web.Exchange, spans []span) bool {
	if v.file != nil && !v.file.hold() {
		return false
	}
	x.Status(206)
	if len(spans) > 1 {
		v.sendMultipart(x, spans)
	} else {
		var space [80]byte
		x.AddLines(v.lines)
		x.AddBytes("Content-Range", spans[0].appendContentRange(space[:0], v.size))
		x.Begin(spans[0].n)
		v.write(x, spans[0])
		x.End()
	}
	if v.file != nil {
		v.file.Release()
	}
	return true
}

// write sends a range of the content.
func (v *variant) write(x *web.Exchange, s span) {
	if v.file == nil {
		x.Lend(v.whole.Body()[s.from : s.from+s.n])
		return
	}
	v.file.Hold()
	x.WriteFile(v.file, s.from, s.n)
}

// appendContentRange appends the value of the Content-Range field.
func (s span) appendContentRange(b []byte, size int64) []byte {
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, s.from, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.from+s.n-1, 10)
	b = append(b, '/')
	return strconv.AppendInt(b, size, 10)
}

// sendMultipart sends several ranges in one answer (RFC 9110 section 14.6).
func (v *variant) sendMultipart(x *web.Exchange, spans []span) {
	var bytes [16]byte
	for i := range bytes {
		bytes[i] = byte(rand.Uint32())
	}
	boundary := hex.EncodeToString(bytes[:])
	heads := make([][]byte, len(spans))
	end := "\r\n--" + boundary + "--\r\n"
	length := int64(len(end))
	for i, s := range spans {
		b := make([]byte, 0, 256)
		if i > 0 {
			b = append(b, "\r\n"...)
		}
		b = append(b, "--"...)
		b = append(b, boundary...)
		b = append(b, "\r\nContent-Type: "...)
		b = append(b, v.kind...)
		b = append(b, "\r\nContent-Range: "...)
		b = s.appendContentRange(b, v.size)
		b = append(b, "\r\n\r\n"...)
		heads[i] = b
		length += int64(len(b)) + s.n
	}
	x.AddLines(v.partLines)
	x.Add("Content-Type", "multipart/byteranges; boundary="+boundary)
	x.Begin(length)
	for i, s := range spans {
		x.Write(heads[i])
		v.write(x, s)
	}
	x.Write([]byte(end))
	x.End()
}
