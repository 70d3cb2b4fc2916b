package http1

import "bytes"

const (
	// skippedLines is how many empty lines may stand before a request line.
	skippedLines = 2
	// lineOverhead is the largest number of bytes in a request line around its target: method, two spaces, version
	// and CR LF.
	lineOverhead = longestMethod + len("  HTTP/1.1\r\n")
)

// skipLines passes over empty lines, and reports whether the request line begins. A first byte that no method has is
// refused at once: a client that speaks TLS to this port would otherwise wait for its answer until the deadline.
func (r *Request) skipLines(in []byte) (bool, error) {
	i := r.section.line
	for lines := i / 2; ; lines++ {
		if i >= len(in) {
			return false, nil
		}
		if in[i] != '\r' {
			break
		}
		if i+1 >= len(in) {
			return false, nil
		}
		if in[i+1] != '\n' || lines == skippedLines {
			return false, ErrStart
		}
		i += 2
		r.section.line = i
	}
	if class[in[i]]&tokenByte == 0 {
		return false, ErrStart
	}
	r.section.line, r.section.seen = i, i
	return true, nil
}

// parseLine reads the request line that begins at section.line and returns where the next line begins, or zero.
func (r *Request) parseLine(in []byte, limits *Limits) (int, error) {
	start := r.section.line
	if r.section.seen > start && bytes.IndexByte(in[min(r.section.seen, len(in)):], '\n') < 0 {
		return 0, r.waitLine(in, limits)
	}
	i := start
	for i < len(in) && class[in[i]]&tokenByte != 0 {
		i++
	}
	if i >= len(in) || in[i] != ' ' {
		return 0, r.stopLine(in, limits, ErrRequestLine)
	}
	r.start, r.methodEnd = uint32(start), uint32(i)
	i++
	target := i
	for i < len(in) && class[in[i]]&pathByte != 0 {
		i++
	}
	mark := i
	if i < len(in) && in[i] == '?' {
		for i < len(in) && class[in[i]]&queryByte != 0 {
			i++
		}
	}
	r.target, r.targetEnd, r.pathEnd = uint32(target), uint32(i), uint32(mark)
	if i >= len(in) || in[i] != ' ' {
		return 0, r.stopLine(in, limits, ErrTarget)
	}
	i++
	if fault := r.parseVersion(in[i:]); fault != nil {
		return 0, r.stopLine(in, limits, fault)
	}
	i += len("HTTP/1.1\r\n")
	switch {
	case mark-target > limits.TargetBytes || int(r.targetEnd)-target > limits.TargetBytes:
		return 0, r.stopLine(in, limits, ErrTargetSize)
	case int(r.methodEnd)-start > longestMethod:
		return 0, r.stopLine(in, limits, ErrMethodSize)
	case i > limits.HeadBytes:
		return 0, ErrTargetSize
	}
	r.Method = methodOf(in[start:r.methodEnd])
	if fault := r.parseTarget(in); fault != nil {
		return 0, fault
	}
	return i, nil
}

// parseVersion reads the version and the end of the line at the front of b.
func (r *Request) parseVersion(b []byte) *Error {
	if len(b) < len("HTTP/1.1") {
		return ErrVersion
	}
	if version := b[:8]; string(version) == "HTTP/1.1" {
		r.Minor = 1
	} else {
		if string(version[:5]) != "HTTP/" || version[6] != '.' || !isDigit(version[5]) || !isDigit(version[7]) {
			return ErrVersion
		}
		if version[5] != '1' {
			if version[5] == '0' {
				return ErrVersion
			}
			return ErrMajor
		}
		r.Minor = min(version[7]-'0', 1)
	}
	if len(b) < 10 || string(b[8:10]) != "\r\n" {
		return ErrLineEnd
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// stopLine ends a scan in the request line, as section.stop does in a field line: a fault is reported once the line is
// complete, and a line that is too long is that before anything else.
func (r *Request) stopLine(in []byte, limits *Limits, fault *Error) error {
	length := bytes.IndexByte(in[r.section.line:], '\n')
	if length < 0 {
		return r.waitLine(in, limits)
	}
	if length >= r.longestLine(limits) {
		return ErrTargetSize
	}
	return fault
}

// waitLine says that more bytes are needed, unless more would be too many.
func (r *Request) waitLine(in []byte, limits *Limits) error {
	r.section.seen = len(in)
	if len(in)-r.section.line >= r.longestLine(limits) {
		return ErrTargetSize
	}
	return nil
}

// longestLine returns how many bytes the request line may have.
func (r *Request) longestLine(limits *Limits) int {
	return min(limits.TargetBytes+lineOverhead, limits.HeadBytes-r.section.line)
}

// parseTarget finds the form of the target and what it is made of. Its bytes are known to be visible ASCII.
func (r *Request) parseTarget(in []byte) *Error {
	target := in[r.target:r.targetEnd]
	r.authority, r.hostEnd, r.authorityEnd = 0, 0, 0
	switch {
	case len(target) == 0:
		return ErrRequestLine
	case r.Method == CONNECT:
		r.Form = AuthorityForm
		hostEnd, port, ok := validAuthority(target)
		if !ok || !port {
			return ErrTarget
		}
		r.setAuthority(r.target, hostEnd, len(target))
	case target[0] == '/':
		r.Form = OriginForm
		r.path = r.target
	case len(target) == 1 && target[0] == '*':
		if r.Method != OPTIONS {
			return ErrTargetForm
		}
		r.Form = AsteriskForm
	default:
		return r.parseAbsolute(target)
	}
	return nil
}

// parseAbsolute reads a target in absolute-form.
func (r *Request) parseAbsolute(target []byte) *Error {
	r.Form = AbsoluteForm
	scheme := len("http://")
	if len(target) < scheme || !EqualFold(target[:scheme], "http://") {
		scheme++
		if len(target) < scheme || !EqualFold(target[:scheme], "https://") {
			return ErrTarget
		}
	}
	end := scheme
	for end < len(target) && target[end] != '/' && target[end] != '?' {
		end++
	}
	hostEnd, _, ok := validAuthority(target[scheme:end])
	if !ok || hostEnd == 0 {
		return ErrTarget
	}
	r.setAuthority(r.target+uint32(scheme), hostEnd, end-scheme)
	r.path = r.target + uint32(end)
	return nil
}

// setAuthority records an authority of size bytes at offset at, whose host ends after hostEnd bytes.
func (r *Request) setAuthority(at uint32, hostEnd, size int) {
	r.authority, r.hostEnd, r.authorityEnd = at, at+uint32(hostEnd), at+uint32(size)
}
