package servetest

import (
	"io"
	"testing"
)

// Bench measures an exchange of 128 bytes over one connection: what the model and its driver cost without a protocol,
// the client in the same process included. It must not allocate.
func (s Suite) Bench(b *testing.B) {
	const size = 128
	v := start(b, s, nil, echoing)
	c := v.dial()
	request, answer := make([]byte, size), make([]byte, size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	v.stop()
}
