package config

// Listener is one listening socket and the options of the connections that it accepts.
type Listener struct {
	// Where to listen: "127.0.0.1:8080", "[::1]:80", ":8080" for every address of the machine, "udp://127.0.0.1:9000",
	// "unix:/run/myriad.sock" for a socket file, "unix:@myriad" for an abstract name. Port 0 takes a free port.
	Address Address `yaml:"address" jsonschema:"required"`
	// What is spoken: "tcp" and "udp" pass bytes and datagrams on to an upstream without a look at them, "echo" (RFC 862)
	// and "discard" (RFC 863) are for measuring. Over udp there is no http. At a unix socket, "udp" takes datagrams, and
	// everything else connections.
	Protocol Protocol `yaml:"protocol"`
	// The upstream that tcp or udp is passed on to, by its name under upstreams.
	Upstream string `yaml:"upstream,omitempty"`
	// The endpoints themselves, for an upstream of its own with every option at its default. Either this or upstream.
	To []Destination `yaml:"to,omitempty"`
	// The PROXY protocol, for tcp.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	// Sessions of tcp or udp that one client address may have at a time. One more is closed at once, or its datagram
	// dropped. Clients at unix sockets have no address, and are not limited.
	PerClient CountOrUnlimited `yaml:"per_client" min:"1" max:"1000000"`
	// Sessions of udp.
	Datagrams Datagrams `yaml:"datagrams"`
	// Connections that the kernel completes and queues before they are accepted. The kernel cuts it to
	// net.core.somaxconn.
	Backlog int `yaml:"backlog" min:"1" max:"65535"`
	// Bytes of a socket's send buffer (SO_SNDBUF). "auto" leaves it to the kernel, which then adapts it to the path.
	SendBuffer SizeOrAuto `yaml:"send_buffer" min:"4KiB" max:"1GiB"`
	// Bytes of a socket's receive buffer (SO_RCVBUF). "auto" leaves it to the kernel, which then adapts it to the path.
	ReceiveBuffer SizeOrAuto `yaml:"receive_buffer" min:"4KiB" max:"1GiB"`
	// Send at once instead of waiting for a full segment (TCP_NODELAY).
	NoDelay bool `yaml:"nodelay"`
	// Probes of silent connections by the kernel.
	KeepAlive KeepAlive `yaml:"keepalive"`
	// How long sent bytes may stay unacknowledged before the kernel gives the connection up (TCP_USER_TIMEOUT).
	UserTimeout DurationOrOff `yaml:"user_timeout" min:"1ms" max:"24h"`
	// How long to wait for a first byte before a connection is accepted (TCP_DEFER_ACCEPT), in whole seconds.
	DeferAccept DurationOrOff `yaml:"defer_accept" min:"1s" max:"1h"`
	// Connections at a time that may send data with their first packet (TCP_FASTOPEN).
	FastOpen CountOrOff `yaml:"fast_open" min:"1" max:"65535"`
	// The congestion control of connections (TCP_CONGESTION): a name that the kernel has, or "system" for its default.
	// "auto" is "reno" on a loopback address, where nothing can be congested, and "system" on any other.
	Congestion string `yaml:"congestion"`
	// Whether several sockets share the address (SO_REUSEPORT). "auto" does what engine.accept needs.
	ReusePort AutoBool `yaml:"reuseport"`
	// Keep IPv4 off an IPv6 socket (IPV6_V6ONLY).
	V6Only bool `yaml:"v6only"`
	// Permissions of a socket file, in octal.
	Mode FileMode `yaml:"mode"`
}

// KeepAlive is the kernel's probing of silent connections (SO_KEEPALIVE).
type KeepAlive struct {
	// Whether the kernel probes.
	Enabled bool `yaml:"enabled"`
	// Silence before the first probe (TCP_KEEPIDLE), in whole seconds.
	Idle Duration `yaml:"idle" min:"1s" max:"9h"`
	// Time between two probes (TCP_KEEPINTVL), in whole seconds.
	Interval Duration `yaml:"interval" min:"1s" max:"9h"`
	// Probes without an answer after which the connection is given up (TCP_KEEPCNT).
	Count int `yaml:"count" min:"1" max:"127"`
}
