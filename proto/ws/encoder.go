package ws

// Encoder writes what one side of a connection sends. The zero value is that of a server without compression.
type Encoder struct {
	// Masks gives the keys of a client; nil: a server's, which must not mask.
	Masks *Masks
	// Agreed is what the handshake has agreed on.
	Agreed Extension
	// Level is how hard messages are compressed, from 1 to 9; 0 is 1.
	Level int
	// Least is the size in bytes from which messages are compressed. Default 256: below, a header saves little.
	Least int
}

// defaultLeast is Encoder.Least unless it is set.
const defaultLeast = 256

// Deflates says that a message of n bytes is compressed, if that makes it smaller.
func (e *Encoder) Deflates(n int) bool {
	least := e.Least
	if least <= 0 {
		least = defaultLeast
	}
	return e.Agreed.On && n >= least
}

// AppendMessage appends a message, Text or Binary, in one frame. That a text is UTF-8 is for the caller to know.
func (e *Encoder) AppendMessage(dst []byte, opcode Opcode, p []byte) []byte {
	if !e.Deflates(len(p)) {
		return e.AppendFrame(dst, Header{Opcode: opcode, Final: true}, p)
	}
	// The header comes first and must tell the length, so room is left for the longest.
	from := len(dst)
	dst = append(dst, make([]byte, HeaderBytes)...)
	dst = AppendDeflated(dst, p, e.Level, e.Agreed.Bits)
	payload := dst[from+HeaderBytes:]
	if len(payload) >= len(p) {
		return e.AppendFrame(dst[:from], Header{Opcode: opcode, Final: true}, p)
	}
	h := Header{Opcode: opcode, Final: true, Deflated: true}
	e.mask(&h, payload)
	head := len(AppendHeader(dst[:from], h)) - from
	return dst[:from+head+copy(dst[from+head:], payload)]
}

// AppendFrame appends a frame with a payload. Length and mask of the header are filled in.
func (e *Encoder) AppendFrame(dst []byte, h Header, payload []byte) []byte {
	if e.Masks != nil {
		h.Masked, h.Mask = true, e.Masks.Next()
	}
	h.Length = int64(len(payload))
	dst = AppendHeader(dst, h)
	from := len(dst)
	dst = append(dst, payload...)
	if h.Masked {
		Mask(dst[from:], h.Mask)
	}
	return dst
}

// mask fills in length and mask of a header, and masks the payload where it lies.
func (e *Encoder) mask(h *Header, payload []byte) {
	h.Length = int64(len(payload))
	if e.Masks != nil {
		h.Masked, h.Mask = true, e.Masks.Next()
		Mask(payload, h.Mask)
	}
}

// AppendControl appends a Ping or a Pong, whose payload is cut to ControlBytes.
func (e *Encoder) AppendControl(dst []byte, opcode Opcode, payload []byte) []byte {
	return e.AppendFrame(dst, Header{Opcode: opcode, Final: true}, payload[:min(len(payload), ControlBytes)])
}

// AppendClose appends a close frame; see the function AppendClose for what becomes of code and reason.
func (e *Encoder) AppendClose(dst []byte, code Code, reason string) []byte {
	var room [ControlBytes]byte
	return e.AppendFrame(dst, Header{Opcode: Close, Final: true}, AppendClose(room[:0], code, reason))
}
