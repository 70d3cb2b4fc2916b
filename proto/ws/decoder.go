package ws

import (
	"sync"
	"unicode/utf8"
)

// Limits bounds what a peer may send. A field that is zero or negative means its default: there is no way to ask for no
// limit.
type Limits struct {
	// MessageBytes is the largest message, as it is delivered: put together and decompressed. Default 1 MiB.
	MessageBytes int64
	// FrameBytes is the largest payload of one frame, as it is sent. Default: what MessageBytes allows.
	FrameBytes int64
}

const (
	defaultMessageBytes = 1 << 20
	largestBytes        = 1 << 46 // beyond any memory, and far from an overflow
)

// effective replaces what is unset by defaults.
func (l Limits) effective() Limits {
	if l.MessageBytes <= 0 {
		l.MessageBytes = defaultMessageBytes
	}
	l.MessageBytes = min(l.MessageBytes, largestBytes)
	if l.FrameBytes <= 0 {
		l.FrameBytes = deflatedMost(l.MessageBytes)
	}
	l.FrameBytes = min(l.FrameBytes, largestBytes)
	return l
}

// deflatedMost is what a message may take while it is compressed: blocks that are stored need a little more.
func deflatedMost(n int64) int64 { return n + n>>6 + 64 }

// Rules is what many decoders have in common.
type Rules struct {
	limits Limits
	client bool
}

// NewRules makes the rules for one side of connections: that of a client, whose peers must not mask, or that of a
// server, whose peers must.
func NewRules(limits Limits, client bool) *Rules {
	return &Rules{limits: limits.effective(), client: client}
}

// step is where a decoder is. It goes round between the first two, and forward to the others.
type step uint8

const (
	atHeader  step = iota // a frame is to come
	inPayload             // some of a frame of a message has come
	closed                // the peer's close frame has come: what follows is ignored
	broken                // the peer broke the rules
)

// assembly is memory that a message is put together in.
type assembly struct{ bytes []byte }

// keptBytes is the largest assembly that is kept for reuse.
const keptBytes = 64 << 10

var assemblies = sync.Pool{New: func() any { return new(assembly) }}

// free gives an assembly back.
func (a *assembly) free() {
	if cap(a.bytes) > keptBytes {
		return
	}
	a.bytes = a.bytes[:0]
	assemblies.Put(a)
}

// Decoder reads what a peer sends. It belongs to one connection and is used by one thread at a time. Between two
// messages it holds no memory but its own, and the window of a peer that may refer to earlier messages.
type Decoder struct {
	rules   *Rules
	whole   *assembly // of the message in progress, or of the one that was returned last
	window  *assembly // the end of what was received, for a peer that may refer to it
	fault   *Error
	left    int64   // bytes of the payload that have not come
	mask    [4]byte // turned to the next byte of the payload
	step    step
	message Opcode // in progress; Continuation: none
	text    text
	final   bool // the frame is the last of its message
	deflate bool // the message is compressed
	lent    bool // whole is the message that was returned last
	agreed  Extension
}

// Start makes the decoder ready for a connection, with what was agreed on in its handshake.
func (d *Decoder) Start(rules *Rules, agreed Extension) {
	d.Release()
	*d = Decoder{rules: rules, agreed: agreed}
}

// Between says that no message is in progress, and that the connection goes on: the decoder's state is what Start made.
func (d *Decoder) Between() bool {
	return d.step == atHeader && d.message == Continuation && d.window == nil
}

// Holds says that the decoder has borrowed memory.
func (d *Decoder) Holds() bool { return d.whole != nil }

// Release gives back the memory of the message that was returned last, which must not be looked at any more. The next
// call of Next does the same.
func (d *Decoder) Release() {
	if d.lent && d.whole != nil {
		d.whole.free()
		d.whole = nil
	}
	d.lent = false
}

// Discard gives back all memory. It is for the end of a connection.
func (d *Decoder) Discard() {
	if d.whole != nil {
		d.whole.free()
	}
	if d.window != nil {
		d.window.free()
	}
	d.whole, d.window, d.lent = nil, nil, false
	if d.step < closed {
		d.step = closed
	}
}

// Next takes what it can from the front of in, and returns the next thing that is complete: a message (Text or
// Binary), a control frame, or Continuation for none. used is how many bytes at the front of in are dealt with; the
// rest belongs to the next call. A call that uses nothing and returns none needs more bytes: at most those of a
// control frame wait. The bytes used are changed, as the mask is taken off in place, and payload lies in them or in
// memory of the decoder: it is good until the next call. An error is an *Error and stays. Behind a close frame
// everything is used and ignored.
func (d *Decoder) Next(in []byte) (opcode Opcode, payload []byte, used int, err error) {
	d.Release()
	for {
		switch d.step {
		case closed:
			return Continuation, nil, used + len(in), nil
		case broken:
			return Continuation, nil, used, d.fault
		case inPayload:
			n := d.take(in)
			used, in = used+n, in[n:]
			if d.step == inPayload {
				return Continuation, nil, used, nil
			}
			if opcode, payload = d.ended(); opcode != Continuation {
				return opcode, payload, used, nil
			}
			continue
		}
		h, n, err := ParseHeader(in)
		if err == nil && n > 0 {
			err = d.admit(&h)
		}
		if err != nil {
			d.fail(err.(*Error))
			continue
		}
		if n == 0 {
			return Continuation, nil, used, nil
		}
		frame, comes := in[n:], int64(len(in)-n) >= h.Length
		if h.Opcode.control() {
			if !comes {
				return Continuation, nil, used, nil
			}
			payload = frame[:h.Length:h.Length]
			Mask(payload, h.Mask)
			if d.controlled(h.Opcode, payload) {
				return h.Opcode, payload, used + n + len(payload), nil
			}
			continue
		}
		d.begin(&h)
		if h.Opcode != Continuation && h.Final && comes {
			payload = frame[:h.Length:h.Length]
			Mask(payload, h.Mask)
			if opcode, payload = d.single(payload); opcode != Continuation {
				return opcode, payload, used + n + int(h.Length), nil
			}
			continue
		}
		used, in, d.step = used+n, frame, inPayload
	}
}

