package http1

import "strconv"

// fallbackStatus is written for a status that has no three digits: a fault of the server, and so it says.
const fallbackStatus = 500

var reasons = [600]string{
	100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",

	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",

	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",

	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",

	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 511: "Network Authentication Required",
}

var statusLines = prepareStatusLines()

func prepareStatusLines() (lines [len(reasons)]string) {
	for status, reason := range reasons {
		if reason != "" {
			lines[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + reason + "\r\n"
		}
	}
	return lines
}

// Reason returns the standard reason phrase of a status, or "" when the status has none.
func Reason(status int) string {
	if uint(status) >= uint(len(reasons)) {
		return ""
	}
	return reasons[status]
}

// AppendStatus appends the status line of a response, which says HTTP/1.1 whatever the request said (RFC 9110 section
// 2.5). A status without a standard reason gets an empty one; one outside 100 to 999 is written as 500.
func AppendStatus(dst []byte, status int) []byte {
	if uint(status) < uint(len(statusLines)) && statusLines[status] != "" {
		return append(dst, statusLines[status]...)
	}
	if status < 100 || status > 999 {
		return append(dst, statusLines[fallbackStatus]...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, " \r\n"...)
}

// AppendRequestLine appends the request line of an HTTP/1.1 request, and reports whether it did: not when method is no
// token or target is empty or has a byte that no target has, such as a space or a line end.
func AppendRequestLine[M, T ~[]byte | ~string](dst []byte, method M, target T) ([]byte, bool) {
	if !isToken(method) || len(target) == 0 {
		return dst, false
	}
	for i := range len(target) {
		if class[target[i]]&queryByte == 0 {
			return dst, false
		}
	}
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...), true
}

// AppendField appends a field line. Whatever the value, exactly one line comes out: every control character in it
// but HTAB, so also CR, LF and NUL, is written as a space. A name that is no token cannot be repaired that way: then
// nothing is appended.
func AppendField[N, V ~[]byte | ~string](dst []byte, name N, value V) []byte {
	if !isToken(name) {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	from := len(dst)
	dst = append(dst, value...)
	for i := nextControl(dst, from); i < len(dst); i = nextControl(dst, i+1) {
		if dst[i] != '\t' {
			dst[i] = ' '
		}
	}
	return append(dst, "\r\n"...)
}

// AppendLength appends a Content-Length field of n bytes; less than zero is written as zero.
func AppendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, max(n, 0), 10)
	return append(dst, "\r\n"...)
}

// AppendDate appends a Date field. imf is what FormatTime made, usually once a second; it is not checked.
func AppendDate(dst, imf []byte) []byte {
	dst = append(dst, "Date: "...)
	dst = append(dst, imf...)
	return append(dst, "\r\n"...)
}

// AppendHeadEnd appends the empty line that ends a head.
func AppendHeadEnd(dst []byte) []byte { return append(dst, "\r\n"...) }

// AppendChunkHead appends the size line of a chunk of n bytes; the bytes and ChunkTail must follow. Because a chunk of
// no bytes would end the body, nothing is appended when n is less than one: then neither must follow.
func AppendChunkHead(dst []byte, n int) []byte {
	if n < 1 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// ChunkTail ends the bytes of a chunk.
const ChunkTail = "\r\n"

// AppendChunk appends a whole chunk with data in it, or nothing when data is empty.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHead(dst, len(data))
	dst = append(dst, data...)
	return append(dst, ChunkTail...)
}

// FieldLine is a field to be written.
type FieldLine struct {
	Name, Value string
}

// AppendChunkEnd appends the end of a chunked body: the chunk of no bytes, the trailers, the empty line. A trailer
// whose name is not allowed there (RFC 9110 section 6.5.1), or is no token, is left out; values are written as
// AppendField writes them.
func AppendChunkEnd(dst []byte, trailers ...FieldLine) []byte {
	dst = append(dst, "0\r\n"...)
	for _, trailer := range trailers {
		if forbiddenTrailers>>identifyName(trailer.Name)&1 == 0 {
			dst = AppendField(dst, trailer.Name, trailer.Value)
		}
	}
	return append(dst, "\r\n"...)
}
