package control

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// pairOf waits until what is listed is a client's connection and one to the upstream that name each other, and returns
// them.
func (s *server) pairOf(protocol string) (client, link Connection) {
	s.t.Helper()
	s.until("", "a pair of "+protocol, func(l *List) bool {
		if len(l.Connections) != 2 {
			return false
		}
		client, link = l.Connections[0], l.Connections[1]
		if client.Protocol == "upstream" {
			client, link = link, client
		}
		return client.Protocol == protocol && link.Protocol == "upstream" && client.Partner == link.ID &&
			link.Partner == client.ID
	})
	if client.Endpoint == "" || client.Endpoint != link.Endpoint || link.Peer != link.Endpoint {
		s.t.Errorf("the client's connection leads to %q, and the other one to %q at %q", client.Endpoint, link.Endpoint,
			link.Peer)
	}
	return client, link
}

// accepted is the next connection of a listener.
func accepted(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// upstreamAt is a listener of this machine, until the end of the test.
func upstreamAt(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestPartners has a request, a tunnel and a session of bytes say where they lead, on both of their sides.
func TestPartners(t *testing.T) {
	upstream := upstreamAt(t)
	where := "[{address: \"" + upstream.Addr().String() + "\"}]"
	t.Run("http", func(t *testing.T) {
		s := serve(t, "upstreams={app: {endpoints: "+where+"}}",
			"routes=[{prefix: /, proxy: {upstream: app}}]")
		c := s.dial()
		request := "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n"
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		far := accepted(t, upstream)
		client, link := s.pairOf("http")
		if !client.Exchanging || client.Requests != 1 || link.Requests != 1 || link.Upstream != "app" {
			t.Errorf("%+v; %+v", client, link)
		}
		if _, err := io.WriteString(far, "HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		client, _ = s.pairOf("tunnel")
		if page := s.list("protocol=tunnel"); page.Matched != 1 || page.Connections[0].ID != client.ID {
			t.Errorf("by protocol: %+v", page)
		}
		if page := s.list("protocol=http"); page.Matched != 0 {
			t.Errorf("a tunnel is listed as http: %+v", page)
		}
	})
	t.Run("tcp", func(t *testing.T) {
		s := serve(t, "upstreams={app: {endpoints: "+where+"}}", "listeners[0].protocol=tcp",
			"listeners[0].upstream=app")
		s.dial()
		accepted(t, upstream)
		if client, link := s.pairOf("tcp"); client.Requests != 0 || link.Upstream != "app" {
			t.Errorf("%+v; %+v", client, link)
		}
	})
}

// TestSessions lists sessions of datagrams and ends one.
func TestSessions(t *testing.T) {
	upstream, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = upstream.Close() }()
	s := serve(t, "listeners[0].address=udp://127.0.0.1:0", "listeners[0].protocol=udp",
		"listeners[0].to=["+upstream.LocalAddr().String()+"]")
	var peers []string
	for range 3 {
		c, err := net.Dial("udp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, from, err := upstream.ReadFrom(make([]byte, 9)); err != nil || from == nil {
			t.Fatal(err)
		}
		peers = append(peers, c.LocalAddr().String())
	}
	var all SessionList
	s.ask(http.MethodGet, "/v1/sessions", "limit=2&offset=1", &all)
	if all.Open != 3 || all.Matched != 3 || len(all.Sessions) != 2 {
		t.Fatalf("listed %+v", all)
	}
	for _, o := range all.Sessions {
		if !strings.Contains(strings.Join(peers, " "), o.Peer) || o.Received != 1 || o.ReceivedBytes != 5 || !o.Reached ||
			o.ToEndpointBytes != 5 || o.SentBytes != 0 || o.Endpoint != upstream.LocalAddr().String() {
			t.Errorf("listed %+v", o)
		}
	}
	s.ask(http.MethodDelete, "/v1/sessions/"+all.Sessions[0].ID, "", nil)
	var left SessionList
	s.ask(http.MethodGet, "/v1/sessions", "peer=127.0.0.0/8", &left)
	if left.Open != 2 || left.Matched != 2 {
		t.Errorf("after the end of one: %+v", left)
	}
	for _, none := range []string{"peer=192.0.2.1", "older=1h", "idle=1h", "listener=127.0.0.1:1"} {
		if s.ask(http.MethodGet, "/v1/sessions", none, &left); left.Matched != 0 || left.Open != 2 {
			t.Errorf("%s: %+v", none, left)
		}
	}
	for path, wrong := range map[string]string{
		"/v1/sessions/" + all.Sessions[0].ID: "no such session", "/v1/sessions/7-1": "no such session",
		"/v1/sessions/x": "no ID",
	} {
		if _, err := s.client.Ask(t.Context(), http.MethodDelete, path, nil, nil); err == nil ||
			!strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
