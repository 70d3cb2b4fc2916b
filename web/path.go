package web

// Normalize gives a path the one spelling that it is matched in: percent-encoding is taken off, "." and ".." segments
// are resolved and empty segments dropped (RFC 3986 section 5.2.4), so "/a/./b//../c%41" is "/a/cA". A "/" at the end
// stays. It reports false for what is malformed, for an encoded "/" or NUL, which would mean one thing here and
// another behind, and for a path that leads out of the root. The result is path itself when there is nothing to do,
// otherwise it is appended to dst. "*" stays as it is.
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
				if c = high<<4 | low; high > 15 || low > 15 || c == '/' {
					return nil, false
				}
				i += 2
			}
			if c == 0 {
				return nil, false
			}
			dst = append(dst, c)
		}
		end := i == len(path)
		switch name := dst[segment:]; {
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
// "/" and a few marks that mean nothing there is percent-encoded.
func EscapePath(dst, path []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range path {
		if verbatim[c] {
			dst = append(dst, c)
		} else {
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
