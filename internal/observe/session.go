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
	add(l.log, r.Connection, r, appendSession, appendCombinedSession)
}

func endedSession(r *stream.Record) ended {
	e := ended{
		what: "session", word: "SESSION", connection: r.Connection, client: r.Client, upstream: r.Upstream,
		received: r.Received, sent: r.Sent, wall: r.Wall, cause: r.Cause.String(),
	}
	if e.wall == 0 { // sockets of datagrams have no calendar, and are asked for seldom
		e.wall = time.Now().Unix()
	}
	return e
}

// appendSession appends the line of a session, as slog.JSONHandler would have written it.
func appendSession(b []byte, r *stream.Record, clock *stamp) []byte {
	e := endedSession(r)
	b = e.appendHead(b, clock)
	b = append(b, `,"upstream_received_bytes":`...)
	b = strconv.AppendUint(b, r.UpstreamReceived, 10)
	b = append(b, `,"upstream_sent_bytes":`...)
	b = strconv.AppendUint(b, r.UpstreamSent, 10)
	b = append(b, `,"duration_microseconds":`...)
	b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	b = append(b, `,"connect_microseconds":`...)
	b = strconv.AppendInt(b, r.Connect.Microseconds(), 10)
	b = append(b, `,"cause":"`...)
	b = append(b, e.cause...)
	if r.Err != nil {
		b = append(b, `","error":"`...)
		b = appendText(b, r.Err.Error(), true)
	}
	return append(b, '"', '}', '\n')
}

// appendCombinedSession appends it with the columns of the combined format.
func appendCombinedSession(b []byte, r *stream.Record, clock *stamp) []byte {
	e := endedSession(r)
	return e.appendCombined(b, clock)
}
