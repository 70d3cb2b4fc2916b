package observe

import (
	"strconv"
	"time"

	"github.com/myriad-server/myriad/web/proxy"
)

// Tunnels is the access log as the log of tunnels: one line for each, when it has ended.
func (a *AccessLog) Tunnels() proxy.TunnelLog { return tunnelLog{a} }

type tunnelLog struct{ log *AccessLog }

// LogTunnel takes a line.
func (l tunnelLog) LogTunnel(r *proxy.TunnelRecord) {
	a := l.log
	s, before := a.begin(r.Connection)
	if s == nil {
		return
	}
	if a.options.Format == JSON {
		s.buffer = appendTunnel(s.buffer, r, &s.clock)
	} else {
		s.buffer = appendCombinedTunnel(s.buffer, r, &s.clock)
	}
	a.end(s, before)
}

// appendTunnel appends the line of a tunnel, as slog.JSONHandler would have written it.
func appendTunnel(b []byte, r *proxy.TunnelRecord, clock *stamp) []byte {
	b = append(b, `{"time":"`...)
	b = append(b, clock.at(r.Wall, time.RFC3339)...)
	b = append(b, `","level":"INFO","msg":"tunnel","connection":`...)
	b = strconv.AppendUint(b, r.Connection, 10)
	b = append(b, `,"remote":"`...)
	if r.Client.IsValid() {
		b = r.Client.AppendTo(b)
	} else {
		b = append(b, "unix:"...)
	}
	b = append(b, `","upstream":"`...)
	b = appendText(b, r.Upstream, true)
	b = append(b, `","received_bytes":`...)
	b = strconv.AppendUint(b, r.Received, 10)
	b = append(b, `,"sent_bytes":`...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, `,"duration_microseconds":`...)
	b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	b = append(b, `,"cause":"`...)
	b = appendText(b, r.Cause, true)
	return append(b, '"', '}', '\n')
}

// appendCombinedTunnel appends a line with the columns of the combined format, as that of a session.
func appendCombinedTunnel(b []byte, r *proxy.TunnelRecord, clock *stamp) []byte {
	if r.Client.IsValid() {
		b = r.Client.Addr().Unmap().AppendTo(b)
	} else {
		b = append(b, "unix:"...)
	}
	b = append(b, " - - ["...)
	b = append(b, clock.at(r.Wall, combinedTime)...)
	b = append(b, `] "TUNNEL `...)
	b = appendText(b, orDash(r.Upstream), false)
	b = append(b, `" - `...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, ` "-" "`...)
	b = appendText(b, r.Cause, false)
	return append(b, '"', '\n')
}
