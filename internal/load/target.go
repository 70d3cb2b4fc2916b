package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
)

// Target is what is put under load.
type Target struct {
	Scheme  string // "http", "tcp", "udp" or "unix"
	Address netip.AddrPort
	Path    string // of a Unix socket, or "@" and its abstract name
	Host    string // HTTP: the authority
	URI     string // HTTP: path and query
	Text    string // as it was said
}

// HTTP reports whether HTTP is spoken.
func (t *Target) HTTP() bool { return t.URI != "" }

// Datagrams reports whether the target is a UDP socket.
func (t *Target) Datagrams() bool { return t.Scheme == "udp" }

const schemes = "http://, http+unix:, tcp://, udp:// and unix:"

// ParseTarget reads a target:
//
//	http://HOST:PORT/PATH        http+unix:SOCKET:/PATH
//	tcp://HOST:PORT              udp://HOST:PORT            unix:SOCKET
//
// A name is looked up, and its first address is taken, IPv4 before IPv6.
func ParseTarget(ctx context.Context, text string) (Target, error) {
	t := Target{Text: text}
	if rest, ok := strings.CutPrefix(text, "http+unix:"); ok {
		path, uri, _ := strings.Cut(rest, ":")
		t.Scheme, t.Path, t.Host, t.URI = "unix", path, "localhost", uri
		if t.URI == "" {
			t.URI = "/"
		}
		err := t.checkPath()
		return t, err
	}
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		t.Scheme, t.Path = "unix", strings.TrimPrefix(rest, "//")
		err := t.checkPath()
		return t, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return t, fmt.Errorf("the target %q is no URL: %w", text, err)
	}
	t.Scheme = u.Scheme
	port := u.Port()
	switch u.Scheme {
	case "http":
		t.Host, t.URI = u.Host, u.RequestURI()
		if port == "" {
			port = "80"
		}
	case "tcp", "udp":
		if u.Path != "" && u.Path != "/" {
			return t, fmt.Errorf("the target %q has a path, which only http has", text)
		}
	case "https":
		return t, fmt.Errorf("the target %q asks for TLS, which is not spoken here", text)
	default:
		return t, fmt.Errorf("the target %q must begin with one of %s", text, schemes)
	}
	if u.Hostname() == "" {
		return t, fmt.Errorf("the target %q has no host", text)
	}
	if port == "" {
		return t, fmt.Errorf("the target %q has no port", text)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return t, fmt.Errorf("the target %q: the port %s is not 1 to 65535", text, port)
	}
	ip, err := lookUp(ctx, u.Hostname())
	if err != nil {
		return t, fmt.Errorf("the target %q: %w", text, err)
	}
	t.Address = netip.AddrPortFrom(ip, uint16(number))
	return t, nil
}

func (t *Target) checkPath() error {
	if _, err := sys.EncodeUnix(t.Path); err != nil {
		return fmt.Errorf("the target %q: %w", t.Text, err)
	}
	if t.HTTP() && !strings.HasPrefix(t.URI, "/") {
		return fmt.Errorf("the target %q: the path of the request must begin with /", t.Text)
	}
	return nil
}

func lookUp(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range list {
		if ip.Unmap().Is4() {
			return ip.Unmap(), nil
		}
	}
	return list[0], nil
}

// raw is the socket address, and its family.
func (t *Target) raw() (address []byte, family int, err error) {
	if t.Path != "" {
		address, err = sys.EncodeUnix(t.Path)
		return address, sys.Unix, err
	}
	address, family = sys.EncodeAddress(nil, t.Address)
	return address, family, nil
}
