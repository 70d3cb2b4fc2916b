package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
)

// Bus is messages between worker processes and machines, over NATS. What they tell each other is what clients have used
// of the rates of routes, so that together they admit what one would. While it is away each counts for itself.
type Bus struct {
	// Servers of NATS that run already, such as "nats://10.0.0.5:4222", of which any will do. Without one the server runs
	// its own: beside worker processes as a process, which is started anew when it dies.
	Servers []string `yaml:"servers,omitempty"`
	// A file with the token that the servers ask for, and nothing else. Only for servers.
	TokenFile string `yaml:"token_file"`
	// How the own server and those of other machines are one.
	Cluster *Cluster `yaml:"cluster,omitempty"`
}

// Cluster joins the servers of several machines.
type Cluster struct {
	// Its name, the same on all machines.
	Name string `yaml:"name"`
	// What this machine is called; each has another name.
	Node string `yaml:"node" jsonschema:"required"`
	// Where the other machines connect: an IP address and a port. What they say goes over the network as it is, and
	// whoever reads it learns the addresses of clients.
	Listen string `yaml:"listen" jsonschema:"required"`
	// The other machines, host and port; one of them is enough.
	Routes []string `yaml:"routes,omitempty"`
	// A file with a secret that all machines have, and nothing else.
	SecretFile string `yaml:"secret_file" jsonschema:"required"`
}

func defaultCluster() Cluster { return Cluster{Name: "myriad"} }

// nodeNames are what a machine and a cluster may be called.
var nodeNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (r *rules) bus() {
	b := r.config.Bus
	if b == nil {
		return
	}
	for i, server := range b.Servers {
		if at, err := url.Parse(server); err != nil || !slices.Contains([]string{"nats", "tls"}, at.Scheme) ||
			at.Host == "" || at.User != nil {
			r.refuse(fmt.Sprintf("%q is no server of NATS", server), `write "nats://HOST:PORT", and a token into token_file`,
				item("bus.servers", i))
		}
	}
	if b.TokenFile != "" {
		r.secret("bus.token_file", b.TokenFile)
		if len(b.Servers) == 0 {
			r.refuse("it is for servers that run already, and none is named", "leave it out", "bus.token_file")
		}
	}
	if c := b.Cluster; c != nil {
		r.cluster(c)
	}
	if !slices.ContainsFunc(r.config.Routes, func(route Route) bool { return route.Rate != nil }) {
		r.warn("nothing is told over the bus", "leave it out, or write a rate at a route", "bus")
	} else if r.config.Engine.Processes == 0 && len(b.Servers) == 0 && b.Cluster == nil {
		r.warn("there is nobody to tell anything: no worker processes, no servers, and no cluster",
			"leave it out, or write one of them", "bus")
	}
}

func (r *rules) cluster(c *Cluster) {
	if len(r.config.Bus.Servers) > 0 {
		r.warn("it is for the own server, which does not run where others are named", "leave one of the two out",
			"bus.cluster", "bus.servers")
	}
	for _, name := range []struct{ key, value string }{{"name", c.Name}, {"node", c.Node}} {
		if !nodeNames.MatchString(name.value) {
			r.refuse(fmt.Sprintf("%q is no name", name.value), "write up to 64 letters, digits, - and _",
				"bus.cluster."+name.key)
		}
	}
	if _, err := netip.ParseAddrPort(c.Listen); err != nil {
		r.refuse(fmt.Sprintf("%q is no address", c.Listen), `write an IP address and a port, as in "10.0.0.1:6222"`,
			"bus.cluster.listen")
	}
	for i, route := range c.Routes {
		if at, err := url.Parse("nats://" + route); err != nil || at.Port() == "" || at.Hostname() == "" {
			r.refuse(fmt.Sprintf("%q is no machine", route), `write a host and a port, as in "10.0.0.2:6222"`,
				item("bus.cluster.routes", i))
		}
	}
	r.secret("bus.cluster.secret_file", c.SecretFile)
}

// secret makes sure that a file can be read.
func (r *rules) secret(path, file string) {
	if f, err := os.Open(file); err != nil {
		r.refuse(err.Error(), "write the path of a file that the server may read", path)
	} else {
		_ = f.Close() // it was only looked at
	}
}
