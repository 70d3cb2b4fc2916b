package ws_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/proto/ws"
)

// TestAccept wants the answer of the example in RFC 6455 section 1.3, and takes only keys of 16 bytes.
func TestAccept(t *testing.T) {
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	if got := string(ws.AppendAccept(nil, key)); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("the answer to the key is %q", got)
	}
	for key, want := range map[string]bool{
		string(key): true, "": false, "dGhlIHNhbXBsZSBub25jZQ=": false, "dGhlIHNhbXBsZSBub25jZTEy": false,
		"dGhlIHNhbXBsZSBub25jZ!==": false, "dGhlIHNhbXBsZSBub25jZQ==dGhl": false,
	} {
		if ws.ValidKey([]byte(key)) != want {
			t.Errorf("key %q: %t", key, !want)
		}
	}
}

// TestOffers answers offers as a server that forgets and as one that keeps.
func TestOffers(t *testing.T) {
	const name, forget = "permessage-deflate", "; client_no_context_takeover"
	const both = name + "; server_no_context_takeover" + forget
	for _, test := range []struct {
		offer, answer, kept string // kept is the answer of the one that keeps; the same, if empty
		bits                uint8
		err                 error
	}{
		{offer: ""},
		{offer: " , ,"},
		{offer: "x-webkit-deflate-frame"},
		{offer: name, answer: both, kept: name + "; server_no_context_takeover", bits: 15},
		{offer: name + forget, answer: both, bits: 15},
		{offer: "Permessage-Deflate ; Client_No_Context_Takeover", answer: both, bits: 15},
		{offer: "foo; bar=\"x\", " + name + forget, answer: both, bits: 15},
		{offer: name + forget + "; client_max_window_bits", answer: both, bits: 15},
		{offer: name + forget + "; client_max_window_bits=10", answer: both, bits: 15},
		{offer: name + forget + "; server_max_window_bits=8", answer: both + "; server_max_window_bits=8", bits: 8},
		{offer: name + forget + "; server_max_window_bits=\"15\"", answer: both + "; server_max_window_bits=15", bits: 15},
		// Offers that cannot be taken are passed over.
		{offer: name + "; server_max_window_bits"},
		{offer: name + "; server_max_window_bits=7"},
		{offer: name + "; server_max_window_bits=16"},
		{offer: name + "; server_max_window_bits=08"},
		{offer: name + "; server_max_window_bits=+9"},
		{offer: name + "; client_no_context_takeover=1"},
		{offer: name + forget + forget},
		{offer: name + "; server_max_window_bits=9; server_max_window_bits=9"},
		{offer: name + "; unknown"},
		{offer: name + "; unknown, " + name + forget, answer: both, bits: 15},
		{
			offer:  name + forget + "; server_max_window_bits=9, " + name + forget,
			answer: both + "; server_max_window_bits=9", bits: 9,
		},
		// Lists that cannot be read are an error.
		{offer: name + ";", err: ws.ErrExtensions},
		{offer: name + "; a=", err: ws.ErrExtensions},
		{offer: name + "; a=\"b", err: ws.ErrExtensions},
		{offer: name + " b", err: ws.ErrExtensions},
		{offer: name + ", ;", err: ws.ErrExtensions},
		{offer: "=", err: ws.ErrExtensions},
	} {
		for _, keep := range []bool{false, true} {
			want := test.answer
			if keep && test.kept != "" {
				want = test.kept
			}
			agreed, answer, err := (&ws.Deflate{Keep: keep}).Accept(test.offer)
			if answer != want || !errors.Is(err, test.err) || agreed.Bits != test.bits || agreed.On != (want != "") ||
				agreed.Kept != (keep && test.kept != "") {
				t.Errorf("keep %t, offer %q: %q, %+v, %v", keep, test.offer, answer, agreed, err)
			}
		}
		var none *ws.Deflate
		if agreed, answer, err := none.Accept(test.offer); agreed.On || answer != "" || !errors.Is(err, test.err) {
			t.Errorf("without compression, offer %q: %q, %+v, %v", test.offer, answer, agreed, err)
		}
	}
}

