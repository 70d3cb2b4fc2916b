package observe

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// ended is what the lines of sessions and of tunnels have in common: both are written when they have ended.
type ended struct {
	what           string // of JSON's msg
	word           string // in the place of a method
	connection     uint64
	client         netip.AddrPort
	upstream       string
	received, sent uint64 // from the client, and to it
	wall           int64
	cause          string
}

// appendHead appends the beginning of a line as slog.JSONHandler would have written it, up to the bytes of the client.
func (e *ended) appendHead(b []byte, clock *stamp) []byte {
	b = append(b, `{"time":"`...)
	b = append(b, clock.at(e.wall, time.RFC3339)...)
	b = append(b, `","level":"INFO","msg":"`...)
	b = append(b, e.what...)
	b = append(b, `","connection":`...)
	b = strconv.AppendUint(b, e.connection, 10)
	b = append(b, `,"remote":"`...)
	b = appendClient(b, e.client)
	b = append(b, `","upstream":"`...)
	b = appendText(b, e.upstream, true)
	b = append(b, `","received_bytes":`...)
	b = strconv.AppendUint(b, e.received, 10)
	b = append(b, `,"sent_bytes":`...)
	return strconv.AppendUint(b, e.sent, 10)
}

// appendCombined appends a line with the columns of the combined format: the request is a word and the upstream, there
// is no status, and the cause stands where the name of the client's program would.
func (e *ended) appendCombined(b []byte, clock *stamp) []byte {
	b = appendHost(b, e.client)
	b = append(b, " - - ["...)
	b = append(b, clock.at(e.wall, combinedTime)...)
	b = append(b, `] "`...)
	b = append(b, e.word...)
	b = append(b, ' ')
	b = appendText(b, orDash(e.upstream), false)
	b = append(b, `" - `...)
	b = strconv.AppendUint(b, e.sent, 10)
	b = append(b, ` "-" "`...)
	b = appendText(b, e.cause, false)
	return append(b, '"', '\n')
}

// appendClient appends an address with its port, and appendHost without; clients of Unix sockets have neither.
func appendClient(b []byte, client netip.AddrPort) []byte {
	if !client.IsValid() {
		return append(b, "unix:"...)
	}
	if name := conn.UnixName(client); name != "" {
		return appendText(append(b, "unix:"...), name, true)
	}
	return client.AppendTo(b)
}

func appendHost(b []byte, client netip.AddrPort) []byte {
	if !client.IsValid() || conn.UnixName(client) != "" { // a name may hold spaces, and the column has no quotes
		return append(b, "unix:"...)
	}
	return client.Addr().Unmap().AppendTo(b)
}
