package control

import (
	"strings"

	"github.com/myriad-server/myriad/internal/observe"
)

// Cause is why a connection, a session or an answer ended: a code that the access log, the list of closed connections
// and docs/admin.md share.
type Cause struct {
	Code string `json:"code"`
	// Who uses it: connection, answer (to a request), session (of tcp, udp or a tunnel).
	Of      string `json:"of"`
	Meaning string `json:"meaning"`
	Look    string `json:"look_at"`
}

// Who a cause belongs to.
const (
	ofConnection = "connection"
	ofAnswer     = "answer"
	ofSession    = "session"
)

// Causes are all there are. A test holds the words of the packages that log to this list.
var Causes = []Cause{
	{"ended", ofConnection, "it was closed in order, by either side", "nothing"},
	{"timeout", ofConnection, "a timeout of the server passed", "timeouts; a client that is slow or gone"},
	{"stopping", ofConnection, "the server stopped before the connection was done", "timeouts.drain"},
	{
		"output_limit", ofConnection, "more was queued for the peer than it may be",
		"limits.output_per_connection; a slow peer",
	},
	{
		"pressure", ofConnection, "it was idle, and made room for new ones",
		"limits.connections; the descriptor limit",
	},
	{"operator", ofConnection, "somebody closed it through the admin API", "whoever did"},
	{
		"stalled", ofConnection, "memory was short, and the peer had taken nothing for fifteen seconds",
		"engine.blocks; the peer",
	},
	{
		"aborted", ofConnection, "the server gave it up: what it carried could not go on",
		"the access log, by connection",
	},
	{"reset", ofConnection, "the peer reset it", "the peer: it crashed, or closed with bytes unread"},
	{"broken_pipe", ofConnection, "the peer had closed when something was sent", "the peer's timeouts"},
	{"unreachable", ofConnection, "the network said that there is no way to the peer", "routes, firewalls"},
	{"refused", ofConnection, "nobody listens where it was dialled to", "the upstream's process and address"},
	{
		"vanished", ofConnection, "the peer acknowledged nothing until the kernel gave up",
		"the network; the peer's machine",
	},
	{"no_memory", ofConnection, "no block or no buffer was left", "engine.blocks; the memory of the kernel"},
	{"no_ports", ofConnection, "no local port was left to dial from", "sources, ip_local_port_range, pool sizes"},
	{"no_descriptors", ofConnection, "no descriptor was left", "RLIMIT_NOFILE"},
	{"error", ofConnection, "another error, which stands beside it", "the error"},

	{
		"client_gone", ofAnswer, "the client ended or reset its connection before its answer was over",
		"the client's timeout",
	},
	{
		"client_timeout", ofAnswer, "the client took too long to send its request or to take its answer",
		"timeouts.body, write",
	},
	{
		"client_stalled", ofAnswer, "memory was short, and the client had taken nothing for fifteen seconds",
		"engine.blocks",
	},
	{
		"file_changed", ofAnswer, "the file was changed while it was sent",
		"how files are deployed: write new ones, and rename",
	},
	{"stopping", ofAnswer, "the server stopped before the answer was over", "timeouts.drain"},
	{"no_memory", ofAnswer, "no block was left to pass it on", "engine.blocks"},
	{"no_dialer", ofAnswer, "the model cannot connect to upstreams", "engine.model: reactor"},
	{"no_endpoint", ofAnswer, "no endpoint is well", "myriad's log of endpoints; health, eject"},
	{"dns_error", ofAnswer, "the upstream's name cannot be found", "the name, and the resolver"},
	{"dns_timeout", ofAnswer, "who is asked for the upstream's name does not answer", "the resolver"},
	{
		"queue_full", ofAnswer, "all connections are in use, and enough requests wait",
		"pool.max, queue.limit; slow endpoints",
	},
	{"queue_timeout", ofAnswer, "no connection became free in time", "pool.max, queue.timeout; slow endpoints"},
	{"no_ports", ofAnswer, "no local port was left to connect from", "sources, ip_local_port_range, the pool"},
	{"closing", ofAnswer, "the upstream is being closed", "nothing: the server stops"},
	{"connect_refused", ofAnswer, "the endpoint refused the connection", "whether it runs, and where"},
	{
		"connect_timeout", ofAnswer, "the endpoint did not accept the connection in time",
		"its accept queue; firewalls",
	},
	{"connect_unreachable", ofAnswer, "there is no way to the endpoint", "routes"},
	{"connect_failed", ofAnswer, "the connection could not be made", "the server's log"},
	{"send_timeout", ofAnswer, "the endpoint took none of the request for too long", "whether it hangs"},
	{"first_byte_timeout", ofAnswer, "the endpoint took too long to begin to answer", "the application"},
	{"between_bytes_timeout", ofAnswer, "the endpoint fell silent within its answer", "the application"},
	{"exchange_timeout", ofAnswer, "the whole took too long", "the application; timeouts of the upstream"},
	{"reset", ofAnswer, "the endpoint reset the connection", "whether it crashed or was restarted"},
	{
		"closed_early", ofAnswer, "the endpoint closed before its answer was complete",
		"whether it crashed or was restarted",
	},
	{
		"stale_link", ofAnswer, "a pooled connection was dead, and the request must not be repeated",
		"pool.idle_timeout",
	},
	{"malformed_head", ofAnswer, "the head of the answer is no HTTP", "what listens at the endpoint"},
	{"head_too_large", ofAnswer, "the head of the answer is too large", "its fields; engine.block"},
	{"malformed_body", ofAnswer, "the content is not framed as it should be", "the application"},
	{"unexpected_upgrade", ofAnswer, "the endpoint switched protocols unasked", "the application"},
	{"loop", ofAnswer, "the request has come round too often", "proxies that lead to each other"},

	{"client_ended", ofSession, "the client said that it was done, and then everything was", "nothing"},
	{"upstream_ended", ofSession, "the server said so first", "nothing"},
	{"client_failed", ofSession, "the client reset the connection, or it broke", "the client"},
	{"upstream_failed", ofSession, "the server did", "the server"},
	{"not_connected", ofSession, "no server could be reached", "the upstream"},
	{
		"idle", ofSession, "neither side said anything for the idle time",
		"timeouts.tunnel or datagrams of the upstream",
	},
	{"too_long", ofSession, "the session reached its greatest age", "timeouts.lifetime of the upstream"},
	{
		"too_many", ofSession, "the client, or the listener, has as many sessions as it may",
		"per_client, datagrams.sessions",
	},
	{"bad_header", ofSession, "the PROXY header was missing, malformed or late", "proxy_protocol, and who sends"},
	{"stopped", ofSession, "the server stopped", "timeouts.drain"},
	{"moved", ofSession, "it goes on in another process", "nothing"},
	{"answered", ofSession, "all answers to the datagrams that were expected have come", "nothing"},
	{"evicted", ofSession, "another client needed the place", "datagrams.sessions"},
	{
		"stalled", ofSession, "memory was short, and a side had taken nothing for fifteen seconds",
		"engine.blocks",
	},
	{"closed", ofSession, "somebody ended it through the admin API", "whoever did"},
}

// Code is the code of a word of the access log: sessions write theirs with spaces.
func Code(word string) string { return strings.ReplaceAll(word, " ", "_") }

// CauseOf is the cause of a connection's end.
func CauseOf(why error) Cause {
	code := observe.EndCode(why)
	for _, c := range Causes {
		if c.Of == ofConnection && c.Code == code {
			return c
		}
	}
	return Cause{Code: code, Of: ofConnection}
}