// TestRequest writes the handshake of a client and reads answers to it.
func TestRequest(t *testing.T) {
	r := ws.Request{
		Host: "example.org", Target: "/chat?room=1", Random: [16]byte([]byte("the sample nonce")),
		Protocols: []string{"b", "a"}, Deflate: &ws.Deflate{}, Lines: "Origin: http://example.org\r\n",
	}
	want := "GET /chat?room=1 HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: b, a\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; " +
		"client_max_window_bits\r\nOrigin: http://example.org\r\n\r\n"
	if got := string(r.Append(nil)); got != want {
		t.Errorf("the request is\n%s", got)
	}
	const forgets = "permessage-deflate; server_no_context_takeover"
	for _, test := range []struct {
		name   string
		status int
		change map[string]string
		err    error
		agreed ws.Extension
	}{
		{name: "plain"},
		{name: "in other letters", change: map[string]string{"Upgrade": "WebSocket", "Connection": "x, UPGRADE"}},
		{name: "a subprotocol", change: map[string]string{"Sec-WebSocket-Protocol": "a"}},
		{
			name: "compression", change: map[string]string{"Sec-WebSocket-Extensions": forgets},
			agreed: ws.Extension{On: true, Bits: 15},
		},
		{
			name:   "a small window",
			change: map[string]string{"Sec-WebSocket-Extensions": forgets + "; client_max_window_bits=9"},
			agreed: ws.Extension{On: true, Bits: 9},
		},
		{name: "no switch", status: 200, err: ws.ErrStatus},
		{name: "no upgrade", change: map[string]string{"Upgrade": ""}, err: ws.ErrUpgrade},
		{name: "another one", change: map[string]string{"Connection": "close"}, err: ws.ErrUpgrade},
		{
			name: "another key", change: map[string]string{"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xO0="},
			err: ws.ErrAccept,
		},
		{name: "another protocol", change: map[string]string{"Sec-WebSocket-Protocol": "c"}, err: ws.ErrProtocol},
		{name: "two protocols", change: map[string]string{"Sec-WebSocket-Protocol": "a, b"}, err: ws.ErrProtocol},
		{name: "another extension", change: map[string]string{"Sec-WebSocket-Extensions": "foo"}, err: ws.ErrExtensions},
		{
			name: "a server that keeps", change: map[string]string{"Sec-WebSocket-Extensions": "permessage-deflate"},
			err: ws.ErrExtensions,
		},
		{
			name: "compression twice", change: map[string]string{"Sec-WebSocket-Extensions": forgets + ", " + forgets},
			err: ws.ErrExtensions,
		},
	} {
		fields := map[string]string{
			"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		}
		for name, value := range test.change {
			fields[name] = value
		}
		status := 101
		if test.status > 0 {
			status = test.status
		}
		agreed, protocol, err := r.Check(ws.Answer{Status: status, Field: func(name string) string { return fields[name] }})
		if !errors.Is(err, test.err) || agreed != test.agreed || err == nil && protocol != fields["Sec-WebSocket-Protocol"] {
			t.Errorf("%s: %+v, %q, %v", test.name, agreed, protocol, err)
		}
	}
}

// TestBothSides has what a client offers answered by a server, and read by the client, in all combinations.
func TestBothSides(t *testing.T) {
	for i, client := range []*ws.Deflate{nil, {}, {Keep: true}} {
		for j, server := range []*ws.Deflate{nil, {}, {Keep: true}} {
			name := fmt.Sprintf("client %d, server %d", i, j)
			agreed, answer, err := server.Accept(client.Offer())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			back, err := client.Answered(answer)
			if on := i > 0 && j > 0; err != nil || back.On != on || agreed.On != on {
				t.Errorf("%s: %q, %+v, %+v, %v", name, answer, agreed, back, err)
			}
			if back.Kept || agreed.Kept {
				t.Errorf("%s: what neither side does is kept in mind: %q", name, answer)
			}
		}
	}
}

// TestChoose takes the first subprotocol of ours that is offered.
func TestChoose(t *testing.T) {
	for _, test := range []struct {
		ours, offered string
		want          int
	}{
		{"a b", "b, a", 0},
		{"a b", "b", 1},
		{"a b", "c", -1},
		{"a", "", -1},
		{"", "a", -1},
		{"a", "A", -1},
		{"a", "x ,\ta ", 0},
	} {
		if got := ws.Choose(strings.Fields(test.ours), test.offered); got != test.want {
			t.Errorf("%q of %q: %d", test.ours, test.offered, got)
		}
	}
}
