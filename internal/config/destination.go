package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Destination is where an endpoint is. Make one with ParseDestination.
type Destination struct {
	// Host is an IP address or a name; empty for a Unix socket.
	Host string
	// Port is never 0 where there is a host.
	Port uint16
	// Path is the file of a Unix socket, or "@" and an abstract name.
	Path string

	text string // as it was written
}

// ParseDestination reads where an endpoint is. A text that cannot be read gives a Destination that is nowhere, which
// Check reports.
func ParseDestination(text string) Destination {
	d, err := parseDestination(text)
	if err != nil {
		return Destination{text: text}
	}
	return d
}

// String is the text that it was read from.
func (d Destination) String() string { return d.text }

// MarshalText is String.
func (d Destination) MarshalText() ([]byte, error) { return []byte(d.text), nil }

// UnmarshalText reads a destination.
func (d *Destination) UnmarshalText(text []byte) error {
	value, err := parseDestination(string(text))
	if err == nil {
		*d = value
	}
	return err
}

// Equal reports whether both are the same place, however they are written.
func (d Destination) Equal(e Destination) bool {
	d.text, e.text = "", ""
	return d == e
}

// Endpoint is the destination as a text that is the same however it was written: "host:port" or "unix:name".
func (d Destination) Endpoint() string {
	if d.Path != "" {
		return "unix:" + d.Path
	}
	if strings.Contains(d.Host, ":") {
		return "[" + d.Host + "]:" + strconv.Itoa(int(d.Port))
	}
	return d.Host + ":" + strconv.Itoa(int(d.Port))
}

// nowhere reports whether the text could not be read.
func (d Destination) nowhere() bool { return d.Host == "" && d.Path == "" }

const destinationMend = `write "127.0.0.1:9001", "[::1]:9001", "app.internal:8080", "unix:/run/app.sock" or "unix:@app"`

func parseDestination(text string) (Destination, error) {
	d := Destination{text: text}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		d.Path = strings.TrimPrefix(path, "//")
		return d, checkUnixPath(d.Path)
	}
	rest, usual := text, ""
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		rest = strings.TrimSuffix(after, "/")
		switch scheme {
		case "http":
			usual = ":80"
		case "tcp", "udp":
		case "https":
			return d, &mistake{"endpoints are not spoken to over TLS", "write http:// and the port that speaks without"}
		default:
			return d, &mistake{fmt.Sprintf("%q is no way to reach an endpoint", scheme), destinationMend}
		}
	}
	if at := strings.IndexAny(rest, "/?#"); at >= 0 {
		return d, &mistake{
			fmt.Sprintf("an endpoint has no path, and this one has %q", rest[at:]),
			"leave it out; a route's proxy.prefix is put in front of paths",
		}
	}
	host, port, err := splitDestination(text, rest, usual)
	if err != nil {
		return d, err
	}
	d.Host, d.Port = host, port
	return d, checkDestinationHost(host)
}

// splitDestination takes host and port apart; usual is the port that need not be written.
func splitDestination(text, rest, usual string) (host string, port uint16, err error) {
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 || strings.HasSuffix(rest, "]") {
		if _, err := strconv.ParseUint(rest, 10, 16); err == nil {
			return "", 0, &mistake{
				fmt.Sprintf("%q is only a port", text), fmt.Sprintf("did you mean %q?", "127.0.0.1:"+rest),
			}
		}
		if usual == "" {
			mend := destinationMend
			if checkDestinationHost(strings.Trim(rest, "[]")) == nil {
				mend = fmt.Sprintf("did you mean %q?", rest+":80")
			}
			return "", 0, &mistake{fmt.Sprintf("%q has no port", text), mend}
		}
		colon, rest = len(rest), rest+usual
	}
	number, err := strconv.ParseUint(rest[colon+1:], 10, 16)
	if err != nil || number == 0 {
		return "", 0, &mistake{fmt.Sprintf("%q is not a port", rest[colon+1:]), "write a number from 1 to 65535"}
	}
	host = rest[:colon]
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		if host, bracketed = strings.CutSuffix(inner, "]"); !bracketed {
			return "", 0, &mistake{fmt.Sprintf("%q has a bracket too many", text), destinationMend}
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return "", 0, &mistake{fmt.Sprintf("%q is not an IPv6 address", host), destinationMend}
		}
	} else if strings.Contains(host, ":") {
		return "", 0, &mistake{
			fmt.Sprintf("%q cannot be told from its port", host), `write IPv6 in brackets, as in "[::1]:9001"`,
		}
	}
	switch host {
	case "", "*", "0.0.0.0", "::":
		return "", 0, &mistake{
			fmt.Sprintf("%q says no host to connect to", text), fmt.Sprintf("did you mean \"127.0.0.1:%d\"?", number),
		}
	}
	return host, uint16(number), nil
}

