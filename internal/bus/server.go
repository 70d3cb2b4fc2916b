package bus

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startPatience = 20 * time.Second
	startStep     = 100 * time.Millisecond // between two looks at whether it has failed
	longestData   = 1 << 20
	clusterUser   = "myriad"
)

// ServerOptions is what a server within this process is made of.
type ServerOptions struct {
	// Listen is where clients connect, for processes beside this one: an address of the loopback interface, with port 0
	// for any. Without one there is no socket, no cluster, and only clients within this process.
	Listen netip.AddrPort
	// Token is what clients have to tell; a random one if empty. See Server.Token.
	Token string
	// Dir is where journals and tables are kept; without one there are none.
	Dir string
	// Memory and Disk are how many bytes those may take; 0: 64 MiB, and 1 GiB.
	Memory, Disk int64
	// Cluster, if set, joins the servers of other machines.
	Cluster *Cluster
	// Name is the server's, unique in its cluster.
	Name string
	// Log gets the server's own lines, those about every client not.
	Log *slog.Logger `json:"-"`
}

// Cluster is how servers of several machines find each other.
type Cluster struct {
	// Name is the cluster's: the same for all.
	Name string
	// Listen is where the other servers connect.
	Listen netip.AddrPort
	// Advertise is how they reach it, where that is not Listen.
	Advertise string
	// Routes are the others, HOST:PORT; one of them is enough, and this server may be among them. Those that keep
	// journals need one.
	Routes []string
	// Apart says that clients get to the server of their own machine alone, so that they are not told of the others.
	Apart bool
	// Secret is what the servers tell each other. Without one anybody who reaches Listen may join.
	Secret string
}

// Server is a NATS server within this process.
type Server struct {
	server *server.Server
	token  string
}

// Serve starts a server, and returns when clients can connect.
func Serve(o ServerOptions) (*Server, error) {
	options := &server.Options{
		ServerName: o.Name, Host: o.Listen.Addr().String(), Port: int(o.Listen.Port()), DontListen: !o.Listen.IsValid(),
		Authorization: o.Token, NoSigs: true, MaxPayload: longestData, WriteDeadline: 10 * time.Second,
		PingInterval: pingInterval, MaxPingsOut: 2, DisableJetStreamBanner: true,
	}
	if options.Authorization == "" {
		options.Authorization = rand.Text()
	}
	if o.Listen.IsValid() && o.Listen.Port() == 0 {
		options.Port = server.RANDOM_PORT
	}
	if o.Dir != "" {
		options.JetStream, options.StoreDir = true, o.Dir
		options.JetStreamMaxMemory, options.JetStreamMaxStore = orElse(o.Memory, 64<<20), orElse(o.Disk, 1<<30)
		options.SyncInterval = time.Second
	}
	if c := o.Cluster; c != nil {
		if err := c.apply(options); err != nil {
			return nil, err
		}
	}
	made, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	log := &lines{log: o.Log, failed: make(chan string, 1)}
	if o.Log == nil {
		log.log = slog.New(slog.DiscardHandler)
	}
	made.SetLoggerV2(log, false, false, false)
	made.Start()
	if err := log.await(made); err != nil {
		made.Shutdown()
		made.WaitForShutdown()
		return nil, err
	}
	return &Server{made, options.Authorization}, nil
}

func orElse(n, otherwise int64) int64 {
	if n > 0 {
		return n
	}
	return otherwise
}

// apply puts the cluster into the options of a server.
func (c *Cluster) apply(o *server.Options) error {
	if c.Name == "" || !c.Listen.IsValid() {
		return errors.New("bus: a cluster needs a name and an address")
	}
	if o.ServerName == "" {
		return errors.New("bus: a server of a cluster needs a name")
	}
	if o.DontListen {
		return errors.New("bus: a server of a cluster needs an address for clients")
	}
	if o.JetStream && len(c.Routes) == 0 {
		return errors.New("bus: a server of a cluster that keeps journals needs the address of another one")
	}
	o.Cluster = server.ClusterOpts{
		Name: c.Name, Host: c.Listen.Addr().String(), Port: int(c.Listen.Port()), Advertise: c.Advertise,
		NoAdvertise: c.Apart,
	}
	if c.Listen.Port() == 0 {
		o.Cluster.Port = server.RANDOM_PORT
	}
	var user *url.Userinfo
	if c.Secret != "" {
		o.Cluster.Username, o.Cluster.Password = clusterUser, c.Secret
		user = url.UserPassword(clusterUser, c.Secret)
	}
	for _, route := range c.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", User: user, Host: route})
	}
	return nil
}

// Token is what clients have to tell.
func (s *Server) Token() string { return s.token }

// URL is where clients of other processes connect; empty if there is no socket.
func (s *Server) URL() string {
	if a := s.server.Addr(); a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// ClusterAddress is where the servers of other machines connect; empty without a cluster.
func (s *Server) ClusterAddress() string {
	if a := s.server.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}

// Peers is how many other servers it is connected with.
func (s *Server) Peers() int {
	names := map[string]bool{}
	routes, err := s.server.Routez(nil)
	if err != nil {
		return 0
	}
	for _, r := range routes.Routes {
		names[r.RemoteID] = true
	}
	return len(names)
}

// Health is nil as long as the server does what it is to do. It fails, for one, when journals cannot be written.
func (s *Server) Health() error {
	h := s.server.Healthz(nil)
	if h.StatusCode == 200 {
		return nil
	}
	return fmt.Errorf("bus: the server is %s: %s", h.Status, h.Error)
}

// Close ends the server. Clients go to others of the cluster.
func (s *Server) Close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// lines is the log of the server in that of ours.
type lines struct {
	log    *slog.Logger
	failed chan string
}

// await returns when the server can be used, or has said why it cannot.
func (l *lines) await(s *server.Server) error {
	for began := time.Now(); time.Since(began) < startPatience; {
		if s.ReadyForConnections(startStep) {
			return nil
		}
		select {
		case why := <-l.failed:
			return errors.New("bus: the server cannot be used: " + why)
		default:
		}
	}
	return fmt.Errorf("bus: the server is not ready after %v", startPatience)
}

// Noticef is for what the server says of itself.
func (l *lines) Noticef(format string, v ...any) { l.log.Debug(text(format, v)) }

// Warnf is for what an operator should know.
func (l *lines) Warnf(format string, v ...any) { l.log.Warn(text(format, v)) }

// Errorf is for what failed.
func (l *lines) Errorf(format string, v ...any) { l.log.Error(text(format, v)) }

// Fatalf is for what the server ends of.
func (l *lines) Fatalf(format string, v ...any) {
	l.log.Error(text(format, v))
	select {
	case l.failed <- text(format, v):
	default:
	}
}

// Debugf and Tracef are asked for by nobody.
func (l *lines) Debugf(string, ...any) {}

// Tracef is never called.
func (l *lines) Tracef(string, ...any) {}

func text(format string, v []any) string {
	return "bus: " + strings.TrimSpace(fmt.Sprintf(format, v...))
}
