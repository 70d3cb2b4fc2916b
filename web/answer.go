package web

import (
	"strconv"

	"github.com/myriad-server/myriad/proto/http1"
)

// Answer is an answer made once and given many times: all of it but the date and what depends on the connection is
// put together beforehand. It must not change once it is in use, and may be used by all threads.
type Answer struct {
	status int
	line   string
	tail   []byte // field lines, the empty line, the content
	head   int    // how much of tail belongs to the head
}

// NewAnswer makes an answer with content of a type; an empty kind leaves the Content-Type field out. Statuses that
// have no content (204 and 304) lose body and Content-Length. Statuses are 200 to 599; any other becomes 500.
func NewAnswer(status int, kind string, body []byte, fields ...http1.FieldLine) *Answer {
	if status < 200 || status > 599 {
		status = 500
	}
	a := &Answer{status: status, line: string(http1.AppendStatus(nil, status))}
	if bodiless(status) {
		body = nil
	} else {
		if kind != "" {
			a.tail = appendField(a.tail, "Content-Type", kind)
		}
		a.tail = http1.AppendLength(a.tail, int64(len(body)))
	}
	for _, f := range fields {
		a.tail = appendField(a.tail, f.Name, f.Value)
	}
	a.tail = http1.AppendHeadEnd(a.tail)
	a.head = len(a.tail)
	a.tail = append(a.tail, body...)
	return a
}

// Status is the answer's status.
func (a *Answer) Status() int { return a.status }

// Len is how many bytes of content the answer has.
func (a *Answer) Len() int { return len(a.tail) - a.head }

// bodiless says that answers with the status have no content (RFC 9110 section 6.4.1).
func bodiless(status int) bool { return status == 204 || status == 304 || status < 200 }

// appendField appends a field line unless the field is one that only the exchange itself may write.
func appendField(b []byte, name, value string) []byte {
	if reserved(name) {
		return b
	}
	return http1.AppendField(b, name, value)
}

// reserved says that a field frames the message or speaks about the connection: two of it would let an answer be
// read in two ways.
func reserved(name string) bool {
	switch len(name) {
	case len("Connection"):
		return same(name, "connection") || same(name, "keep-alive")
	case len("Date"):
		return same(name, "date")
	case len("Content-Length"):
		return same(name, "content-length")
	case len("Transfer-Encoding"):
		return same(name, "transfer-encoding")
	}
	return false
}

// same compares a name with one in lower case, without regard to the case of letters.
func same(name, lower string) bool {
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return len(name) == len(lower)
}

// plainType is the type of the answers that this package makes itself.
const plainType = "text/plain; charset=utf-8"

// plainAnswers has an answer for every status from 400 that has a name: the number and the name, in plain text.
var plainAnswers = func() (answers [600]*Answer) {
	for status := 400; status < len(answers); status++ {
		if reason := http1.Reason(status); reason != "" {
			text := strconv.Itoa(status) + " " + reason + "\n"
			answers[status] = NewAnswer(status, plainType, []byte(text))
		}
	}
	return answers
}()

// Body is the answer's content. It must not be changed.
func (a *Answer) Body() []byte { return a.tail[a.head:] }