// checkDestinationHost checks an IP address or a name: RFC 1123, section 2.1, and the underscore that people use.
func checkDestinationHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	wrong := &mistake{fmt.Sprintf("%q is not a host", host), destinationMend}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 || strings.Trim(name, "0123456789.") == "" {
		return wrong
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 || !plain(label) || label[0] == '-' || label[len(label)-1] == '-' {
			return wrong
		}
	}
	return nil
}

// KeySource is what of a request or connection is hashed.
type KeySource string

// The sources of a key.
const (
	KeyClient KeySource = "client"
	KeyPath   KeySource = "path"
	KeyHeader KeySource = "header"
	KeyCookie KeySource = "cookie"
)

// Key is what consistent hashing looks at. The zero value says nothing.
type Key struct {
	Source KeySource
	// Name is that of the header or cookie.
	Name string
}

// String is the text that reads back as k.
func (k Key) String() string {
	if k.Name == "" {
		return string(k.Source)
	}
	return string(k.Source) + ":" + k.Name
}

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String writes.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = Key{}
		return nil
	}
	source, name, named := strings.Cut(string(text), ":")
	const mend = `write client, path, "header:NAME" or "cookie:NAME"`
	switch KeySource(source) {
	case KeyClient, KeyPath:
		if named {
			return &mistake{fmt.Sprintf("%s has no name", source), "did you mean " + source + "?"}
		}
	case KeyHeader, KeyCookie:
		if !isToken(name) {
			return &mistake{fmt.Sprintf("%q does not name a %s", text, source), fmt.Sprintf(`write "%s:NAME"`, source)}
		}
	default:
		if near := nearest(source, []string{"client", "path", "header", "cookie"}); near != "" {
			return &mistake{fmt.Sprintf("%q is not a key", text), "did you mean " + near + "?"}
		}
		return &mistake{fmt.Sprintf("%q is not a key", text), mend}
	}
	*k = Key{KeySource(source), name}
	return nil
}

// IP is an IP address.
type IP struct{ netip.Addr }

// UnmarshalText reads an address.
func (a *IP) UnmarshalText(text []byte) error {
	ip, err := netip.ParseAddr(string(text))
	if err != nil {
		return &mistake{fmt.Sprintf("%q is not an IP address", text), "write one of this machine, such as 10.0.0.7"}
	}
	a.Addr = ip
	return nil
}

// Subnet is a range of IP addresses.
type Subnet struct{ netip.Prefix }

// UnmarshalText reads a range, or a single address.
func (s *Subnet) UnmarshalText(text []byte) error {
	if ip, err := netip.ParseAddr(string(text)); err == nil {
		s.Prefix = netip.PrefixFrom(ip, ip.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return &mistake{fmt.Sprintf("%q is not a range of addresses", text), "write one such as 10.0.0.0/8, or an address"}
	}
	s.Prefix = prefix.Masked()
	return nil
}

// CountOrUnlimited is a number or the word "unlimited", which is the value Unlimited.
type CountOrUnlimited int64

// Word is "unlimited" for Unlimited.
func (c CountOrUnlimited) Word() string { return wordAt(c, Unlimited, wordUnlimited) }

// String is the shortest text that reads back as c.
func (c CountOrUnlimited) String() string { return wordOr(c, strconv.Itoa(int(c))) }

// MarshalText is String.
func (c CountOrUnlimited) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalYAML writes a number as a number.
func (c CountOrUnlimited) MarshalYAML() (any, error) { return wordOrCount(c, int(c)), nil }

// UnmarshalText reads what String writes.
func (c *CountOrUnlimited) UnmarshalText(text []byte) error {
	if string(text) == wordUnlimited {
		*c = Unlimited
		return nil
	}
	value, err := parseCount(string(text), wordUnlimited)
	if err == nil {
		*c = CountOrUnlimited(value)
	}
	return err
}
