package http1

// The bounds of what surrounds the content of a chunked body, in bytes and fields.
const (
	// DefaultTrailerBytes is the longest trailer section accepted unless BodyDecoder.TrailerBytes says otherwise.
	DefaultTrailerBytes = 4 << 10
	// DefaultTrailerFields is how many trailer fields are accepted unless BodyDecoder.TrailerFields says otherwise.
	DefaultTrailerFields = 32

	// extensionCredit is how many bytes of chunk extensions a body may have in advance; extensionShift is the share of
	// its content (one in 64) by which the credit refills, never past where it began. Signed uploads spend about 85
	// bytes on every 8 KiB chunk; a body that is nothing but extensions ends at 4 KiB.
	extensionCredit = 4 << 10
	extensionShift  = 6

	// longestSize is how many digits a chunk size may have, leading zeros included.
	longestSize = 16
)

// BodyDecoder takes the framing off the content of a message. The zero value is a body of no bytes; one of the Start
// methods makes it ready for a message, and it is reused for the next, keeping its buffer.
//
// Trailers are copied into a buffer of the decoder's own, which is allocated with the first trailer field that it ever
// meets: so they stay readable until the next Start, and their section may arrive in pieces of any size.
type BodyDecoder struct {
	// TrailerBytes and TrailerFields bound the trailer section of a chunked body; zero or less means the default.
	TrailerBytes, TrailerFields int
	// DropTrailers leaves out trailer fields that are not allowed, in place of refusing the message: for answers, whose
	// content has come by then.
	DropTrailers bool

	state  bodyState
	digits uint8
	remain int64 // bytes left of the content or of the chunk
	credit int64 // bytes of chunk extensions that may still come
	fault  *Error

	buffer   []byte // the trailer section
	trailers section
}

// bodyState is where in a body the decoder stands.
type bodyState uint8

const (
	bodyDone bodyState = iota // nothing more to come; this and the next answer without looking at any byte
	bodyFailed
	bodyLength     // content of a known length
	bodyUntilClose // content that ends with the connection
	chunkData      // inside a chunk
	chunkDataCR    // behind its last byte
	chunkDataLF
	chunkSize // in the digits of a size
	chunkBeforeExtension
	chunkNameStart // behind ';'
	chunkName
	chunkAfterName
	chunkValueStart // behind '='
	chunkValue
	chunkQuoted
	chunkQuotedPair
	chunkAfterQuoted
	chunkSizeLF // behind the CR of a size line
	chunkTrailers
)

// Start makes the decoder ready for the content of r.
func (d *BodyDecoder) Start(r *Request) {
	switch {
	case r.Chunked:
		d.StartChunked()
	default:
		d.StartLength(r.ContentLength)
	}
}

// StartLength makes the decoder ready for n bytes of content; less than one means none.
func (d *BodyDecoder) StartLength(n int64) {
	d.begin(bodyLength)
	if d.remain = n; n <= 0 {
		d.state = bodyDone
	}
}

// StartChunked makes the decoder ready for content in chunks.
func (d *BodyDecoder) StartChunked() { d.begin(chunkSize) }

// StartUntilClose makes the decoder ready for content that ends only with the connection: everything is content, and
// it is never done. Only responses have such content.
func (d *BodyDecoder) StartUntilClose() { d.begin(bodyUntilClose) }

func (d *BodyDecoder) begin(state bodyState) {
	d.state = state
	d.digits, d.remain, d.credit = 0, 0, extensionCredit
	d.fault = nil
	d.buffer = d.buffer[:0]
	d.trailers.begin(0)
}

// Done says that the content and its trailers are complete.
func (d *BodyDecoder) Done() bool { return d.state == bodyDone }

// Remaining returns how many bytes of content are still to come when that is known, otherwise -1.
func (d *BodyDecoder) Remaining() int64 {
	switch d.state {
	case bodyLength, bodyDone:
		return d.remain
	}
	return -1
}

