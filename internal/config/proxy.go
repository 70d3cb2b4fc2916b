package config

// Proxy answers with what an upstream answers.
type Proxy struct {
	// The upstream, by its name under upstreams.
	Upstream string `yaml:"upstream,omitempty"`
	// The endpoints themselves, for an upstream of its own with every option at its default. Either this or upstream.
	To []Destination `yaml:"to,omitempty"`
	// The Host field that the upstream sees: "client" is the client's, "upstream" the endpoint's address, any other text
	// is itself.
	Host string `yaml:"host"`
	// Whether the route's prefix is cut off the path before it is sent on.
	Strip bool `yaml:"strip"`
	// A path that is put in front of the path, such as "/v2".
	Prefix string `yaml:"prefix"`
	// How the upstream learns of the client: "x" writes X-Forwarded-For, -Proto and -Host, "rfc7239" writes Forwarded,
	// "both" writes both.
	Forwarded Forwarded `yaml:"forwarded"`
	// The clients who may say themselves for whom they ask, such as [10.0.0.0/8]: what they send in X-Forwarded-For and
	// Forwarded is kept and added to. From all others it is replaced, and every other X-Forwarded- field is left out.
	// Clients at a unix socket are as those from 127.0.0.1.
	Trusted []Subnet `yaml:"trusted,omitempty"`
	// Whether fields with a "_" in their name are passed on. Upstreams that take it for a "-" (CGI, WSGI, PHP) would
	// believe X_Forwarded_For and what else a client may say in the name of a field that is replaced on the way.
	Underscores bool `yaml:"underscores"`
	// Fields of the request that are changed on the way.
	RequestHeaders HeaderEdits `yaml:"request_headers"`
	// Fields of the answer that are changed on the way.
	ResponseHeaders HeaderEdits `yaml:"response_headers"`
	// Bytes of a request's body, in place of limits.body: it is passed on as it comes and never held whole.
	Body SizeOrUnlimited `yaml:"body" min:"1" max:"1PiB"`
}

// Datagrams is sessions of udp: what one client, an address and a port or a unix socket's name, sends to one endpoint,
// and its answers.
type Datagrams struct {
	// Sessions that the listener may have at a time, over all loops. Each takes a descriptor.
	Sessions int `yaml:"sessions" min:"1" max:"1000000"`
	// Whether one more ends a session: of those of its loop the one that has been silent for longest. Otherwise its
	// datagrams are dropped.
	Evict bool `yaml:"evict"`
	// Datagrams that an endpoint sends for each one that it gets. When all have come, the session is over at once: 1 is
	// right for DNS.
	Answers CountOrOff `yaml:"answers" min:"1" max:"1000000"`
}

// HeaderEdits are changes of fields: first remove, then set, then add.
type HeaderEdits struct {
	// Fields that replace those of the same name.
	Set map[string]string `yaml:"set,omitempty"`
	// Fields that stand beside those of the same name.
	Add map[string]string `yaml:"add,omitempty"`
	// Names of fields that are left out.
	Remove []string `yaml:"remove,omitempty"`
}

// ProxyProtocol is the PROXY protocol: a few bytes in front of a connection that tell whose it is.
type ProxyProtocol struct {
	// What is read from clients: "any" takes version 1 or 2. A connection that begins otherwise is closed.
	Accept ProxyAccept `yaml:"accept"`
	// What is written to endpoints.
	Send ProxySend `yaml:"send"`
	// The clients of which it is read, such as [10.0.0.0/8, "::1"]; what others send is passed on as it is. Without it, it
	// is read of all.
	Trusted []Subnet `yaml:"trusted,omitempty"`
}

// said reports whether anything is read or written.
func (p ProxyProtocol) said() bool { return p.Accept != ProxyAcceptOff || p.Send != ProxySendOff }

// Forwarded is how an upstream learns of the client.
type Forwarded string

// The ways to tell of the client.
const (
	ForwardedX       Forwarded = "x"
	ForwardedRFC7239 Forwarded = "rfc7239"
	ForwardedBoth    Forwarded = "both"
	ForwardedOff     Forwarded = "off"
)

// Values are the words that a file may say.
func (Forwarded) Values() []string {
	return words(ForwardedX, ForwardedRFC7239, ForwardedBoth, ForwardedOff)
}

// ProxyAccept is which versions of the PROXY protocol are read.
type ProxyAccept string

// What may be read.
const (
	ProxyAcceptOff ProxyAccept = "off"
	ProxyAcceptV1  ProxyAccept = "v1"
	ProxyAcceptV2  ProxyAccept = "v2"
	ProxyAcceptAny ProxyAccept = "any"
)

// Values are the words that a file may say.
func (ProxyAccept) Values() []string {
	return words(ProxyAcceptOff, ProxyAcceptV1, ProxyAcceptV2, ProxyAcceptAny)
}

// ProxySend is which version of the PROXY protocol is written.
type ProxySend string

// What may be written.
const (
	ProxySendOff ProxySend = "off"
	ProxySendV1  ProxySend = "v1"
	ProxySendV2  ProxySend = "v2"
)

// Values are the words that a file may say.
func (ProxySend) Values() []string { return words(ProxySendOff, ProxySendV1, ProxySendV2) }
