package socket

import (
	"errors"
	"strings"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
)

// Why a request is refused. It has its answer then.
var (
	ErrNoHandshake = errors.New("socket: the request is no WebSocket handshake")
	ErrVersion     = errors.New("socket: the client wants another version of the protocol")
	ErrOrigin      = errors.New("socket: the origin of the request is refused")
)

// answerBytes is more than the lines of the answer take besides extension and subprotocol.
const answerBytes = 256

// handshake is what a request has asked for and is going to get.
type handshake struct {
	service  *Service
	x        *web.Exchange
	accept   []byte
	answer   string // about extensions
	agreed   ws.Extension
	protocol int16
	value    any
	gone     bool // the client did not wait
}

// Accept makes a WebSocket connection of the connection of x, with v attached, or refuses the request. The exchange
// must not be used any more once it is accepted: the connection is switched right behind the turn in which Serve
// returns.
func (s *Service) Accept(x *web.Exchange, v any) error {
	k := &handshake{service: s, x: x, value: v}
	if err := k.read(); err != nil {
		return err
	}
	x.OnClosed(func(error) { k.gone = true })
	if !x.Ref().Post(k.switched) {
		x.Fail(503)
		return ErrClosed
	}
	return nil
}

// read checks the request, and answers one that is refused. (RFC 6455 section 4.2.1)
func (k *handshake) read() error {
	x, r := k.x, k.x.Request()
	if r.Method != http1.GET {
		x.RefuseMethod(web.MethodsOf(http1.GET))
		return ErrNoHandshake
	}
	key, _ := r.Field(http1.SecWebSocketKey)
	version, _ := r.Field(http1.SecWebSocketVersion)
	switch {
	case r.Minor == 0 || !ws.HasToken(joined(r, http1.Upgrade), "websocket") ||
		!ws.HasToken(joined(r, http1.Connection), "upgrade"):
		// What is here can be had in no other way (RFC 9110 section 15.5.22).
		x.Add("Upgrade", "websocket")
		x.Fail(426)
		return ErrNoHandshake
	case string(version) != ws.Version || r.Repeated(http1.SecWebSocketVersion):
		x.Add("Sec-WebSocket-Version", ws.Version)
		x.Fail(426)
		return ErrVersion
	case !ws.ValidKey(key) || r.Repeated(http1.SecWebSocketKey) || r.HasBody():
		x.Fail(400)
		return ErrNoHandshake
	}
	if origin, named := r.Field(http1.Origin); named && !k.service.options.Origin(x, string(origin)) {
		x.Fail(403)
		return ErrOrigin
	}
	var err error
	k.agreed, k.answer, err = k.service.options.Deflate.Accept(string(joined(r, http1.SecWebSocketExtensions)))
	if err != nil {
		x.Fail(400)
		return ErrNoHandshake
	}
	k.protocol = int16(ws.Choose(k.service.options.Protocols, string(joined(r, http1.SecWebSocketProtocol))))
	k.accept = ws.AppendAccept(nil, key)
	return nil
}

// switched answers, and makes the connection what was asked for. It runs outside of any callback: within one, what
// calls it would go on with an exchange that is no more.
func (k *handshake) switched(cc conn.Conn) {
	x, s := k.x, k.service
	if k.gone || x.Conn() != cc || x.Answered() {
		return
	}
	protocol := ""
	if k.protocol >= 0 {
		protocol = s.options.Protocols[k.protocol]
	}
	b := x.ReserveHead(answerBytes + len(k.answer) + len(protocol))
	if b == nil {
		return
	}
	b = http1.AppendStatus(b, 101)
	b = append(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = append(append(b, k.accept...), "\r\n"...)
	if protocol != "" {
		b = http1.AppendField(b, "Sec-WebSocket-Protocol", protocol)
	}
	if k.answer != "" {
		b = http1.AppendField(b, "Sec-WebSocket-Extensions", k.answer)
	}
	c := &Conn{conn: cc, service: s, attached: k.value, protocol: k.protocol, heard: cc.Now()}
	c.decoder.Start(s.rules, k.agreed)
	c.agreed = k.agreed
	x.Switch(b, 101, c)
	c.begin()
}

// joined is the value of a field, with those of all its lines.
func joined(r *http1.Request, id http1.KnownField) []byte {
	value, _ := r.Field(id)
	if !r.Repeated(id) {
		return value
	}
	value = nil
	for i := range r.Fields() {
		if r.KnownAt(i) == id {
			_, line := r.FieldAt(i)
			value = append(append(value, line...), ',')
		}
	}
	return value
}

// sameHost says that an origin is of the host that the request is for. Ports and schemes are not looked at: a proxy in
// between may have changed both.
func sameHost(x *web.Exchange, origin string) bool {
	_, host, found := strings.Cut(origin, "://")
	if !found {
		return false
	}
	host, _, _ = strings.Cut(host, "/")
	if at := strings.LastIndexByte(host, ':'); at >= 0 && strings.IndexByte(host[at:], ']') < 0 {
		host = host[:at]
	}
	return strings.EqualFold(host, string(x.Host()))
}
