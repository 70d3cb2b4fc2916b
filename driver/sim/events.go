package sim

import (
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/driver"
)

// event is something that will happen: a call, a step of a client, an attempt of
// an operation or the end of a cancelled one.
type event struct {
	call       func()
	peer       *Peer
	op         *operation
	at         int64
	order      uint64 // of two events at the same time
	generation uint32
	cancel     bool
	alarm      bool // the client asked for this step
}

// events is a heap, soonest first.
type events struct {
	heap  []event
	count uint64
}

func (q *events) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *events) push(e event) {
	q.count++
	e.order = q.count
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.before(i, parent) {
			return
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *events) due(now int64) bool { return len(q.heap) > 0 && q.heap[0].at <= now }

func (q *events) pop() event {
	e := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q.before(child, least) {
				least = child
			}
		}
		if least == i {
			return e
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// tracedEvents is how many of the last events a failure shows.
const tracedEvents = 50

// trace is a ring of what happened last. Nothing is formatted before it is read.
type trace struct {
	lines [tracedEvents]traced
	count int
}

type traced struct {
	what  string
	err   error
	at    int64
	token driver.Token
	fd, n int
	code  driver.Code
	more  bool
}

func (t *trace) add(l traced) {
	t.lines[t.count%tracedEvents] = l
	t.count++
}

var codeNames = [...]string{
	"-", "Accept", "Connect", "Recv", "RecvFrom", "Send", "SendFile", "SendTo", "SendMany", "SpliceIn", "SpliceOut",
	"Shutdown", "Close",
}

// String has one line for each event, oldest first.
func (t *trace) String() string {
	var s strings.Builder
	for i := max(0, t.count-tracedEvents); i < t.count; i++ {
		l := &t.lines[i%tracedEvents]
		fmt.Fprintf(&s, "  %10.3fms %-9s %-8s fd=%d", float64(l.at)/1e6, l.what, codeNames[l.code], l.fd-firstDescriptor)
		if l.token != 0 {
			fmt.Fprintf(&s, " op=%d.%d", uint32(l.token), l.token>>32)
		}
		fmt.Fprintf(&s, " n=%d", l.n)
		if l.more {
			s.WriteString(" more")
		}
		if l.err != nil {
			fmt.Fprintf(&s, " (%v)", l.err)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// note adds a line on an operation.
func (k *Kernel) note(what string, o *operation, n int, err error, more bool) {
	k.trace.add(traced{
		what: what, at: k.now, code: o.op.Code, fd: o.op.FD, token: o.token, n: n, err: err, more: more,
	})
}

// noteClient adds a line on the far end of a connection.
func (k *Kernel) noteClient(what string, s *stream, n int) {
	fd := firstDescriptor - 1
	if s.end != nil {
		fd = s.end.number
	}
	k.trace.add(traced{what: what, at: k.now, fd: fd, n: n})
}
