package web

// Span is what somebody who traces keeps with an exchange, from Server.Begun until Server.Done.
type Span interface {
	// AppendParent appends the field line traceparent of W3C Trace Context, with its end, for whoever the request is
	// passed on to, in place of the client's own.
	AppendParent(b []byte) []byte
	// Continues says that the trace is the client's: its field tracestate is then passed on.
	Continues() bool
}

// SetSpan keeps a span until the end of the exchange.
func (x *Exchange) SetSpan(s Span) { x.span = s }

// Span is what SetSpan has set; nil: the exchange is not traced.
func (x *Exchange) Span() Span { return x.span }
