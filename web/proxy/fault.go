package proxy

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
)

// Cause is why an answer is not the upstream's, or broke off.
type Cause uint8

// The causes. Each has a word for the log, a status, and a type of RFC 9209 section 2.3.
const (
	None                Cause = iota // there is nothing to tell
	NoDialer                         // this model of serving cannot make connections
	NoEndpoint                       // no endpoint is well
	NameError                        // no name of an endpoint was found
	NameTimeout                      // looking them up took too long
	QueueFull                        // all connections are in use, and enough requests wait already
	QueueTimeout                     // no connection became free in time
	NoPorts                          // no local port was left to connect from
	Closing                          // the group of endpoints is being closed
	ConnectRefused                   // the endpoint refused the connection
	ConnectTimeout                   // the endpoint did not accept the connection in time
	ConnectUnreachable               // there is no way to the endpoint
	ConnectFailed                    // the connection could not be made for another reason
	SendTimeout                      // the endpoint took none of the request for too long
	FirstByteTimeout                 // the endpoint took too long to begin to answer
	BetweenBytesTimeout              // the endpoint fell silent within its answer
	ExchangeTimeout                  // the whole took too long
	Reset                            // the endpoint reset the connection
	ClosedEarly                      // the endpoint closed the connection before its answer was complete
	StaleLink                        // a pooled connection was dead, and the request must not be repeated
	MalformedHead                    // the head of the answer is no HTTP
	HeadTooLarge                     // the head of the answer is too large
	MalformedBody                    // the content of the answer is not framed as it should be
	Unexpected                       // the endpoint switched protocols although nobody asked for it
	Loop                             // the request has come round too often
	NoMemory                         // no block was left to pass the request on
	causes
)

// faults holds what is said for each cause: the word, the status, and the type of RFC 9209.
var faults = [causes]struct {
	word   string
	status int
	kind   string
}{
	None:                {"", 502, "proxy_internal_error"},
	NoDialer:            {"no_dialer", 500, "proxy_configuration_error"},
	NoEndpoint:          {"no_endpoint", 503, "destination_unavailable"},
	NameError:           {"dns_error", 502, "dns_error"},
	NameTimeout:         {"dns_timeout", 504, "dns_timeout"},
	QueueFull:           {"queue_full", 503, "connection_limit_reached"},
	QueueTimeout:        {"queue_timeout", 503, "connection_limit_reached"},
	NoPorts:             {"no_ports", 503, "connection_limit_reached"},
	Closing:             {"closing", 503, "destination_unavailable"},
	ConnectRefused:      {"connect_refused", 502, "connection_refused"},
	ConnectTimeout:      {"connect_timeout", 504, "connection_timeout"},
	ConnectUnreachable:  {"connect_unreachable", 502, "destination_ip_unroutable"},
	ConnectFailed:       {"connect_failed", 502, "destination_unavailable"},
	SendTimeout:         {"send_timeout", 504, "connection_write_timeout"},
	FirstByteTimeout:    {"first_byte_timeout", 504, "http_response_timeout"},
	BetweenBytesTimeout: {"between_bytes_timeout", 504, "connection_read_timeout"},
	ExchangeTimeout:     {"exchange_timeout", 504, "http_response_timeout"},
	Reset:               {"reset", 502, "connection_terminated"},
	ClosedEarly:         {"closed_early", 502, "http_response_incomplete"},
	StaleLink:           {"stale_link", 502, "connection_terminated"},
	MalformedHead:       {"malformed_head", 502, "http_protocol_error"},
	HeadTooLarge:        {"head_too_large", 502, "http_response_header_section_size"},
	MalformedBody:       {"malformed_body", 502, "http_response_transfer_coding"},
	Unexpected:          {"unexpected_upgrade", 502, "http_protocol_error"},
	Loop:                {"loop", 508, "proxy_loop_detected"},
	NoMemory:            {"no_memory", 503, "proxy_internal_error"},
}

// String is the word for the log, such as "connect_refused"; empty for None.
func (c Cause) String() string { return faults[c].word }

// Status is the status of the answer that is given in place of the upstream's.
func (c Cause) Status() int { return faults[c].status }

// line is the Proxy-Status line (RFC 9209 section 2).
func (c Cause) line(name string) []byte {
	return http1.AppendField(nil, "Proxy-Status", name+"; error="+faults[c].kind+"; details=\""+faults[c].word+"\"")
}

// denial is why there is no link, and the endpoint that it would have led to, if it was one.
func denial(err error) (Cause, *upstream.Endpoint) {
	var dial *upstream.DialError
	if !errors.As(err, &dial) {
		var name *upstream.NameError
		var lookup net.Error
		switch {
		case errors.As(err, &name) && errors.As(name.Err, &lookup) && lookup.Timeout():
			return NameTimeout, nil
		case name != nil:
			return NameError, nil
		case errors.Is(err, upstream.ErrNoEndpoint):
			return NoEndpoint, nil
		case errors.Is(err, upstream.ErrQueueFull):
			return QueueFull, nil
		case errors.Is(err, upstream.ErrQueueTimeout):
			return QueueTimeout, nil
		case errors.Is(err, upstream.ErrNoPorts):
			return NoPorts, nil
		case errors.Is(err, upstream.ErrClosed):
			return Closing, nil
		}
		return ConnectFailed, nil
	}
	switch {
	case errors.Is(err, upstream.ErrConnectTimeout), errors.Is(err, syscall.ETIMEDOUT):
		return ConnectTimeout, dial.Endpoint
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return ConnectRefused, dial.Endpoint
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ConnectUnreachable, dial.Endpoint
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return NoPorts, dial.Endpoint
	}
	return ConnectFailed, dial.Endpoint
}

// reasonOf is what is known of why there is no link, beside its cause and its endpoint.
func reasonOf(err error) string {
	var dial *upstream.DialError
	switch {
	case errors.As(err, &dial):
		return dial.Err.Error()
	case errors.Unwrap(err) == nil && !errors.As(err, new(*upstream.PortsError)):
		return "" // the cause says it all
	}
	return err.Error()
}

// faultIn is what is wrong with a head or with content, in the words of the codec, which quote nothing, and in which
// line of the head it is, if it is in one; content comes without a head.
func faultIn(err error, head *http1.Response, in []byte) string {
	fault, _ := err.(*http1.Error)
	if fault == nil {
		return ""
	}
	switch fault {
	case http1.ErrLineEnd, http1.ErrFold, http1.ErrFieldName, http1.ErrFieldValue, http1.ErrFieldCount:
		if head == nil {
			break
		}
		line := head.Fields() + 2
		if line == 2 && !sound(in) {
			line = 1
		}
		return fault.Reason + " in line " + strconv.Itoa(line)
	}
	return fault.Reason
}

// sound says that a head has a whole first line without control characters.
func sound(head []byte) bool {
	line, _, whole := bytes.Cut(head, []byte("\r\n"))
	return whole && bytes.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}
