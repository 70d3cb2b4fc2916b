package observe

import (
	"strconv"
	"time"

	"github.com/myriad-server/myriad/stream"
)

// Sessions is the access log as the log of sessions of tcp and udp: one line for each, when it has ended.
func (a *AccessLog) Sessions() stream.Log { return sessionLog{a} }

type sessionLog struct{ log *AccessLog }

// Log takes a line.
func (l sessionLog) Log(r *stream.Record) {
	a := l.log
	s, before := a.begin(r.Connection)
	if s == nil {
		return
	}
	if a.options.Format == JSON {
		s.buffer = appendSession(s.buffer, r, &s.clock)
	} else {
		s.buffer = appendCombinedSession(s.buffer, r, &s.clock)
	}
	a.end(s, before)
}

// appendSession appends the line of a session, as slog.JSONHandler would have written it.
func appendSession(b []byte, r *stream.Record, clock *stamp) []byte {
	b = append(b, `{"time":"`...)
	b = append(b, clock.at(wall(r), time.RFC3339)...)
	b = append(b, `","level":"INFO","msg":"session","connection":`...)
	b = strconv.AppendUint(b, r.Connection, 10)
	b = append(b, `,"remote":"`...)
	b = appendClient(b, r)
	b = append(b, `","upstream":"`...)
	b = appendText(b, r.Upstream, true)
	b = append(b, `","received_bytes":`...)
	b = strconv.AppendUint(b, r.Received, 10)
	b = append(b, `,"sent_bytes":`...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, `,"upstream_received_bytes":`...)
	b = strconv.AppendUint(b, r.UpstreamReceived, 10)
	b = append(b, `,"upstream_sent_bytes":`...)
	b = strconv.AppendUint(b, r.UpstreamSent, 10)
	b = append(b, `,"duration_microseconds":`...)
	b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	b = append(b, `,"connect_microseconds":`...)
	b = strconv.AppendInt(b, r.Connect.Microseconds(), 10)
	b = append(b, `,"cause":"`...)
	b = append(b, r.Cause.String()...)
	if r.Err != nil {
		b = append(b, `","error":"`...)
		b = appendText(b, r.Err.Error(), true)
	}
	return append(b, '"', '}', '\n')
}

// appendCombinedSession appends a line with the columns of the combined format: the request is the session and its
// upstream, there is no status, and the cause stands where the name of the client's program would.
func appendCombinedSession(b []byte, r *stream.Record, clock *stamp) []byte {
	if r.Client.IsValid() {
		b = r.Client.Addr().Unmap().AppendTo(b)
	} else {
		b = append(b, "unix:"...)
	}
	b = append(b, " - - ["...)
	b = append(b, clock.at(wall(r), combinedTime)...)
	b = append(b, `] "SESSION `...)
	b = appendText(b, orDash(r.Upstream), false)
	b = append(b, `" - `...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, ` "-" "`...)
	b = append(b, r.Cause.String()...)
	return append(b, '"', '\n')
}

// wall is when the session ended. Sockets of datagrams have no calendar, and are asked for seldom.
func wall(r *stream.Record) int64 {
	if r.Wall == 0 {
		return time.Now().Unix()
	}
	return r.Wall
}

func appendClient(b []byte, r *stream.Record) []byte {
	if !r.Client.IsValid() {
		return append(b, "unix:"...)
	}
	return r.Client.AppendTo(b)
}
