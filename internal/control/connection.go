package control

import (
	"strconv"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
)

// Connection is a connection as the API tells of it.
type Connection struct {
	// ID is the number that the access log calls connection, as a text: it has more digits than JSON's numbers may have.
	ID string `json:"id"`
	// Worker is the number of the worker process that has it; 0: there is one process. Then ID begins with it.
	Worker   uint64 `json:"worker,omitempty"`
	Loop     int    `json:"loop"`
	Listener string `json:"listener,omitempty"` // none: it was dialled
	// Protocol is what the listener speaks, tunnel for what became of that by an upgrade, or upstream: it was dialled.
	Protocol string `json:"protocol"`
	app.About
	// State is opening, active, idle (it waits for its peer between two exchanges), paused (it is not read from), draining
	// or closing; closed in the list of those that are.
	State string `json:"state"`
	// Age is since it was accepted or dialled, Quiet since anything happened; while it is idle, since it became so.
	Age   Seconds `json:"age_seconds"`
	Quiet Seconds `json:"quiet_seconds"`
	Peer  string  `json:"peer,omitempty"`
	Local string  `json:"local,omitempty"`

	ReceivedBytes uint64 `json:"received_bytes"`
	SentBytes     uint64 `json:"sent_bytes"`
	QueuedBytes   int64  `json:"queued_bytes"`
	Requests      uint32 `json:"requests"`

	TCP *TCP `json:"tcp,omitempty"`

	// What follows is told of connections that have ended.
	Cause string `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`
	Ended string `json:"ended,omitempty"`
}

// TCP is what the kernel knows of a connection.
type TCP struct {
	State          string `json:"state"`
	RTT            int64  `json:"rtt_microseconds"`
	Retransmits    uint32 `json:"retransmits"`
	Window         uint32 `json:"congestion_window_segments"`
	Unacked        uint32 `json:"unacknowledged_segments"`
	ReceivingBytes int64  `json:"receive_queue_bytes"`
	SendingBytes   int64  `json:"send_queue_bytes"`
}

// Seconds is a time as JSON has it, to the millisecond.
type Seconds time.Duration

// MarshalJSON writes seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Millisecond).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	*s = Seconds(n * float64(time.Second))
	return err
}

// stateOf is the word for what a connection does.
func stateOf(r *conn.Record) string {
	switch {
	case r.State != conn.Open:
		return r.State.String()
	case r.Idle:
		return "idle"
	case r.Paused:
		return "paused"
	}
	return "active"
}

// The protocols of connections that are not what their listener speaks.
const (
	dialledProtocol  = "upstream"
	switchedProtocol = "tunnel"
)

// protocolOf is the word for what a connection speaks.
func protocolOf(r *conn.Record, listeners []app.Listener) string {
	switch {
	case r.Listener == dialled:
		return dialledProtocol
	case r.Switched:
		return switchedProtocol
	case r.Listener < len(listeners):
		return listeners[r.Listener].Protocol
	}
	return ""
}

// states are the words of stateOf, for people who mistype.
var states = []string{"opening", "active", "idle", "paused", "draining", "closing"}

// tell makes a record what the API tells of it.
func tell(r *conn.Record, about app.About, listeners []app.Listener) Connection {
	c := Connection{
		ID: strconv.FormatUint(r.ID, 10), Loop: r.Worker, About: about, State: stateOf(r),
		Age: Seconds(r.Age), Quiet: Seconds(r.Quiet), Peer: conn.PeerName(r.Remote), Local: conn.PeerName(r.Local),
		ReceivedBytes: r.In, SentBytes: r.Out, QueuedBytes: r.Queued, Requests: r.Requests,
	}
	c.Protocol = protocolOf(r, listeners)
	if r.Listener >= 0 && r.Listener < len(listeners) {
		c.Listener = listeners[r.Listener].Address
		if c.Upstream == "" {
			c.Upstream = listeners[r.Listener].Upstream
		}
	}
	if t := &r.TCP; t.State != "" {
		c.TCP = &TCP{
			State: t.State, RTT: t.RTT.Microseconds(), Retransmits: t.Retransmits, Window: t.Window, Unacked: t.Unacked,
			ReceivingBytes: t.Receiving, SendingBytes: t.Sending,
		}
	}
	if r.Ended != 0 {
		c.State, c.Cause = "closed", CauseOf(r.Why).Code
		c.Ended = time.Unix(r.Ended, 0).UTC().Format(time.RFC3339)
		if r.Why != nil {
			c.Error = r.Why.Error()
		}
	}
	return c
}
