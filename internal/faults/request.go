package faults

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
)

// Request is one request as it arrived.
type Request struct {
	// Connection is the number of the connection that it came on, and Number its own there. Both begin at 1.
	Connection, Number int64
	Method, Target     string
	// Minor is 1 for HTTP/1.1 and 0 for HTTP/1.0.
	Minor int
	// Head is the head as it came, with the empty line.
	Head   string
	Fields []Field
	// Length is that of the body as the head tells it; -1: chunked.
	Length int64
	// Body is what was kept of the body; BodyBytes is how long it was, Sum its FNV-1a. Complete is true when its end was
	// reached.
	Body      []byte
	BodyBytes int64
	Sum       uint64
	Complete  bool
	Trailers  []Field
	// Wrong says what is not as it should be; empty: nothing.
	Wrong string
}

// Field is one line of a head or of trailers.
type Field struct{ Name, Value string }

// Get is the value of the first field of that name, in any case of its letters.
func (r *Request) Get(name string) string {
	value, _ := lookup(r.Fields, name)
	return value
}

func lookup(fields []Field, name string) (value string, count int) {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			if count == 0 {
				value = f.Value
			}
			count++
		}
	}
	return value, count
}

// errWrong is told where a request is not one; what is wrong with it is in the request.
var errWrong = errors.New("faults: not a request")

// mostHead is how long a head may be.
const mostHead = 1 << 20

// readRequest reads a head. An error before the first byte is io.EOF or what the connection said.
func readRequest(r *bufio.Reader) (*Request, error) {
	q := &Request{}
	lines, err := readLines(r, &q.Head, &q.Wrong)
	if err != nil {
		return q, err
	}
	if q.Wrong == "" {
		q.parse(lines)
	}
	if q.Wrong != "" {
		return q, errWrong
	}
	return q, nil
}

// readLines reads lines up to the empty one, each of which must end with CRLF and hold no other control character.
func readLines(r *bufio.Reader, whole, wrong *string) (lines []string, err error) {
	var all strings.Builder
	defer func() { *whole = all.String() }()
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			if all.Len() > 0 {
				*wrong = "it breaks off within a head"
			}
			return nil, err
		}
		text, ok := strings.CutSuffix(line, "\r\n")
		switch {
		case !ok:
			*wrong = "a line ends without CR"
			return nil, nil
		case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			*wrong = "a control character in a line"
			return nil, nil
		case all.Len() > mostHead:
			*wrong = "the head does not end"
			return nil, nil
		case text == "":
			return lines, nil
		}
		lines = append(lines, text)
	}
}

// parse makes a request of its lines.
func (r *Request) parse(lines []string) {
	if len(lines) == 0 {
		r.Wrong = "an empty line before the request"
		return
	}
	words := strings.Split(lines[0], " ")
	if len(words) != 3 || !token(words[0]) || words[1] == "" || strings.Contains(words[1], "\t") {
		r.Wrong = "the request line is not three words"
		return
	}
	r.Method, r.Target = words[0], words[1]
	switch words[2] {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
	default:
		r.Wrong = "the version is neither 1.1 nor 1.0"
		return
	}
	r.Fields, r.Wrong = parseFields(lines[1:])
	if r.Wrong == "" {
		r.frame()
	}
}

// parseFields reads field lines.
func parseFields(lines []string) (fields []Field, wrong string) {
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return fields, fmt.Sprintf("no field: %q", line)
		}
		fields = append(fields, Field{name, strings.Trim(value, " \t")})
	}
	return fields, ""
}

