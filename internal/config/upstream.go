package config

// Upstream is a set of endpoints that answer alike, and how connections to them are made, kept and given up. Numbers
// count for all loops together.
type Upstream struct {
	// The endpoints: "127.0.0.1:9001", "[::1]:9001", "app.internal:8080", "unix:/run/app.sock", "unix:@app".
	To []Destination `yaml:"to"`
	// The endpoints, in the long form: each with its weight and its limit. Either this or to.
	Endpoints []Endpoint `yaml:"endpoints,omitempty"`
	// The policy that chooses an endpoint: round_robin, least_connections, two_choices, maglev or random. "auto" is maglev
	// where key is written or datagrams are proxied, least_connections for tcp, and round_robin for http.
	Balance string `yaml:"balance"`
	// What maglev hashes, so that the same value goes to the same endpoint: "client" (its address, without the port),
	// "path", "header:NAME" or "cookie:NAME". Without it, client. On tcp and udp listeners there is only client.
	Key Key `yaml:"key,omitempty"`
	// A cookie that brings a client back to the endpoint which answered it first. For http.
	Sticky *Sticky `yaml:"sticky,omitempty"`
	// Connections that are kept for the next request.
	Pool Pool `yaml:"pool"`
	// Requests that wait, because all endpoints are at their limit.
	Queue Queue `yaml:"queue"`
	// How long anything may take.
	Timeouts UpstreamTimeouts `yaml:"timeouts"`
	// Requests that are sent again after a failure.
	Retries Retries `yaml:"retries"`
	// Whether a request that must not be repeated is sent again when the kernel has seen that the endpoint had closed the
	// connection before, and took no byte of it. It is no proof: an endpoint that half-closes, reads and then resets
	// looks the same.
	Evidence bool `yaml:"evidence"`
	// What becomes of a request whose client ends its connection, or its side of it, before the answer is complete:
	// "abort" gives it up, "finish" goes on, for clients that end their side and then wait.
	ClientEnd ClientEnd `yaml:"client_end"`
	// How long an endpoint that has come back gets less than its share.
	SlowStart DurationOrOff `yaml:"slow_start" min:"1s" max:"1h"`
	// Local addresses to connect from, taken in turn: each has as many ports for every endpoint as the kernel gives out.
	Sources []IP `yaml:"sources,omitempty"`
	// Silence after which the kernel begins to probe a connection (TCP_KEEPIDLE), in whole seconds.
	KeepAlive DurationOrOff `yaml:"keepalive" min:"1s" max:"9h"`
	// How long sent bytes may stay unacknowledged before the kernel gives a connection up (TCP_USER_TIMEOUT).
	UserTimeout DurationOrOff `yaml:"user_timeout" min:"1ms" max:"24h"`
	// Asking endpoints whether they are well. Without it, only what requests meet is known.
	Health *Health `yaml:"health,omitempty"`
	// Leaving out an endpoint whose answers keep failing.
	Eject Eject `yaml:"eject"`
	// Looking up the names of endpoints again.
	Resolve Resolve `yaml:"resolve"`
}

// Endpoint is one endpoint of an upstream.
type Endpoint struct {
	// Where it is, as in to.
	Address Destination `yaml:"address" jsonschema:"required"`
	// Its share, in proportion to the weights of the others.
	Weight int `yaml:"weight" min:"1" max:"65535"`
	// Connections that it may have at a time: requests at work, tunnels and sessions. Beyond it the next endpoint is
	// taken, and when all are at their limit, requests wait.
	Connections CountOrUnlimited `yaml:"connections" min:"1" max:"1000000"`
}

// Sticky is a cookie that names an endpoint.
type Sticky struct {
	// The cookie's name.
	Cookie string `yaml:"cookie" jsonschema:"required"`
}

// Pool is the connections that are kept for the next request. The numbers count for one endpoint.
type Pool struct {
	// Whether connections are kept at all. Otherwise each request has one of its own.
	Enabled bool `yaml:"enabled"`
	// Connections that are made before they are asked for, and made again when they have ended.
	Min int `yaml:"min" min:"0" max:"100000"`
	// Connections, idle and at work together.
	Max CountOrUnlimited `yaml:"max" min:"1" max:"1000000"`
	// Idle connections that are kept; one more is closed. A loop keeps 8192 at most, to all endpoints.
	Idle int `yaml:"idle" min:"1" max:"100000"`
	// How long a connection is kept idle. An endpoint that closes its idle connections earlier is noticed, and the time is
	// shortened for it.
	IdleTimeout Duration `yaml:"idle_timeout" min:"100ms" max:"24h"`
	// How old a connection may get before no further request is sent on it.
	MaxAge Duration `yaml:"max_age" min:"1s" max:"480h"`
	// Whether a loop without an idle connection takes one from another loop before it makes a new one.
	Share bool `yaml:"share"`
}

