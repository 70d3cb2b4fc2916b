package ws_test

import (
	"errors"
	"testing"

	"github.com/myriad-server/myriad/proto/ws"
)

// TestRefused has a server refuse frames for their headers, with the last byte of what is sent and not before.
func TestRefused(t *testing.T) {
	const mask = "\x00\x00\x00\x00"
	for _, test := range []struct {
		name, sent string
		err        *ws.Error
	}{
		{"RSV2", "\xa1", ws.ErrReserved},
		{"RSV3", "\x91", ws.ErrReserved},
		{"an unknown opcode", "\x83", ws.ErrOpcode},
		{"an unknown control frame", "\x8b", ws.ErrOpcode},
		{"RSV1 in a ping", "\xc9", ws.ErrReserved},
		{"half a ping", "\x09", ws.ErrControlPart},
		{"a long ping", "\x89\xfe", ws.ErrControlSize},
		{"16 bits for 125", "\x82\xfe\x00\x7d", ws.ErrLength},
		{"64 bits for 65535", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", ws.ErrLength},
		{"the highest bit", "\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00", ws.ErrLength},
		{"no mask", "\x82\x00", ws.ErrUnmasked},
		{"a continuation of nothing", "\x80\x80" + mask, ws.ErrContinuation},
		{"RSV1 in a continuation", "\x42\x80" + mask + "\xc0\x80" + mask, ws.ErrReserved},
		{"a message within another", "\x02\x80" + mask + "\x82\x80" + mask, ws.ErrInterleaved},
		{"close with one byte", "\x88\x81" + mask + "a", ws.ErrCloseSize},
		{"close with a code that is not sent", "\x88\x82" + mask + "\x03\xed", ws.ErrCloseCode},
		{"close with a reason that is no text", "\x88\x83" + mask + "\x03\xe8\xff", ws.ErrCloseReason},
	} {
		var d ws.Decoder
		d.Start(ws.NewRules(ws.Limits{}, false), ws.Extension{On: true, Bits: ws.WindowBits})
		var rest []byte
		for i := range len(test.sent) {
			rest = append(rest, test.sent[i])
			_, _, used, err := d.Next(rest)
			rest = rest[used:]
			if i+1 < len(test.sent) && err != nil || i+1 == len(test.sent) && !errors.Is(err, test.err) {
				t.Errorf("%s: %v behind byte %d", test.name, err, i+1)
			}
		}
	}
}
