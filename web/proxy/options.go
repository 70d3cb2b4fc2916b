package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
)

// Options says where requests go and what is changed on the way. Zero fields get the default that is named with them.
type Options struct {
	// Group is the endpoints. Required.
	Group *upstream.Group
	// Name is what the proxy calls itself in Via and Proxy-Status, a token; "myriad".
	Name string

	// Host is the Host field that the upstream sees: HostClient, HostUpstream, or itself; HostClient.
	Host string
	// Strip is cut off the front of the path, and Prefix put in front of it; a path that does not begin with Strip is left
	// as it is.
	Strip, Prefix string
	// Forwarded is how the upstream learns of the client; ForwardedX.
	Forwarded Forwarded
	// Trusted are the networks whose clients may say themselves for whom they ask: what they send in X-Forwarded-For and
	// Forwarded is kept and added to. From anyone else it is replaced, and every other X-Forwarded- field is left out,
	// unless Forwarded is off. A client at a Unix socket is trusted if 127.0.0.1 is.
	Trusted []netip.Prefix
	// Scheme is what clients speak, for the fields that say so; "http".
	Scheme string
	// Underscores passes fields with a "_" in their name on. Many upstreams take it for a "-", so that a client could
	// speak in the name of a field that is replaced here.
	Underscores bool
	// Request and Response change the fields on the way.
	Request, Response Edits
	// BodyBytes is how much content a request may have; the server's limit. web.Unlimited: any. The server's LargestBody
	// must allow it.
	BodyBytes int64
	// HeadBytes and Fields bound the head of an answer; 16 KiB and 200. What does not fit in a block of the model ends the
	// connection to the upstream, so HeadBytes should not be more than that.
	HeadBytes, Fields int

	// Key chooses the endpoint, where the group's policy is consistent hashing.
	Key Key
	// Sticky is the name of a cookie that brings a client back to the endpoint that answered it; empty: none.
	Sticky string
	// Close asks the upstream to close the connection behind each answer, for groups that do not keep them.
	Close bool

	// Attempts is how often a request is sent again after a failure; 1, negative: never.
	Attempts int
	// Budget is the share of requests that may be sent again, above 0 and up to 1; 0.2. It is counted over all requests to
	// the group, on all threads.
	Budget float64
	// ReplayBytes is how much content is kept to send a request again; 64 KiB, negative: none.
	ReplayBytes int
	// Evidence allows to repeat a request whose method forbids it, when the kernel saw that a pooled connection had ended
	// before: conn.Conn.Undelivered, which is no proof.
	Evidence bool

	// Finish goes on with an exchange whose client has sent its last byte, in place of giving it up. Clients that end
	// their side and wait for the answer are rare; those that have gone are not, and look the same.
	Finish bool

	// Tunnels is told about tunnels that have ended; nil: nobody is.
	Tunnels TunnelLog
	// Counters count the tunnels; nil: those of nobody else.
	Counters *TunnelCounters
	// Events has connections record what they are used for, where the model records anything.
	Events bool

	// QueuedBytes is how much may wait on one side until the other is not read any more; 256 KiB.
	QueuedBytes int64
	Timeouts    Timeouts

	share int // Budget in thousandths
}

// Timeouts bound how long an upstream may take. Zero is the default, web.Unlimited no bound.
type Timeouts struct {
	// Send is for taking none of the bytes of a request; 30 s. Beyond it: 504, send_timeout.
	Send time.Duration
	// FirstByte is from the end of the request, or from an interim answer, until the head of the answer is complete, so
	// that one who sends it byte by byte gains nothing; 60 s. Beyond it: 504, first_byte_timeout.
	FirstByte time.Duration
	// BetweenBytes is for silence within an answer; 60 s. The client sees it broken off.
	BetweenBytes time.Duration
	// Exchange is for the whole; unlimited. Beyond it: 504, exchange_timeout, or the answer is broken off.
	Exchange time.Duration
	// Tunnel is for silence in both directions of a tunnel; 1 h. It is closed.
	Tunnel time.Duration
}

// The special values of Options.Host.
const (
	HostClient   = "client"   // what the client sent
	HostUpstream = "upstream" // what the endpoint was configured as: its name or its address, with the port
)

// Forwarded is how the upstream learns of the client.
type Forwarded uint8

// The ways to tell of the client. With ForwardedOff, what the client says of itself is passed on as it is.
const (
	ForwardedDefault Forwarded = iota // ForwardedX
	ForwardedX                        // X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host
	ForwardedRFC7239                  // Forwarded (RFC 7239)
	ForwardedBoth
	ForwardedOff
)