// frame finds out how long the body is.
func (r *Request) frame() {
	if _, hosts := lookup(r.Fields, "Host"); hosts > 1 || hosts == 0 && r.Minor == 1 {
		r.Wrong = fmt.Sprintf("%d Host fields", hosts)
		return
	}
	length, lengths := lookup(r.Fields, "Content-Length")
	coding, codings := lookup(r.Fields, "Transfer-Encoding")
	switch {
	case lengths > 1 || codings > 1:
		r.Wrong = "it says twice how long it is"
	case lengths == 1 && codings == 1:
		r.Wrong = "both a length and a transfer coding"
	case codings == 1 && (coding != "chunked" || r.Minor == 0):
		r.Wrong = fmt.Sprintf("the transfer coding is %q", coding)
	case codings == 1:
		r.Length = -1
	case lengths == 1:
		if length == "" || strings.Trim(length, "0123456789") != "" {
			r.Wrong = fmt.Sprintf("the length is %q", length)
			return
		}
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil {
			r.Wrong = fmt.Sprintf("the length is %q", length)
		}
		r.Length = n
	}
}

// token tells whether a text is a token of RFC 9110 section 5.6.2.
func token(text string) bool {
	for _, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}

// A bodyReader reads the body of one request.
type bodyReader struct {
	request *Request
	from    *bufio.Reader
	keep    int
	left    int64 // of the body, or of the chunk
	begun   bool
	sum     interface {
		io.Writer
		Sum64() uint64
	}
}

func newBody(r *Request, from *bufio.Reader, keep int) *bodyReader {
	b := &bodyReader{request: r, from: from, keep: keep, sum: fnv.New64a()}
	if r.Length >= 0 {
		b.left = r.Length
		r.Complete = r.Length == 0
	}
	r.Sum = b.sum.Sum64()
	return b
}

// read reads up to n bytes more of the body, and no further than its end.
func (b *bodyReader) read(n int64) error {
	r := b.request
	for n > 0 && !r.Complete {
		if b.left == 0 && r.Length < 0 {
			if err := b.nextChunk(); err != nil {
				return err
			}
			continue
		}
		took, err := b.piece(min(n, b.left))
		b.left -= took
		n -= took
		if err != nil {
			return err
		}
		r.Complete = b.left == 0 && r.Length >= 0
	}
	return nil
}

// piece reads n bytes of content.
func (b *bodyReader) piece(n int64) (took int64, err error) {
	r := b.request
	defer func() { r.Sum = b.sum.Sum64() }()
	for took < n {
		if b.from.Buffered() == 0 {
			if _, err := b.from.Peek(1); err != nil {
				return took, err
			}
		}
		p, _ := b.from.Peek(int(min(n-took, int64(b.from.Buffered()))))
		_, _ = b.sum.Write(p)
		if room := b.keep - len(r.Body); room > 0 {
			r.Body = append(r.Body, p[:min(room, len(p))]...)
		}
		r.BodyBytes += int64(len(p))
		took += int64(len(p))
		_, _ = b.from.Discard(len(p))
	}
	return took, nil
}

// nextChunk reads what stands before a chunk, and what stands behind the last.
func (b *bodyReader) nextChunk() error {
	r := b.request
	if b.begun {
		if end, err := b.line(); err != nil || end != "" {
			return b.wrong(err, "a chunk is longer than it says")
		}
	}
	b.begun = true
	size, err := b.line()
	if err != nil {
		return b.wrong(err, "no size of a chunk")
	}
	n, err := strconv.ParseUint(size, 16, 63)
	if err != nil || strings.Trim(size, "0123456789abcdefABCDEF") != "" {
		return b.wrong(nil, fmt.Sprintf("the size of a chunk is %q", size))
	}
	if n > 0 {
		b.left = int64(n)
		return nil
	}
	var whole string
	lines, err := readLines(b.from, &whole, &r.Wrong)
	if err != nil || r.Wrong != "" {
		return b.wrong(err, r.Wrong)
	}
	if r.Trailers, r.Wrong = parseFields(lines); r.Wrong != "" {
		return errWrong
	}
	r.Complete = true
	return nil
}

// line reads one that ends with CRLF.
func (b *bodyReader) line() (string, error) {
	text, err := b.from.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(text, "\r\n")
	if !ok {
		return "", errWrong
	}
	return text, nil
}

// wrong is the error of what was read, if it is not that the connection ended.
func (b *bodyReader) wrong(err error, what string) error {
	if err != nil && !errors.Is(err, errWrong) {
		return err
	}
	b.request.Wrong = what
	return errWrong
}