// fail notes what the peer did wrong, and lets go of what it sent.
func (d *Decoder) fail(fault *Error) {
	d.Discard()
	d.step, d.fault = broken, fault
}

// admit decides about a header, before anything is done for its payload.
func (d *Decoder) admit(h *Header) error {
	if h.Masked == d.rules.client {
		if h.Masked {
			return ErrMasked
		}
		return ErrUnmasked
	}
	if h.Opcode.control() {
		return nil
	}
	begun, limit := int64(0), d.rules.limits.MessageBytes
	deflated := h.Deflated
	switch {
	case h.Opcode == Continuation && d.message == Continuation:
		return ErrContinuation
	case h.Opcode != Continuation && d.message != Continuation:
		return ErrInterleaved
	case h.Deflated && (h.Opcode == Continuation || !d.agreed.On):
		return ErrReserved
	case h.Opcode == Continuation:
		deflated = d.deflate
		if d.whole != nil {
			begun = int64(len(d.whole.bytes))
		}
	}
	if deflated {
		limit = deflatedMost(limit)
	}
	switch {
	case h.Length > d.rules.limits.FrameBytes:
		return ErrFrameSize
	case h.Length > limit-begun:
		return ErrMessageSize
	}
	return nil
}

// controlled checks a control frame, and reports whether it is sound.
func (d *Decoder) controlled(opcode Opcode, payload []byte) bool {
	if opcode != Close {
		return true
	}
	if _, _, err := ParseClose(payload); err != nil {
		d.fail(err.(*Error))
		return false
	}
	d.Discard()
	return true
}

// begin notes what a frame of a message is.
func (d *Decoder) begin(h *Header) {
	d.left, d.mask, d.final = h.Length, h.Mask, h.Final
	if h.Opcode != Continuation {
		d.message, d.deflate, d.text = h.Opcode, h.Deflated, text{}
	}
}

// single is a message in one frame that has come whole.
func (d *Decoder) single(payload []byte) (Opcode, []byte) {
	opcode := d.message
	if d.deflate {
		return d.inflated(payload)
	}
	d.message = Continuation
	if opcode == Text && !utf8.Valid(payload) {
		d.fail(ErrText)
		return Continuation, nil
	}
	return opcode, payload
}

// take adds a piece of a payload to the message.
func (d *Decoder) take(in []byte) (used int) {
	p := in[:min(int64(len(in)), d.left)]
	d.mask = Mask(p, d.mask)
	if d.message == Text && !d.deflate && !d.text.add(p) {
		d.fail(ErrText)
		return len(p)
	}
	if len(p) > 0 {
		if d.whole == nil {
			d.whole = assemblies.Get().(*assembly)
		}
		d.whole.bytes = append(d.whole.bytes, p...)
	}
	if d.left -= int64(len(p)); d.left == 0 {
		d.step = atHeader
	}
	return len(p)
}

// ended acts on the end of a frame: if it was the last one, there is a message.
func (d *Decoder) ended() (Opcode, []byte) {
	if d.step == broken || !d.final {
		return Continuation, nil
	}
	var payload []byte
	if d.whole != nil {
		payload = d.whole.bytes
	}
	if d.deflate {
		return d.inflated(payload)
	}
	opcode := d.message
	d.message, d.lent = Continuation, true
	if opcode == Text && !d.text.whole() {
		d.fail(ErrText)
		return Continuation, nil
	}
	return opcode, payload
}

// inflated decompresses a message, and puts the result in the place of what it came in.
func (d *Decoder) inflated(payload []byte) (Opcode, []byte) {
	opcode := d.message
	plain := assemblies.Get().(*assembly)
	var window []byte
	if d.window != nil {
		window = d.window.bytes
	}
	var err *Error
	plain.bytes, err = inflate(plain.bytes, payload, window, d.rules.limits.MessageBytes)
	if err == nil && opcode == Text && !utf8.Valid(plain.bytes) {
		err = ErrText
	}
	if d.whole != nil {
		d.whole.free()
	}
	d.whole, d.message, d.lent = plain, Continuation, true
	if err != nil {
		d.fail(err)
		return Continuation, nil
	}
	if d.agreed.Kept {
		if d.window == nil {
			d.window = new(assembly)
		}
		d.window.bytes = slide(d.window.bytes, plain.bytes)
	}
	return opcode, plain.bytes
}
