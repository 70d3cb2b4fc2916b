package ws

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// Version is the value of Sec-WebSocket-Version: there is one version of the protocol.
const Version = "13"

const (
	keyBytes    = 24 // 16 random bytes in base64
	acceptBytes = 28 // a SHA-1 in base64
	acceptGUID  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// Why a handshake fails.
var (
	ErrExtensions = errors.New("ws: malformed or unexpected extensions")
	ErrStatus     = errors.New("ws: the server does not switch to WebSocket")
	ErrUpgrade    = errors.New("ws: the answer does not upgrade the connection to WebSocket")
	ErrAccept     = errors.New("ws: the answer does not fit the key of the request")
	ErrProtocol   = errors.New("ws: the server chose a subprotocol that was not offered")
)

// ValidKey says that a Sec-WebSocket-Key is the base64 of 16 bytes.
func ValidKey(key []byte) bool {
	var room [keyBytes]byte
	if len(key) != keyBytes {
		return false
	}
	n, err := base64.StdEncoding.Decode(room[:], key)
	return err == nil && n == 16
}

// AppendAccept appends the value of Sec-WebSocket-Accept that answers a key. (RFC 6455 section 4.2.2)
func AppendAccept[K ~[]byte | ~string](dst []byte, key K) []byte {
	var room [keyBytes + len(acceptGUID)]byte
	sum := sha1.Sum(append(append(room[:0], key...), acceptGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// HasToken says that a list of tokens, separated by commas, has one, which is given in lower case. The case of its
// letters does not matter.
func HasToken(list []byte, lower string) bool {
	for part := range strings.SplitSeq(string(list), ",") {
		if strings.EqualFold(strings.Trim(part, " \t"), lower) {
			return true
		}
	}
	return false
}

// Choose returns the index of the first of ours among the subprotocols that a client offers, or -1. Their case matters.
func Choose(ours []string, offered string) int {
	for i, one := range ours {
		for part := range strings.SplitSeq(offered, ",") {
			if strings.Trim(part, " \t") == one {
				return i
			}
		}
	}
	return -1
}

// Request is the handshake of a client. (RFC 6455 section 4.1)
type Request struct {
	// Host is the value of the Host field, and Target the path with its query; "/" if empty.
	Host, Target string
	// Random is what makes the key, 16 bytes that have not been used before.
	Random [16]byte
	// Protocols are the subprotocols to offer, the preferred one first.
	Protocols []string
	// Deflate, if set, offers compression.
	Deflate *Deflate
	// Lines are further field lines, each with its CR LF, such as Origin, Cookie or Authorization.
	Lines string
}

// Append appends the head of the request. Target, Host, Protocols and Lines go out as they are: they must hold no line
// end that does not belong there.
func (r *Request) Append(dst []byte) []byte {
	target := r.Target
	if target == "" {
		target = "/"
	}
	dst = append(dst, "GET "+target+" HTTP/1.1\r\nHost: "+r.Host+
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "+Version+"\r\nSec-WebSocket-Key: "...)
	dst = base64.StdEncoding.AppendEncode(dst, r.Random[:])
	if len(r.Protocols) > 0 {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "+strings.Join(r.Protocols, ", ")...)
	}
	if offer := r.Deflate.Offer(); offer != "" {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: "+offer...)
	}
	dst = append(dst, "\r\n"...)
	return append(append(dst, r.Lines...), "\r\n"...)
}

// Answer is what a server has said to a Request: its status, and a way to the values of its fields by their name; those
// of fields that come more than once joined by commas.
type Answer struct {
	Status int
	Field  func(name string) string
}

// Check reads the answer, and returns the extension and the subprotocol that were agreed on. After an error the
// connection must be closed.
func (r *Request) Check(a Answer) (agreed Extension, protocol string, err error) {
	if a.Status != 101 {
		return agreed, "", ErrStatus
	}
	if !strings.EqualFold(a.Field("Upgrade"), "websocket") || !HasToken([]byte(a.Field("Connection")), "upgrade") {
		return agreed, "", ErrUpgrade
	}
	key := base64.StdEncoding.AppendEncode(make([]byte, 0, keyBytes), r.Random[:])
	if a.Field("Sec-WebSocket-Accept") != string(AppendAccept(make([]byte, 0, acceptBytes), key)) {
		return agreed, "", ErrAccept
	}
	if protocol = a.Field("Sec-WebSocket-Protocol"); protocol != "" && !slices.Contains(r.Protocols, protocol) {
		return agreed, "", ErrProtocol
	}
	if agreed, err = r.Deflate.Answered(a.Field("Sec-WebSocket-Extensions")); err != nil {
		return agreed, "", err
	}
	return agreed, protocol, nil
}
