package web

import "bytes"

// Normalize gives a path the one spelling that it is matched in: percent-encoding is taken off, "." and ".." segments
// are resolved and empty segments dropped (RFC 3986 section 5.2.4), so "/a/./b//../c%41" is "/a/cA". A "/" at the end
// stays. An encoded "/" is part of a name and no separator (RFC 3986 section 2.2): it becomes a NUL, which nothing else
// does, so that it can be told apart. It reports false for what is malformed, for an encoded NUL, for a name that would
// have dot segments if its encoded "/" were separators, as whoever is behind may read them, and for a path that leads
// out of the root. The result is path itself when there is nothing to do, otherwise it is appended to dst. "*"
// stays as it is.
func Normalize(dst, path []byte) ([]byte, bool) {
	if plain(path) {
		return path, true
	}
	if len(path) == 0 || path[0] != '/' {
		return path, string(path) == "*"
	}
	start := len(dst)
	for i := 0; i < len(path); {
		// path[i] is the "/" that begins a segment.
		dst = append(dst, '/')
		segment := len(dst)
		for i++; i < len(path) && path[i] != '/'; i++ {
			c := path[i]
			if c == '%' {
				if i+2 >= len(path) {
					return nil, false
				}
				high, low := hexadecimal(path[i+1]), hexadecimal(path[i+2])
				c = high<<4 | low
				switch {
				case high > 15 || low > 15 || c == 0:
					return nil, false
				case c == '/':
					c = EncodedSlash
				}
				i += 2
			} else if c == 0 {
				return nil, false
			}
			dst = append(dst, c)
		}
		end := i == len(path)
		switch name := dst[segment:]; {
		case veiled(name):
			return nil, false
		case len(name) == 0 && !end, string(name) == ".":
			dst = dst[:segment-1]
		case string(name) == "..":
			if dst = dst[:segment-1]; len(dst) == start {
				return nil, false
			}
			for dst[len(dst)-1] != '/' {
				dst = dst[:len(dst)-1]
			}
			dst = dst[:len(dst)-1]
		default:
			continue
		}
		if end {
			dst = append(dst, '/')
		}
	}
	return dst, true
}

// veiled says that a name with encoded slashes has a part "." or "..".
func veiled(name []byte) bool {
	for more := bytes.IndexByte(name, EncodedSlash) >= 0; more; {
		var part []byte
		part, name, more = bytes.Cut(name, []byte{EncodedSlash})
		if string(part) == "." || string(part) == ".." {
			return true
		}
	}
	return false
}

// EncodedSlash stands in a path for a "/" that came percent-encoded, as part of a name.
const EncodedSlash = 0

// plain says that a path is as Normalize would make it. It may say no without need: of names that begin with a dot.
func plain(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	slash := false
	for _, c := range path {
		switch {
		case c == '%' || c == 0 || slash && (c == '/' || c == '.'):
			return false
		default:
			slash = c == '/'
		}
	}
	return true
}

// hexadecimal is the value of a digit, or 255.
func hexadecimal(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// EscapePath appends a decoded path as it stands in a target or a Location field: everything but letters, digits,
// "/" and a few marks that mean nothing there is percent-encoded; EncodedSlash becomes "%2F" again.
func EscapePath(dst, path []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range path {
		switch {
		case verbatim[c]:
			dst = append(dst, c)
		case c == EncodedSlash:
			dst = append(dst, "%2F"...)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

var verbatim = func() (table [256]bool) {
	for c := range table {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		table[c] = letter || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '.' || c == '_' || c == '~' ||
			c == '!' || c == '$' || c == '&' || c == '(' || c == ')' || c == '*' || c == '+' || c == ',' ||
			c == ';' || c == '=' || c == ':' || c == '@'
	}
	return table
}()