// Decode takes the next piece of content from the front of in. payload is a part of in, used is how many bytes at the
// front of in are dealt with, framing included; the rest belongs to the next call. Call it again, with in[used:] and
// what arrives later, until done: a call that uses nothing and is not done needs more bytes. An error is an [*Error]
// and stays; what came before it was sound.
func (d *BodyDecoder) Decode(in []byte) (payload []byte, used int, done bool, err error) {
	for used < len(in) || d.state <= bodyFailed {
		switch d.state {
		case bodyDone:
			return nil, used, true, nil
		case bodyFailed:
			return nil, used, false, d.fault
		case bodyUntilClose:
			return in, len(in), false, nil
		case bodyLength, chunkData:
			n := int(min(int64(len(in)-used), d.remain))
			payload = in[used : used+n : used+n]
			if d.remain -= int64(n); d.remain == 0 {
				d.state = afterContent(d.state)
			}
			return payload, used + n, d.state == bodyDone, nil
		case chunkTrailers:
			n, fault := d.readTrailers(in[used:])
			if fault != nil {
				return nil, used, false, d.fail(fault)
			}
			used += n
		default:
			n, fault := d.readFraming(in[used:])
			if fault != nil {
				return nil, used, false, d.fail(fault)
			}
			used += n
		}
	}
	return nil, used, false, nil
}

func (d *BodyDecoder) fail(fault *Error) error {
	d.state, d.fault = bodyFailed, fault
	return fault
}

func afterContent(state bodyState) bodyState {
	if state == chunkData {
		return chunkDataCR
	}
	return bodyDone
}

// readFraming reads what stands between the contents of two chunks, as far as in goes, and returns how much that was.
func (d *BodyDecoder) readFraming(in []byte) (int, *Error) {
	for i, c := range in {
		switch d.state {
		case chunkSize:
			if digit := hexValue[c]; digit < 16 {
				if d.digits == longestSize || d.remain > (1<<63-1)>>4 {
					return 0, ErrChunkLarge
				}
				d.remain = d.remain<<4 | int64(digit)
				d.digits++
				continue
			}
			if d.digits == 0 {
				return 0, ErrChunkSize
			}
			if d.state = sizeEnds(c); d.state == bodyFailed {
				return 0, ErrChunkSize
			}
		case chunkSizeLF:
			if c != '\n' {
				return 0, ErrLineEnd
			}
			d.digits = 0
			d.credit = min(d.credit+d.remain>>extensionShift, extensionCredit)
			if d.state = chunkData; d.remain == 0 {
				d.state = chunkTrailers
			}
			return i + 1, nil
		case chunkDataCR:
			if c != '\r' {
				return 0, ErrChunkEnd
			}
			d.state = chunkDataLF
		case chunkDataLF:
			if c != '\n' {
				return 0, ErrChunkEnd
			}
			d.state = chunkSize
		default:
			if d.state = extensionStep(d.state, c); d.state == bodyFailed {
				return 0, ErrChunkExtension
			}
		}
		if d.state > chunkSize && d.state < chunkSizeLF {
			if d.credit--; d.credit < 0 {
				return 0, ErrExtensionSize
			}
		}
	}
	return len(in), nil
}

// sizeEnds returns what c begins behind the digits of a chunk size.
func sizeEnds(c byte) bodyState {
	switch c {
	case '\r':
		return chunkSizeLF
	case ';':
		return chunkNameStart
	case ' ', '\t':
		return chunkBeforeExtension
	}
	return bodyFailed
}

// extensionStep is the grammar of chunk extensions, RFC 9112 section 7.1.1, with its optional whitespace around ';' and
// '=' and none before CR.
func extensionStep(state bodyState, c byte) bodyState {
	blank := c == ' ' || c == '\t'
	token := class[c]&tokenByte != 0
	switch state {
	case chunkBeforeExtension:
		if blank {
			return state
		}
		if c == ';' {
			return chunkNameStart
		}
	case chunkNameStart:
		if blank {
			return state
		}
		if token {
			return chunkName
		}
	case chunkName, chunkAfterName:
		switch {
		case c == '=':
			return chunkValueStart
		case c == ';':
			return chunkNameStart
		case blank:
			return chunkAfterName
		case state == chunkName && token:
			return state
		case state == chunkName && c == '\r':
			return chunkSizeLF
		}
	case chunkValueStart:
		switch {
		case blank:
			return state
		case c == '"':
			return chunkQuoted
		case token:
			return chunkValue
		}
	case chunkValue, chunkAfterQuoted:
		if state == chunkValue && token {
			return state
		}
		return sizeEnds(c)
	case chunkQuoted:
		switch {
		case c == '"':
			return chunkAfterQuoted
		case c == '\\':
			return chunkQuotedPair
		case class[c]&quotedByte != 0:
			return state
		}
	case chunkQuotedPair:
		if class[c]&valueByte != 0 {
			return chunkQuoted
		}
	}
	return bodyFailed
}
