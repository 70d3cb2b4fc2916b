package config

import (
	"net/url"
	"strings"
)

// Tracing is spans of OpenTelemetry: what happened to a request, for those who follow it through several programs.
type Tracing struct {
	// The collector that spans are sent to, over OTLP/HTTP as JSON, such as "http://127.0.0.1:4318/v1/traces"; without a
	// path that one is meant. "off" makes no spans: the fields traceparent and tracestate of W3C Trace Context are then
	// passed on as they are.
	Endpoint string `yaml:"endpoint"`
	// The share of requests without a traceparent of their own that are traced. Those that have one are traced if it says
	// so. 0 traces no others.
	Sample float64 `yaml:"sample" min:"0" max:"1"`
	// The name of this server in the traces, service.name.
	Service string `yaml:"service"`
}

// Off says that nothing is traced.
func (t *Tracing) Off() bool { return t.Endpoint == wordOff }

// URL is where spans are posted to.
func (t *Tracing) URL() string {
	at, err := url.Parse(t.Endpoint)
	if err != nil {
		return t.Endpoint
	}
	if at.Path == "" || at.Path == "/" {
		at.Path = "/v1/traces"
	}
	return at.String()
}

func (r *rules) tracing() {
	t := &r.config.Tracing
	const mend = `write "http://127.0.0.1:4318", where a collector listens for OTLP over HTTP, or off`
	switch at, err := url.Parse(t.Endpoint); {
	case t.Off():
	case err != nil:
		r.refuse("this is no URL", mend, "tracing.endpoint")
	case at.Scheme != "http" && at.Scheme != "https" || at.Host == "":
		r.refuse("this is no URL of http or https", mend, "tracing.endpoint")
	case at.Port() == "4317":
		r.warn("4317 is the port of OTLP over gRPC, which is not spoken", mend, "tracing.endpoint")
	}
	if strings.TrimSpace(t.Service) == "" && !t.Off() {
		r.refuse("traces need a name for this server", `write one, such as "myriad"`, "tracing.service")
	}
}
