package stream

import (
	"errors"
	"net/netip"

	"github.com/myriad-server/myriad/proto/proxyprotocol"
)

// What can be wrong with a PROXY header, beside what package proxyprotocol finds.
var (
	errNoHeader   = errors.New("the connection ended within its PROXY header")
	errHeaderTime = errors.New("the PROXY header did not come in time")
	errVersion    = errors.New("the PROXY header is of another version than configured")
)

// introduced reads the PROXY header, and goes on when it is complete.
func (h *near) introduced(s *session, in []byte) int {
	n, header, err := proxyprotocol.Parse(in)
	if n > 0 && h.options.Accept != AnyHeader && header.Version != int(h.options.Accept) {
		err = errVersion
	}
	if err != nil {
		h.badHeader(s, err)
		return len(in)
	}
	if n == 0 {
		return 0
	}
	remote, local := s.remote.addrPort(), netip.AddrPort{}
	if header.Source.IsValid() { // otherwise the connection speaks for itself
		remote, local = header.Source, header.Destination
	}
	h.admit(s, remote, local)
	return n
}

// badHeader ends a session that does not say who it is.
func (h *near) badHeader(s *session, why error) {
	h.report.warn(lineHeader, s.client.Now(), "a client is closed: no proper PROXY header", s.remote.addrPort(), why)
	h.fail(s, BadHeader, why)
}

// introduce tells the server who the client is.
func (h *near) introduce(s *session, local netip.AddrPort) {
	if !local.IsValid() {
		local = s.client.Local()
	}
	header := proxyprotocol.Header{Source: s.remote.addrPort(), Destination: local}
	if header.Source.IsValid() && local.IsValid() {
		header.Transport = proxyprotocol.TCP4 // or TCP6, as the addresses say
	}
	if h.options.Send == HeaderV1 {
		h.header = proxyprotocol.AppendV1(h.header[:0], &header)
	} else {
		h.header = proxyprotocol.AppendV2(h.header[:0], &header, false)
	}
	s.link.Conn.Write(h.header)
}
