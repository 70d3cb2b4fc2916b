package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// rig is a client, a server that proxies, and upstreams, all in memory.
type rig struct {
	t       testing.TB
	handler conn.Handler
	client  *webtest.Conn
	dialer  *webtest.Dialer
	records []web.Record
	proxy   *proxy.Handler
	group   *upstream.Group
}

// Log keeps the records.
func (r *rig) Log(record *web.Record) { r.records = append(r.records, *record) }

// option changes what a rig is made of.
type option func(*proxy.Options, *upstream.Options, *web.Server)

func newRig(t testing.TB, options ...option) *rig {
	t.Helper()
	u := upstream.Options{
		Endpoints: []upstream.EndpointOptions{{Address: "127.0.0.1:9001"}, {Address: "127.0.0.1:9002"}},
	}
	o := proxy.Options{}
	r := &rig{t: t, dialer: new(webtest.Dialer)}
	s := &web.Server{Log: r}
	for _, f := range options {
		f(&o, &u, s)
	}
	group, err := upstream.New(u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	o.Group, r.group = group, group
	if r.proxy, err = proxy.New(o); err != nil {
		t.Fatal(err)
	}
	s.Root = r.proxy
	r.handler = s.Handler()
	r.client = r.connect()
	return r
}

// connect makes another client.
func (r *rig) connect() *webtest.Conn {
	c := webtest.New(r.handler)
	c.Dials = r.dialer
	return c
}

// turn lets everything happen that can.
func (r *rig) turn() {
	for range 4 {
		r.dialer.Turn()
		if r.client.State() != conn.Closed {
			r.client.Turn()
		}
	}
}

// send has the client send.
func (r *rig) send(text string) {
	r.client.Receive([]byte(text))
	r.turn()
}

// upstream is the i-th connection that was dialled; negative counts from the last.
func (r *rig) upstream(i int) *webtest.Conn {
	r.t.Helper()
	if i < 0 {
		i += len(r.dialer.Conns)
	}
	if i < 0 || i >= len(r.dialer.Conns) {
		r.t.Fatalf("%d connections were dialled; there is no number %d", len(r.dialer.Conns), i)
	}
	return r.dialer.Conns[i]
}

// answer has the last upstream answer.
func (r *rig) answer(text string) {
	r.t.Helper()
	r.upstream(-1).Receive([]byte(text))
	r.turn()
}

// advance moves time everywhere.
func (r *rig) advance(d time.Duration) {
	r.dialer.Advance(d)
	if r.client.State() != conn.Closed {
		r.client.Advance(d)
	}
	r.turn()
}

// sent is what has been sent to the client, and forgets it.
func (r *rig) sent() string {
	text := string(r.client.Sent)
	r.client.Sent = nil
	return text
}

// asked is what has been sent to an upstream, and forgets it.
func (r *rig) asked(i int) string {
	r.t.Helper()
	c := r.upstream(i)
	text := string(c.Sent)
	c.Sent = nil
	return text
}

// cause is what the log was last told.
func (r *rig) cause() string {
	if len(r.records) == 0 {
		return "nothing logged"
	}
	return r.records[len(r.records)-1].Cause
}

// status is that of the first answer in what has been sent.
func (r *rig) status(method string) (status int, header http.Header, body string, broken error) {
	r.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(r.client.Sent)), &http.Request{Method: method})
	if err != nil {
		return 0, nil, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(content), err
}

// lines joins lines with line ends, and ends with an empty one.
func lines(list ...string) string { return strings.Join(list, "\r\n") + "\r\n\r\n" }

const (
	get    = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	hello  = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\nhello"
	dateIs = "Date: Sun, 06 Nov 1994 08:49:37 GMT"
)
