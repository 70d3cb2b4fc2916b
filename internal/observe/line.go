package observe

import (
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/myriad-server/myriad/web"
)

// ErrStuck is Close's answer when the output takes nothing.
var ErrStuck = errors.New("the access log could not be written in time; lines are lost")

// stamp is the text of one second, made anew when the second changes.
type stamp struct {
	second int64
	text   []byte
}

func (s *stamp) at(second int64, layout string) []byte {
	if len(s.text) == 0 || s.second != second {
		s.second = second
		s.text = time.Unix(second, 0).UTC().AppendFormat(s.text[:0], layout)
	}
	return s.text
}

// What one value may take of a line, in bytes.
const (
	longestTarget = 2 << 10
	longestOther  = 256
)

// appendJSON appends a line as slog.JSONHandler would have written it: time, level, msg, and the attributes.
func appendJSON(b []byte, r *web.Record, clock *stamp) []byte {
	b = append(b, `{"time":"`...)
	b = append(b, clock.at(r.Wall, "2006-01-02T15:04:05")...)
	b = appendMilliseconds(b, r.Milliseconds)
	b = append(b, `Z","level":"INFO","msg":"request","connection":`...)
	b = strconv.AppendUint(b, r.Connection, 10)
	b = append(b, `,"remote":"`...)
	b = appendClient(b, r.Remote)
	b = append(b, `","method":"`...)
	b = appendQuoted(b, r.Method, longestOther, true)
	b = append(b, `","target":"`...)
	b = appendQuoted(b, r.Target, longestTarget, true)
	b = append(b, `","host":"`...)
	b = appendQuoted(b, r.Host, longestOther, true)
	b = append(b, `","protocol":"HTTP/1.`...)
	b = strconv.AppendUint(b, uint64(r.Minor), 10)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"sent_bytes":`...)
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, `,"duration_microseconds":`...)
	b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	b = appendUpstream(b, r)
	b = append(b, `,"user_agent":"`...)
	b = appendQuoted(b, r.UserAgent, longestOther, true)
	b = append(b, `","referer":"`...)
	b = appendQuoted(b, r.Referer, longestOther, true)
	return append(b, '"', '}', '\n')
}

// appendMilliseconds appends the fraction of a second without zeros at its end, as slog does.
func appendMilliseconds(b []byte, n int) []byte {
	if n <= 0 || n > 999 {
		return b
	}
	b = append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// combinedTime is the layout of times in the combined format.
const combinedTime = "02/Jan/2006:15:04:05 -0700"

// appendCombined appends a line of the combined format.
func appendCombined(b []byte, r *web.Record, clock *stamp) []byte {
	b = appendHost(b, r.Remote)
	b = append(b, " - - ["...)
	b = append(b, clock.at(r.Wall, combinedTime)...)
	b = append(b, `] "`...)
	if len(r.Method) == 0 {
		b = append(b, '-')
	} else {
		b = appendQuoted(b, r.Method, longestOther, false)
		b = append(b, ' ')
		b = appendQuoted(b, r.Target, longestTarget, false)
		b = append(b, " HTTP/1."...)
		b = strconv.AppendUint(b, uint64(r.Minor), 10)
	}
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, ' ')
	b = appendOrDash(b, r.Referer)
	b = append(b, ' ')
	b = appendOrDash(b, r.UserAgent)
	if proxied(r) {
		b = append(b, ` "`...)
		b = appendText(b, orDash(r.Upstream), false)
		b = append(b, `" `...)
		b = strconv.AppendInt(b, int64(r.Attempts), 10)
		b = append(b, ' ')
		b = append(b, orDash(r.Cause)...)
	}
	return append(b, '\n')
}

// proxied reports whether a request was passed on, or was to be.
func proxied(r *web.Record) bool { return r.Upstream != "" || r.Cause != "" }

// appendUpstream appends who was asked for the answer, how often, and what went wrong.
func appendUpstream(b []byte, r *web.Record) []byte {
	if !proxied(r) {
		return b
	}
	b = append(b, `,"upstream":"`...)
	b = appendText(b, r.Upstream, true)
	b = append(b, `","attempts":`...)
	b = strconv.AppendInt(b, int64(r.Attempts), 10)
	b = append(b, `,"upstream_reused":`...)
	b = strconv.AppendBool(b, r.Reused)
	b = appendTime(b, `,"upstream_wait_microseconds":`, r.Wait)
	b = appendTime(b, `,"upstream_first_byte_microseconds":`, r.FirstByte)
	b = appendTime(b, `,"upstream_duration_microseconds":`, r.Passed)
	if r.Cause != "" {
		b = append(b, `,"cause":"`...)
		b = appendText(b, r.Cause, true)
		b = append(b, '"')
	}
	if r.Reason != "" {
		b = append(b, `,"reason":"`...)
		b = appendText(b, r.Reason[:min(len(r.Reason), longestOther)], true)
		b = append(b, '"')
	}
	return b
}

// appendTime appends a time behind its name, unless it did not come to that.
func appendTime(b []byte, name string, d time.Duration) []byte {
	if d < 0 {
		return b
	}
	b = append(b, name...)
	return strconv.AppendInt(b, d.Microseconds(), 10)
}

// appendText is appendQuoted for a text of the program's own, which has few characters to escape: the names of Unix
// sockets may.
func appendText(b []byte, text string, json bool) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return appendQuoted(b, []byte(text[i:]), longestOther, json)
		}
		b = append(b, text[i])
	}
	return b
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func appendOrDash(b, value []byte) []byte {
	b = append(b, '"')
	if len(value) == 0 {
		b = append(b, '-')
	} else {
		b = appendQuoted(b, value, longestOther, false)
	}
	return append(b, '"')
}

const hex = "0123456789abcdef"

// appendQuoted appends what stands between two quotation marks, and cuts it off when it takes more than most bytes of
// the line: quotation marks, backslashes and control characters are escaped, so that a client cannot write lines of its
// own. JSON wants text, and bytes that are none become U+FFFD; the combined format is escaped byte by byte.
func appendQuoted(b, value []byte, most int, json bool) []byte {
	start := len(b)
	for len(value) > 0 {
		if len(b)-start >= most {
			return append(b, "..."...)
		}
		c := value[0]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c < 0x7f, c == 0x7f && json:
			b = append(b, c)
		case !json:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		case c < ' ':
			b = appendControl(b, c)
		default:
			character, size := utf8.DecodeRune(value)
			switch {
			case character == utf8.RuneError && size == 1:
				b = append(b, `\ufffd`...)
			case character == '\u2028' || character == '\u2029':
				b = append(b, `\u202`...)
				b = append(b, hex[character&15])
			default:
				b = append(b, value[:size]...)
			}
			value = value[size:]
			continue
		}
		value = value[1:]
	}
	return b
}

// appendControl appends a control character as slog writes it.
func appendControl(b []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
