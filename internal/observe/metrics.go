package observe

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web/proxy"
)

// mostEndpoints is how many endpoints have lines of their own in the metrics of all upstreams together. Those beyond
// are added up under the name "others": a monitoring system keeps each combination of labels for as long as it lives.
const mostEndpoints = 256

// Reading is what a server has counted until one moment.
type Reading struct {
	Version, Driver, Model string
	Started                time.Time
	// Limit is how many connections there may be.
	Limit   int
	Total   meter.Counts
	Workers []meter.Counts
	// Requests are the times from the first byte of a request until the last of its answer was queued.
	Requests *meter.Latencies
	// Ends count connections that ended for a reason, and Failures answers that are not what was asked for, by cause.
	Ends, Failures map[string]int64
	// Tunnels is what all routes that pass on have counted.
	Tunnels   proxy.TunnelCounts
	Upstreams []upstream.Snapshot
	Streams   []StreamReading
	// Lost is what was thrown away because nobody took it in time, by what it was: log_lines, spans, records.
	Lost map[string]int64
	// Spans is how many spans were sent to the collector.
	Spans int64
}

// StreamReading is what a listener that passes bytes or datagrams on has counted.
type StreamReading struct {
	Listener string
	Counts   stream.Counts
}

// metrics is the collector of a server. It has no series before it is asked, and keeps none.
type metrics struct{ read func() Reading }

// NewMetrics answers with what read returns, and with what the runtime and the process have to say, in the formats of
// Prometheus. read is called for each answer, by any goroutine, and should not wait.
func NewMetrics(read func() Reading) http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(metrics{read}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Describe says nothing: which series there are is known when they are read.
func (m metrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	r := m.read()
	s := series{to}
	s.gauge("info", "What runs, as labels.", 1,
		[]string{"version", "driver", "model"}, r.Version, r.Driver, r.Model)
	s.gauge("start_time_seconds", "When the server started, in Unix seconds.", float64(r.Started.UnixMilli())/1e3, nil)
	s.gauge("connections_limit", "Connections that there may be at a time.", float64(r.Limit), nil)
	s.totals(&r.Total)
	for i := range r.Workers {
		s.loop(strconv.Itoa(i), &r.Workers[i])
	}
	s.latencies(r.Requests)
	s.causes("connections_failed_total", "Connections that ended, but not in order, by cause.", r.Ends)
	s.causes("answers_failed_total", "Answers that are not the upstream's, or that broke off, by cause.", r.Failures)
	s.tunnels(&r.Tunnels)
	s.upstreams(r.Upstreams)
	for i := range r.Streams {
		s.stream(&r.Streams[i])
	}
	for what, n := range r.Lost {
		s.counter("lost_total", "What was thrown away because it could not be written in time.", float64(n),
			[]string{"what"}, what)
	}
	s.counter("spans_exported_total", "Spans sent to the collector.", float64(r.Spans), nil)
}

// series writes metrics.
type series struct{ to chan<- prometheus.Metric }

func (s series) put(kind prometheus.ValueType, name, help string, value float64, labels, values []string) {
	description := prometheus.NewDesc("myriad_"+name, help, labels, nil)
	made, err := prometheus.NewConstMetric(description, kind, value, values...)
	if err != nil { // a name or a label that is no UTF-8, such as that of an upstream
		made = prometheus.NewInvalidMetric(description, err)
	}
	s.to <- made
}

func (s series) counter(name, help string, value float64, labels []string, values ...string) {
	s.put(prometheus.CounterValue, name, help, value, labels, values)
}

func (s series) gauge(name, help string, value float64, labels []string, values ...string) {
	s.put(prometheus.GaugeValue, name, help, value, labels, values)
}

// gathered are counters that stand together in one metric, by the label that tells them apart.
var gathered = map[meter.Counter]struct{ name, help, label, value string }{
	meter.Responses1xx:    {requestsName, requestsHelp, "code_class", "1xx"},
	meter.Responses2xx:    {requestsName, requestsHelp, "code_class", "2xx"},
	meter.Responses3xx:    {requestsName, requestsHelp, "code_class", "3xx"},
	meter.Responses4xx:    {requestsName, requestsHelp, "code_class", "4xx"},
	meter.Responses5xx:    {requestsName, requestsHelp, "code_class", "5xx"},
	meter.TimeoutsHead:    {timeoutsName, timeoutsHelp, "of", "head"},
	meter.TimeoutsBody:    {timeoutsName, timeoutsHelp, "of", "body"},
	meter.TimeoutsIdle:    {timeoutsName, timeoutsHelp, "of", "idle"},
	meter.TimeoutsWrite:   {timeoutsName, timeoutsHelp, "of", "write"},
	meter.TimeoutsRequest: {timeoutsName, timeoutsHelp, "of", "request"},
}

const (
	requestsName = "requests_total"
	requestsHelp = "Requests that were answered, by the class of the status."
	timeoutsName = "timeouts_total"
	timeoutsHelp = "Connections and requests that took too long, by what took it."
)

// ofLoop are the counters that stand for each loop.
var ofLoop = map[meter.Counter]string{
	meter.Turns: "loop_turns_total", meter.Completions: "loop_completions_total",
	meter.BusyNanoseconds: "loop_busy_seconds_total", meter.Posts: "loop_posts_total",
}

// totals are the counters of all loops together.
func (s series) totals(total *meter.Counts) {
	for c, n := range total.All() {
		value := float64(n)
		of, together := gathered[c]
		switch {
		case together:
			s.counter(of.name, of.help, value, []string{of.label}, of.value)
		case ofLoop[c] != "":
		case c == meter.Requests: // those with an answer have the name
			s.counter("requests_received_total", c.Help(), value, nil)
		case c.Gauge():
			s.gauge(c.String(), c.Help(), value, nil)
		default:
			s.counter(c.String()+"_total", c.Help(), value, nil)
		}
	}
}

func (s series) loop(name string, counts *meter.Counts) {
	for c, metric := range ofLoop {
		value := float64(counts[c])
		if c == meter.BusyNanoseconds {
			value /= 1e9
		}
		s.counter(metric, c.Help(), value, []string{"loop"}, name)
	}
	s.gauge("loop_connections_open", "Connections of the loop.", float64(counts[meter.Open]), []string{"loop"}, name)
}

// bounds are those of the buckets that latencies are exported in.
var bounds = []time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute,
}

