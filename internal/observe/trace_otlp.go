package observe

import (
	base16 "encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// What follows is the part of OTLP that is spoken, in its JSON form: IDs are in hexadecimal, and 64-bit numbers texts.
type (
	otlpRequest struct {
		ResourceSpans [1]otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource      `json:"resource"`
		ScopeSpans [1]otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		ParentID   string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes"`
		Status     *otlpStatus     `json:"status,omitempty"`
	}
	otlpStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		Text   *string `json:"stringValue,omitempty"`
		Number *string `json:"intValue,omitempty"`
	}
)

// The numbers of OTLP.
const (
	kindServer  = 2
	kindClient  = 3
	statusError = 2
)

// attributes is a list that leaves out what is empty.
type attributes []otlpAttribute

func (a *attributes) text(key, value string) {
	if value != "" {
		*a = append(*a, otlpAttribute{key, otlpValue{Text: &value}})
	}
}

func (a *attributes) number(key string, n int64) {
	text := strconv.FormatInt(n, 10)
	*a = append(*a, otlpAttribute{key, otlpValue{Number: &text}})
}

// encode writes the message to the collector.
func (t *Tracer) encode(batch []traced) []byte {
	var about attributes
	about.text("service.name", t.options.Service)
	about.text("service.version", t.options.Version)
	var spans []otlpSpan
	for i := range batch {
		o := &batch[i]
		if spans = append(spans, o.server()); o.spans() == 2 {
			spans = append(spans, o.passing())
		}
	}
	message := otlpRequest{[1]otlpResourceSpans{{
		Resource:   otlpResource{about},
		ScopeSpans: [1]otlpScopeSpans{{Scope: otlpScope{"myriad", t.options.Version}, Spans: spans}},
	}}}
	text, err := json.Marshal(message)
	if err != nil {
		return nil // texts and numbers can be written
	}
	return text
}

func nanoseconds(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// server is the span of a request as it came and was answered.
func (o *traced) server() otlpSpan {
	s := otlpSpan{
		TraceID: base16.EncodeToString(o.trace[:]), SpanID: base16.EncodeToString(o.own[:]),
		Name: o.method, Kind: kindServer,
		Start: nanoseconds(o.began), End: nanoseconds(o.ended),
	}
	if o.continues {
		s.ParentID = base16.EncodeToString(o.parent[:])
	}
	var a attributes
	a.text("http.request.method", o.method)
	a.text("url.path", o.target)
	a.text("url.scheme", "http")
	a.text("server.address", o.host)
	a.text("client.address", o.client)
	a.number("http.response.status_code", int64(o.outcome.Status))
	a.number("http.response.body.size", o.outcome.Bytes)
	a.text("myriad.connection", strconv.FormatUint(o.connection, 10))
	a.text("error.type", o.outcome.Cause)
	s.Attributes = a
	if o.outcome.Status >= 500 || o.outcome.Cause != "" {
		s.Status = &otlpStatus{Code: statusError, Message: o.outcome.Cause}
	}
	return s
}

// passing is the span of a request that was passed on: of the last attempt.
func (o *traced) passing() otlpSpan {
	s := otlpSpan{
		TraceID: base16.EncodeToString(o.trace[:]), SpanID: base16.EncodeToString(o.passed[:]),
		ParentID: base16.EncodeToString(o.own[:]), Name: o.method, Kind: kindClient,
		Start: nanoseconds(o.asked), End: nanoseconds(o.answered),
	}
	var a attributes
	a.text("http.request.method", o.method)
	a.text("server.address", o.outcome.Upstream)
	a.number("http.request.resend_count", int64(max(o.outcome.Attempts-1, 0)))
	a.text("error.type", o.outcome.Cause)
	if o.outcome.Cause == "" {
		a.number("http.response.status_code", int64(o.outcome.Status))
	} else {
		s.Status = &otlpStatus{Code: statusError, Message: o.outcome.Cause}
	}
	s.Attributes = a
	return s
}
