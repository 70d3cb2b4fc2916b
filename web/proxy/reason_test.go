package proxy_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web/proxy"
)

// TestReason is what the log is told of what is wrong, beside its cause.
func TestReason(t *testing.T) {
	answer := func(text string) func(r *rig) { return func(r *rig) { r.answer(text) } }
	early := lines("HTTP/1.1 103 Early Hints", "A: b")
	chunked := lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
	for _, c := range []struct {
		do   func(r *rig)
		want string
	}{
		{answer("SSH-2.0-secret\r\n"), "malformed status line"},
		{answer("HTTP/1.1 2x0 OK\r\n\r\n"), "malformed status code"},
		{answer("HTTP/1.1 200 \x01secret\r\n\r\n"), "control character in field value in line 1"},
		{answer("HTTP/1.1 200 OK\nA: b\r\n\r\n"), "line does not end with CR LF in line 1"},
		{answer(lines("HTTP/1.1 200 OK", "secret")), "malformed field name in line 2"},
		{answer(early + lines("HTTP/1.1 200 OK", "A: b", "A secret: c")), "malformed field name in line 3"},
		{answer(lines("HTTP/1.1 200 OK", "A: b", "B: \x00secret")), "control character in field value in line 3"},
		{answer(lines("HTTP/1.1 200 OK", "A: b", " secret")), "folded field line in line 3"},
		{answer(lines("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2")), "more than one Content-Length field"},
		{answer("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 201)), "too many fields in line 202"},
		{answer(chunked + "secret\r\n"), "malformed chunk size"},
		{answer(chunked + "00000000000000005\r\n"), "chunk size too large"},
		{answer(chunked + "5\rsecret"), "line does not end with CR LF"},
		{func(r *rig) { r.answer(chunked + "1\r\na\r\n"); r.answer("secret\r\n") }, "malformed chunk size"},
		{func(r *rig) { r.upstream(0).Abort(syscall.ECONNRESET); r.turn() }, syscall.ECONNRESET.Error()},
		{func(r *rig) { r.upstream(0).End(); r.turn() }, ""},
	} {
		r := newRig(t, plain, never)
		r.send(get)
		if c.do(r); len(r.records) != 1 || r.records[0].Cause == "" || r.records[0].Reason != c.want {
			t.Errorf("want %q; the log was told %+v", c.want, r.records)
		}
	}
}

// TestReasonOfNoConnection is about connections that cannot be made, and about what comes of a second attempt.
func TestReasonOfNoConnection(t *testing.T) {
	r := newRig(t, plain, with(func(o *proxy.Options) { o.Budget = 1 }))
	r.dialer.Refuse = syscall.ECONNREFUSED
	r.send(get)
	if last := r.records[0]; last.Cause != "connect_refused" || last.Reason != "connection refused" {
		t.Errorf("the log was told %+v", last)
	}
	r.dialer.Refuse = nil
	r.client = r.connect()
	r.send(get)
	r.upstream(-1).Abort(syscall.ECONNRESET)
	r.turn()
	r.answer(hello)
	if last := r.records[1]; last.Status != 200 || last.Cause != "" || last.Reason != "" {
		t.Errorf("the log was told %+v", last)
	}
}

// TestReasonOfDenial is about what there is nothing to add to, and about what there is.
func TestReasonOfDenial(t *testing.T) {
	for err, want := range map[error]string{
		upstream.ErrNoEndpoint:                                    "",
		upstream.ErrQueueTimeout:                                  "",
		&upstream.NameError{Name: "app:80", Err: errors.New("x")}: "finding app:80: x",
		&upstream.PortsError{Capacity: 7}:                         (&upstream.PortsError{Capacity: 7}).Error(),
	} {
		if got := proxy.ReasonOf(err); got != want {
			t.Errorf("of %v it is %q", err, got)
		}
	}
}