// Edits are changes of fields: first Remove, then Set, then Add.
type Edits struct {
	// Set replaces fields of the same name, Add stands beside them.
	Set, Add []http1.FieldLine
	// Remove are names of fields that are left out.
	Remove []string
}

// effective puts defaults where there is nothing.
func (o Options) effective() Options {
	if o.Name == "" {
		o.Name = "myriad"
	}
	if o.Counters == nil {
		o.Counters = new(TunnelCounters)
	}
	if o.Host == "" {
		o.Host = HostClient
	}
	if o.Forwarded == ForwardedDefault {
		o.Forwarded = ForwardedX
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	o.HeadBytes = otherwise(o.HeadBytes, 16<<10)
	o.Fields = otherwise(o.Fields, 200)
	o.Attempts = max(0, otherwise(o.Attempts, 1))
	o.ReplayBytes = max(0, otherwise(o.ReplayBytes, 64<<10))
	o.QueuedBytes = otherwise(o.QueuedBytes, 256<<10)
	o.Budget = otherwise(o.Budget, 0.2)
	o.share = int(o.Budget * 1000)
	t := &o.Timeouts
	t.Send = otherwise(t.Send, 30*time.Second)
	t.FirstByte = otherwise(t.FirstByte, time.Minute)
	t.BetweenBytes = otherwise(t.BetweenBytes, time.Minute)
	t.Exchange = otherwise(t.Exchange, web.Unlimited)
	t.Tunnel = otherwise(t.Tunnel, time.Hour)
	return o
}

func otherwise[N int | int64 | float64 | time.Duration](n, usual N) N {
	if n == 0 {
		return usual
	}
	return n
}

// check finds options that would make a message that is none.
func (o *Options) check() error {
	switch {
	case !token7230(o.Name):
		return fmt.Errorf("proxy: the name %q is no token", o.Name)
	case !visible(o.Host) || strings.ContainsAny(o.Host, "/?#@"):
		return fmt.Errorf("proxy: %q is no host", o.Host)
	case o.Prefix != "" && o.Prefix[0] != '/' || !visible(o.Prefix) || strings.ContainsAny(o.Prefix, "?#"):
		return fmt.Errorf("proxy: the prefix %q is no path", o.Prefix)
	case o.Strip != "" && o.Strip[0] != '/':
		return fmt.Errorf("proxy: no path begins with %q", o.Strip)
	case o.Sticky != "" && !token7230(o.Sticky):
		return fmt.Errorf("proxy: %q is no name of a cookie", o.Sticky)
	case o.Budget < 0 || o.Budget > 1:
		return fmt.Errorf("proxy: the budget %v is not above 0 and up to 1", o.Budget)
	}
	return o.Key.check()
}

// token7230 says that a text is a token: the name of a field, a method, a pseudonym.
func token7230(s string) bool {
	return len(http1.AppendField(nil, s, "")) > 0
}

// visible says that a text has neither spaces nor control characters.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// edits are Edits made ready.
type edits struct {
	known http1.FieldSet // that are left out
	other []string       // others that are left out, in lower case
	lines []byte         // that are added
}

// ours are the fields that edits cannot touch, because they frame a message or belong to one connection.
var ours = http1.FieldsOf(http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.TransferEncoding,
	http1.ContentLength, http1.Upgrade, http1.TE, http1.Trailer, http1.Expect)

// prepare makes edits ready. An error names the field that cannot be changed.
func prepare(e Edits, request bool) (p edits, err error) {
	drop := func(name string) error {
		known := http1.Identify(name)
		switch {
		case !token7230(name):
			return fmt.Errorf("proxy: %q is no name of a field", name)
		case ours.Contains(known):
			return fmt.Errorf("proxy: the field %s frames the message and cannot be changed", known)
		case known == http1.Host && request:
			return errors.New("proxy: the field Host has an option of its own")
		case known != http1.UnknownField:
			p.known |= http1.FieldsOf(known)
		default:
			p.other = append(p.other, strings.ToLower(name))
		}
		return nil
	}
	for _, name := range e.Remove {
		if err := drop(name); err != nil {
			return p, err
		}
	}
	for _, f := range e.Set {
		if err := drop(f.Name); err != nil {
			return p, err
		}
		p.lines = http1.AppendField(p.lines, f.Name, f.Value)
	}
	kept := p
	for _, f := range e.Add {
		if err := drop(f.Name); err != nil {
			return p, err
		}
		kept.lines = http1.AppendField(kept.lines, f.Name, f.Value)
	}
	return kept, nil
}
