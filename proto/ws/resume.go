package ws

// Quiet says that no message is in progress, and that the connection goes on: besides its window there is nothing to
// remember of the decoder.
func (d *Decoder) Quiet() bool { return d.step == atHeader && d.message == Continuation }

// Window is the end of what was received, up to 32 KiB, if the peer may refer to it. It is only lent.
func (d *Decoder) Window() []byte {
	if d.window == nil {
		return nil
	}
	return d.window.bytes
}

// Resume is Start for a connection that another decoder was Quiet on, with a copy of its Window.
func (d *Decoder) Resume(rules *Rules, agreed Extension, window []byte) {
	d.Start(rules, agreed)
	if agreed.Kept && len(window) > 0 {
		d.window = &assembly{bytes: slide(nil, window)}
	}
}