// Queue is the requests that wait because all endpoints are at their limit.
type Queue struct {
	// Requests that may wait on one loop. Beyond it the answer is 503, cause queue_full.
	Limit int `yaml:"limit" min:"1" max:"1000000"`
	// How long one may wait. Beyond it the answer is 503, cause queue_timeout.
	Timeout Duration `yaml:"timeout" min:"1ms" max:"10m"`
}

// UpstreamTimeouts are how long anything may take on the way to an endpoint and back.
type UpstreamTimeouts struct {
	// Making a connection. Beyond it the next endpoint is tried; then the answer is 504.
	Connect Duration `yaml:"connect" min:"1ms" max:"10m"`
	// An endpoint that takes none of the bytes that are sent to it. What counts is what its machine acknowledges; it is
	// looked at once in that time, so the end may come after up to twice the time. The answer is 504.
	Send Duration `yaml:"send" min:"1ms" max:"24h"`
	// From the end of the request until the head of the answer is complete. The answer is 504.
	FirstByte Duration `yaml:"first_byte" min:"1ms" max:"24h"`
	// Silence within an answer. The client sees the answer cut off.
	BetweenBytes Duration `yaml:"between_bytes" min:"1ms" max:"24h"`
	// A whole exchange, from the request until the last byte of its answer.
	Exchange DurationOrUnlimited `yaml:"exchange" min:"1ms" max:"720h"`
	// Silence of a tunnel (WebSocket and other upgrades) or of a session of tcp, in both directions. It is closed.
	Tunnel DurationOrUnlimited `yaml:"tunnel" min:"1s" max:"720h"`
	// A whole session of tcp, however busy it is. It is closed.
	Lifetime DurationOrUnlimited `yaml:"lifetime" min:"1s" max:"8760h"`
	// Silence of a session of datagrams, in both directions. It is forgotten.
	Datagrams Duration `yaml:"datagrams" min:"100ms" max:"24h"`
}

// Retries are the requests that are sent again after a failure: those that may be repeated (RFC 9110, section 9.2.2),
// and those of which nothing was sent.
type Retries struct {
	// Further attempts of one request, each on another endpoint where there is one.
	Attempts CountOrOff `yaml:"attempts" min:"1" max:"16"`
	// The share of requests that may be sent again: 0.2 is one in five. It keeps failures from multiplying the load.
	Budget float64 `yaml:"budget" min:"0.01" max:"1"`
}

// Health asks endpoints whether they are well, on connections of its own.
type Health struct {
	// What is asked. Without it, a connection that can be made is enough.
	HTTP *HealthHTTP `yaml:"http,omitempty"`
	// Time between two checks of an endpoint; of one that is down, a fifth of it.
	Interval Duration `yaml:"interval" min:"100ms" max:"1h"`
	// How long a check may take.
	Timeout Duration `yaml:"timeout" min:"10ms" max:"10m"`
	// Good checks in a row that bring an endpoint back.
	Rise int `yaml:"rise" min:"1" max:"100"`
	// Bad checks in a row that take it out.
	Fall int `yaml:"fall" min:"1" max:"100"`
}

// HealthHTTP is the request of a check. Answers with a status from 200 to 399 are good.
type HealthHTTP struct {
	// The path.
	Path string `yaml:"path"`
	// The Host field. Empty is the endpoint's address.
	Host string `yaml:"host"`
}

// Eject leaves out an endpoint that keeps failing: no connection, a timeout, an answer broken off, or a status of 500
// or more but 501 and 505. When its time is over, one request tries it, and before that only if there is no other
// endpoint.
type Eject struct {
	// Failures in a row that eject an endpoint.
	Failures CountOrOff `yaml:"failures" min:"1" max:"10000"`
	// How long the first time. Each further time it is twice as long.
	Base Duration `yaml:"base" min:"100ms" max:"1h"`
	// How long at most.
	Max Duration `yaml:"max" min:"100ms" max:"24h"`
	// The share of the endpoints that may be left out for what they answer: with 0.5, half of them, and one of several in
	// any case. Endpoints that accept no connection are left out whatever their share.
	Share float64 `yaml:"share" min:"0.01" max:"1"`
}

// Resolve looks up names again.
type Resolve struct {
	// The time between two look-ups after a change or a failure. It doubles while nothing changes.
	Min Duration `yaml:"min" min:"100ms" max:"24h"`
	// The longest. The system's resolver does not tell how long an answer holds.
	Max Duration `yaml:"max" min:"100ms" max:"24h"`
	// Whether the IPv6 addresses of a name are used beside the IPv4 ones. Otherwise they are where there are no others.
	IPv6 bool `yaml:"ipv6"`
}

// ClientEnd is what becomes of a request whose client has sent its last byte.
type ClientEnd string

// What may become of it.
const (
	ClientEndAbort  ClientEnd = "abort"
	ClientEndFinish ClientEnd = "finish"
)

// Values are the words that a file may say.
func (ClientEnd) Values() []string { return words(ClientEndAbort, ClientEndFinish) }
