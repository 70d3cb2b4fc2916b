package ws

import (
	"strconv"
	"strings"
)

// Extension is what a handshake has agreed on about compression. The zero value: there is none.
type Extension struct {
	// On says that messages may be compressed.
	On bool
	// Bits says how large the window is that the peer decompresses with: 1<<Bits bytes.
	Bits uint8
	// Kept says that the peer may refer to what it sent before, so that its window is kept between messages: up to
	// 32 KiB for the connection.
	Kept bool
}

// Deflate says how compression is negotiated; a nil one, that it is not.
type Deflate struct {
	// Keep lets the peer refer to what it sent before. It compresses small messages that resemble each other better,
	// and a connection that waits holds up to 32 KiB for it.
	Keep bool
}

// The parameters of permessage-deflate. (RFC 7692 section 7.1)
const (
	deflateName   = "permessage-deflate"
	serverForgets = "server_no_context_takeover"
	clientForgets = "client_no_context_takeover"
	serverWindow  = "server_max_window_bits"
	clientWindow  = "client_max_window_bits"
)

// parameters are those of one offer or answer. Windows are 0 where they are not named, and unvalued where they are
// named without a value.
type parameters struct {
	serverForgets, clientForgets bool
	serverBits, clientBits       uint8
}

const unvalued = 0xFF

// Accept decides, for a server, about the offers of a client: the value of its Sec-WebSocket-Extensions fields, joined
// by commas. It takes the first that it can do and returns the value of that field of the answer; without one the field
// is left out, and there is no compression. Offers that are malformed are an error: the handshake is refused then.
func (o *Deflate) Accept(offers string) (agreed Extension, answer string, err error) {
	err = eachExtension(offers, func(name string, list []string) bool {
		if o == nil || answer != "" || name != deflateName {
			return true
		}
		p, ok := parse(list)
		if !ok || p.serverBits == unvalued {
			return true // an offer that cannot be taken is passed over (RFC 7692 section 7.1)
		}
		agreed = Extension{On: true, Bits: WindowBits, Kept: o.Keep && !p.clientForgets}
		answer = deflateName + "; " + serverForgets
		if !agreed.Kept {
			answer += "; " + clientForgets
		}
		if p.serverBits != 0 {
			agreed.Bits = p.serverBits
			answer += "; " + serverWindow + "=" + strconv.Itoa(int(p.serverBits))
		}
		return true
	})
	if err != nil {
		return Extension{}, "", err
	}
	return agreed, answer, nil
}

// Offer is what a client offers: the value of its Sec-WebSocket-Extensions field, empty if it offers nothing.
func (o *Deflate) Offer() string {
	switch {
	case o == nil:
		return ""
	case o.Keep:
		return deflateName + "; " + clientForgets + "; " + clientWindow
	}
	return deflateName + "; " + serverForgets + "; " + clientForgets + "; " + clientWindow
}

// Answered reads, for a client, what a server has answered to Offer. An answer to something that was not offered is an
// error, and the connection must be given up. (RFC 7692 section 7.1, RFC 6455 section 4.1)
func (o *Deflate) Answered(answer string) (agreed Extension, err error) {
	err = eachExtension(answer, func(name string, list []string) bool {
		p, ok := parse(list)
		if !ok || o == nil || agreed.On || name != deflateName || p.serverBits == unvalued || p.clientBits == unvalued ||
			!o.Keep && !p.serverForgets {
			return false
		}
		agreed = Extension{On: true, Bits: WindowBits, Kept: !p.serverForgets}
		if p.clientBits != 0 {
			agreed.Bits = p.clientBits
		}
		return true
	})
	if err != nil {
		return Extension{}, err
	}
	return agreed, nil
}

// parse reads the parameters of permessage-deflate. It reports false if one is unknown, doubled or has no sound value.
func parse(list []string) (p parameters, ok bool) {
	for _, one := range list {
		name, value, valued := strings.Cut(one, "=")
		flag, bits := (*bool)(nil), (*uint8)(nil)
		switch name {
		case serverForgets:
			flag = &p.serverForgets
		case clientForgets:
			flag = &p.clientForgets
		case serverWindow:
			bits = &p.serverBits
		case clientWindow:
			bits = &p.clientBits
		}
		switch {
		case flag != nil && !valued && !*flag:
			*flag = true
		case bits != nil && !valued && *bits == 0:
			*bits = unvalued
		case bits != nil && *bits == 0:
			n, err := strconv.ParseUint(value, 10, 8)
			if err != nil || n < leastBits || n > WindowBits || value[0] == '0' {
				return p, false
			}
			*bits = uint8(n)
		default:
			return p, false
		}
	}
	return p, true
}

// eachExtension calls f with each extension of a list and its parameters, "name" or "name=value" without quotes. It
// stops with an error when the list is malformed (RFC 6455 section 9.1) or f refuses one.
func eachExtension(list string, f func(name string, parameters []string) bool) error {
	s := scanner{list}
	for s.space(); s.rest != ""; {
		if s.rest[0] == ',' { // empty elements of a list are passed over (RFC 9110 section 5.6.1)
			s.rest = s.rest[1:]
			s.space()
			continue
		}
		name := s.token()
		if name == "" {
			return ErrExtensions
		}
		var parameters []string
		for s.space(); strings.HasPrefix(s.rest, ";"); s.space() {
			s.rest = s.rest[1:]
			s.space()
			one := s.token()
			if one == "" {
				return ErrExtensions
			}
			s.space()
			if strings.HasPrefix(s.rest, "=") {
				s.rest = s.rest[1:]
				s.space()
				value := s.value()
				if value == "" {
					return ErrExtensions
				}
				one += "=" + value
			}
			parameters = append(parameters, one)
		}
		if s.rest != "" && s.rest[0] != ',' || !f(name, parameters) {
			return ErrExtensions
		}
	}
	return nil
}

// scanner reads a field value from the front.
type scanner struct{ rest string }

// space passes over optional whitespace.
func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// token takes a token, in lower case; an empty one is none. (RFC 9110 section 5.6.2)
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && tokenByte(s.rest[n]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return strings.ToLower(t)
}

// value takes a token, or a quoted string that holds one.
func (s *scanner) value() string {
	if !strings.HasPrefix(s.rest, `"`) {
		return s.token()
	}
	s.rest = s.rest[1:]
	t := s.token()
	if !strings.HasPrefix(s.rest, `"`) {
		return ""
	}
	s.rest = s.rest[1:]
	return t
}

// tokenByte says that a byte may stand in a token.
func tokenByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
