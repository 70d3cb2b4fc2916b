package http1

import "bytes"

// validAuthority checks "host", "host:port", "[v6]" and "[v6]:port" and returns where the host ends; port tells
// whether a port that is not empty follows. The host may be empty only when there is nothing at all.
func validAuthority(b []byte) (hostEnd int, port, ok bool) {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		i = bytes.IndexByte(b, ']')
		if i < 0 || !validIPv6(b[1:i]) {
			return 0, false, false
		}
		i++
	} else {
		for i < len(b) && class[b[i]]&hostByte != 0 {
			i++
		}
	}
	if i == len(b) {
		return i, false, true
	}
	if i == 0 || b[i] != ':' {
		return 0, false, false
	}
	return i, len(b) > i+1, validPort(b[i+1:])
}

// validPort reports whether b is empty or a decimal number up to 65,535; RFC 3986 allows leading zeros.
func validPort(b []byte) bool {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 1<<16-1 {
			return false
		}
	}
	return true
}

// validIPv6 checks an address as RFC 3986 section 3.2.2 writes it between brackets. Zones are refused: they mean
// something to their sender's host alone.
func validIPv6(b []byte) bool {
	groups, compressed := 0, false
	if len(b) >= 2 && b[0] == ':' {
		if b[1] != ':' {
			return false
		}
		compressed, b = true, b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && n < 5 && hexValue[b[n]] < 16 {
			n++
		}
		if n < len(b) && b[n] == '.' {
			groups += 2
			return validIPv4(b) && (groups == 8 && !compressed || groups < 8 && compressed)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		b = b[1:]
		if b[0] == ':' {
			if compressed {
				return false
			}
			compressed, b = true, b[1:]
		}
	}
	return groups == 8 && !compressed || groups < 8 && compressed
}

// validIPv4 checks four decimal numbers up to 255 without leading zeros.
func validIPv4(b []byte) bool {
	for part := range 4 {
		n, digits := 0, 0
		for digits < len(b) && b[digits] >= '0' && b[digits] <= '9' && digits < 3 {
			n = n*10 + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return false
		}
		b = b[digits:]
		if part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

// hexValue is the value of a hexadecimal digit, 16 for any other byte.
var hexValue = hexValues()

func hexValues() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		switch {
		case c >= '0' && c <= '9':
			table[i] = c - '0'
		case c >= 'a' && c <= 'f':
			table[i] = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			table[i] = c - 'A' + 10
		default:
			table[i] = 16
		}
	}
	return table
}
