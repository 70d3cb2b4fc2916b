package http1

import "encoding/binary"

// KnownField is a field name that the codec recognises while it scans, so that asking for it costs one array access.
type KnownField uint8

// The known fields. UnknownField is every other name: ask for those with Lookup.
const (
	UnknownField KnownField = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	Expect
	Upgrade
	Trailer
	TE
	KeepAlive
	ProxyConnection
	Range
	IfRange
	IfMatch
	IfNoneMatch
	IfModifiedSince
	IfUnmodifiedSince
	Accept
	AcceptEncoding
	AcceptLanguage
	UserAgent
	Referer
	Origin
	Cookie
	Authorization
	ProxyAuthorization
	ContentType
	ContentEncoding
	ContentRange
	CacheControl
	Pragma
	Date
	MaxForwards
	Via
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XRealIP
	XRequestID
	TraceParent
	Priority
	SecWebSocketKey
	SecWebSocketVersion
	SecWebSocketProtocol
	SecWebSocketExtensions
	Server
	SetCookie
	Location
	ETag
	LastModified
	AcceptRanges
	Age
	Expires
	RetryAfter
	Vary
	Allow
	WWWAuthenticate
	ProxyAuthenticate
	knownFields // how many there are; at most 64, for they are kept in a bit set
)

var fieldNames = [knownFields]string{
	Host: "Host", Connection: "Connection", ContentLength: "Content-Length", TransferEncoding: "Transfer-Encoding",
	Expect: "Expect", Upgrade: "Upgrade", Trailer: "Trailer", TE: "TE", KeepAlive: "Keep-Alive",
	ProxyConnection: "Proxy-Connection", Range: "Range", IfRange: "If-Range", IfMatch: "If-Match",
	IfNoneMatch: "If-None-Match", IfModifiedSince: "If-Modified-Since", IfUnmodifiedSince: "If-Unmodified-Since",
	Accept: "Accept", AcceptEncoding: "Accept-Encoding", AcceptLanguage: "Accept-Language", UserAgent: "User-Agent",
	Referer: "Referer", Origin: "Origin", Cookie: "Cookie", Authorization: "Authorization",
	ProxyAuthorization: "Proxy-Authorization", ContentType: "Content-Type", ContentEncoding: "Content-Encoding",
	ContentRange: "Content-Range", CacheControl: "Cache-Control", Pragma: "Pragma", Date: "Date",
	MaxForwards: "Max-Forwards", Via: "Via", Forwarded: "Forwarded", XForwardedFor: "X-Forwarded-For",
	XForwardedHost: "X-Forwarded-Host", XForwardedProto: "X-Forwarded-Proto", XRealIP: "X-Real-IP",
	XRequestID: "X-Request-ID", TraceParent: "Traceparent", Priority: "Priority",
	SecWebSocketKey: "Sec-WebSocket-Key", SecWebSocketVersion: "Sec-WebSocket-Version",
	SecWebSocketProtocol: "Sec-WebSocket-Protocol", SecWebSocketExtensions: "Sec-WebSocket-Extensions",
	Server: "Server", SetCookie: "Set-Cookie", Location: "Location", ETag: "ETag", LastModified: "Last-Modified",
	AcceptRanges: "Accept-Ranges", Age: "Age", Expires: "Expires", RetryAfter: "Retry-After", Vary: "Vary",
	Allow: "Allow", WWWAuthenticate: "WWW-Authenticate", ProxyAuthenticate: "Proxy-Authenticate",
}

// String returns the name in its usual spelling, or "" for UnknownField.
func (k KnownField) String() string {
	if k >= knownFields {
		return ""
	}
	return fieldNames[k]
}

const longestKnown = 24

// knownName is a name prepared for comparison eight bytes at a time without regard to case: keep cuts what follows the
// name, fold sets the lower-case bit where the name has a letter, and only there, so that nothing but a letter can
// turn into one.
type knownName struct {
	keep, fold, want [longestKnown / 8]uint64
	lower            string
	next             KnownField // the next with the same length and first letter
}

// knownNames holds the names; knownIndex leads from length and first letter to the first candidate.
var knownNames, knownIndex = prepareNames()

func prepareNames() (names [knownFields]knownName, index [longestKnown + 1][32]KnownField) {
	for id := UnknownField + 1; id < knownFields; id++ {
		name := fieldNames[id]
		var keep, fold, want [longestKnown]byte
		for i := range len(name) {
			c := name[i]
			keep[i] = 0xff
			if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
				fold[i] = 0x20
			}
			want[i] = c | fold[i]
		}
		k := &names[id]
		for w := range k.keep {
			k.keep[w] = binary.LittleEndian.Uint64(keep[w*8:])
			k.fold[w] = binary.LittleEndian.Uint64(fold[w*8:])
			k.want[w] = binary.LittleEndian.Uint64(want[w*8:])
		}
		k.lower = string(want[:len(name)])
		slot := &index[len(name)][name[0]&31]
		k.next = *slot
		*slot = id
	}
	return names, index
}

// identify returns which known field the name of n bytes at the front of b is; b may go on behind the name.
func identify(b []byte, n int) KnownField {
	if uint(n-1) >= longestKnown || n > len(b) {
		return UnknownField
	}
	for id := knownIndex[n][b[0]&31]; id != UnknownField; id = knownNames[id].next {
		k := &knownNames[id]
		if whole := (n + 7) &^ 7; whole > len(b) {
			if EqualFold(b[:n], k.lower) {
				return id
			}
		} else if k.equal(b[:whole]) {
			return id
		}
	}
	return UnknownField
}

// equal compares the name with b, which is the name and what follows it up to a multiple of eight bytes.
func (k *knownName) equal(b []byte) bool {
	for w := 0; len(b) >= 8; w++ {
		if binary.LittleEndian.Uint64(b)&k.keep[w]|k.fold[w] != k.want[w] {
			return false
		}
		b = b[8:]
	}
	return true
}

// A bit set of known fields is a uint64: this does not compile once there are more than fit.
const _ = uint(64 - knownFields)

// identifyName returns which known field name is.
func identifyName(name string) KnownField {
	if len(name) == 0 || len(name) > longestKnown {
		return UnknownField
	}
	var padded [longestKnown]byte
	copy(padded[:], name)
	return identify(padded[:], len(name))
}
