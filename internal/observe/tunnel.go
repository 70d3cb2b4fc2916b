package observe

import (
	"strconv"

	"github.com/myriad-server/myriad/web/proxy"
)

// Tunnels is the access log as the log of tunnels: one line for each, when it has ended.
func (a *AccessLog) Tunnels() proxy.TunnelLog { return tunnelLog{a} }

type tunnelLog struct{ log *AccessLog }

// LogTunnel takes a line.
func (l tunnelLog) LogTunnel(r *proxy.TunnelRecord) {
	add(l.log, r.Connection, r, appendTunnel, appendCombinedTunnel)
}

func endedTunnel(r *proxy.TunnelRecord) ended {
	return ended{
		what: "tunnel", word: "TUNNEL", connection: r.Connection, client: r.Client, upstream: r.Upstream,
		received: r.Received, sent: r.Sent, wall: r.Wall, cause: r.Cause,
	}
}

// appendTunnel appends the line of a tunnel, as slog.JSONHandler would have written it.
func appendTunnel(b []byte, r *proxy.TunnelRecord, clock *stamp) []byte {
	e := endedTunnel(r)
	b = e.appendHead(b, clock)
	b = append(b, `,"duration_microseconds":`...)
	b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	b = append(b, `,"cause":"`...)
	b = appendText(b, e.cause, true)
	return append(b, '"', '}', '\n')
}

// appendCombinedTunnel appends it with the columns of the combined format.
func appendCombinedTunnel(b []byte, r *proxy.TunnelRecord, clock *stamp) []byte {
	e := endedTunnel(r)
	return e.appendCombined(b, clock)
}
