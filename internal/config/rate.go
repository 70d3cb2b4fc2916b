package config

import "time"

// Rate is how many requests a client address may make of a route.
type Rate struct {
	// Requests that one client address may make within per; what is more is answered with 429 and a Retry-After field. Of
	// IPv6 the first 64 bits count. Clients of Unix sockets are not bounded.
	Requests int `yaml:"requests" min:"1" max:"1000000000" jsonschema:"required"`
	// The time. It is counted in windows of this length, and the window before counts by how much of it is within reach.
	Per Duration `yaml:"per" min:"100ms" max:"24h"`
	// Addresses that are remembered at a time, some 80 bytes each. While more are about, those beyond are not bounded.
	Clients int `yaml:"clients" min:"64" max:"100000000"`
}

func defaultRate() Rate { return Rate{Per: Duration(time.Second), Clients: 1 << 16} }
