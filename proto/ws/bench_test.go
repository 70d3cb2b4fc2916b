package ws_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/myriad-server/myriad/proto/ws"
)

// BenchmarkMask measures taking a mask off, beside the plain way.
func BenchmarkMask(b *testing.B) {
	for _, n := range []int{16, 128, 1 << 10, 16 << 10} {
		p, key := make([]byte, n), [4]byte{1, 2, 3, 4}
		b.Run(fmt.Sprintf("words/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				ws.Mask(p, key)
			}
		})
		b.Run(fmt.Sprintf("bytes/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				maskBytes(p, key)
			}
		})
	}
}

// BenchmarkDecoder measures a message in one frame, that lies whole in what was received.
func BenchmarkDecoder(b *testing.B) {
	for _, n := range []int{16, 128, 1 << 10, 16 << 10} {
		e, d := pair(true, ws.Extension{})
		frame := e.AppendMessage(nil, ws.Text, bytes.Repeat([]byte("a"), n))
		room := make([]byte, len(frame))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(room, frame) // the mask was taken off in place
				if opcode, _, _, err := d.Next(room); opcode != ws.Text {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompressed measures a message there and back.
func BenchmarkCompressed(b *testing.B) {
	for _, n := range []int{256, 4 << 10, 64 << 10} {
		e, d := pair(false, ws.Extension{On: true, Bits: ws.WindowBits})
		p := bytes.Repeat([]byte(`{"room":17,"from":"somebody","text":"something that was said"}`), n/60+1)[:n]
		var frame []byte
		b.Run(fmt.Sprintf("compress/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				frame = e.AppendMessage(frame[:0], ws.Text, p)
			}
		})
		b.Run(fmt.Sprintf("decompress/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				if opcode, _, _, err := d.Next(frame); opcode != ws.Text {
					b.Fatal(err)
				}
			}
		})
	}
}