func (s series) latencies(l *meter.Latencies) {
	if l == nil {
		return
	}
	buckets := make(map[float64]uint64, len(bounds))
	for _, bound := range bounds {
		buckets[bound.Seconds()] = l.AtMost(bound)
	}
	description := prometheus.NewDesc("myriad_request_duration_seconds",
		"Time from the first byte of a request until the last of its answer was queued.", nil, nil)
	s.to <- prometheus.MustNewConstHistogram(description, l.Count(), l.Sum().Seconds(), buckets)
}

func (s series) causes(name, help string, counts map[string]int64) {
	for cause, n := range counts {
		s.counter(name, help, float64(n), []string{"cause"}, cause)
	}
}

// tunnels are HTTP's: connections that were upgraded.
func (s series) tunnels(counts *proxy.TunnelCounts) {
	open := counts[0]
	for i, cause := range proxy.TunnelCauses[1:] {
		n := counts[i+1]
		open -= n
		s.counter("tunnels_ended_total", "Tunnels that have ended, by cause.", float64(n),
			[]string{"cause"}, strings.ReplaceAll(cause, " ", "_"))
	}
	s.counter("tunnels_total", "Tunnels begun: connections that were upgraded.", float64(counts[0]), nil)
	s.gauge("tunnels_open", "Tunnels open now.", float64(open), nil)
}

func (s series) stream(r *StreamReading) {
	for c, n := range r.Counts.All() {
		kind, name := prometheus.CounterValue, "stream_"+c.String()+"_total"
		if c.Gauge() {
			kind, name = prometheus.GaugeValue, "stream_"+c.String()
		}
		s.put(kind, name, c.Help(), float64(n), []string{"listener"}, []string{r.Listener})
	}
}
