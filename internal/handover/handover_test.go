package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// patience is when a test that waits for an event calls it a hang.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// pair is both ends of a channel.
func pair(t testing.TB) (a, b *proc.Channel) {
	a, other, err := proc.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	b, err = proc.NewChannel(other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	return a, b
}

// parcel is a connection with something to tell, and what the other end of it is.
func parcel(t testing.TB, n int) (p *conn.Parcel, peer *os.File) {
	own, other, err := sys.SocketPair(sys.Stream)
	if err != nil {
		t.Fatal(err)
	}
	peer = os.NewFile(uintptr(other), "peer")
	t.Cleanup(func() { _ = peer.Close() })
	return &conn.Parcel{
		FD: own, In: uint64(n), Out: 1 << 40, Requests: uint32(n), Idle: n%2 == 0, Ended: n%3 == 0, Final: n%5 == 0,
		Unread: []byte(fmt.Sprint("unread ", n)), State: []byte(fmt.Sprint("state ", n)),
	}, peer
}

// returns collects what comes back.
type returns struct {
	mu      sync.Mutex
	parcels []*conn.Parcel
	why     []error
}

func (r *returns) back(p []*conn.Parcel, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range p {
		r.parcels, r.why = append(r.parcels, one), append(r.why, why)
		Close(one)
	}
}

func everywhere(listener int) (int, bool) { return listener, true }

// alike fails the test where two parcels differ in more than their descriptors.
func alike(t *testing.T, got, want *conn.Parcel) {
	t.Helper()
	for ; got != nil && want != nil; got, want = got.Mate, want.Mate {
		a, b := *got, *want
		a.FD, b.FD, a.Mate, b.Mate = 0, 0, nil, nil
		if text, wanted := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); text != wanted {
			t.Errorf("%s came of %s", text, wanted)
		}
	}
	if got != nil || want != nil {
		t.Error("one of the two has a mate")
	}
}

func TestMove(t *testing.T) {
	a, b := pair(t)
	const count = 1000
	var sent []*conn.Parcel
	var peers []*os.File
	for n := range count {
		p, peer := parcel(t, n)
		peers = append(peers, peer)
		if n%4 == 0 {
			p.Mate, peer = parcel(t, n+1)
			p.Mate.Listener = -1
			peers = append(peers, peer)
		}
		if n == 77 { // longer than a message
			p.Unread = bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		}
		sent = append(sent, p)
	}
	var arrived []*conn.Parcel
	left, before := 0, 0
	received := make(chan error, 1)
	go func() {
		taken, err := Receive(within(t), b, func(p []*conn.Parcel) []error {
			arrived = append(arrived, p...)
			errs := make([]error, len(p))
			for i := range p {
				if p[i].Requests%100 == 99 {
					errs[i] = errors.New("not this one")
				}
			}
			return errs
		}, func() { left, before = left+1, len(arrived) })
		if want := count - count/100; err == nil && taken != want {
			err = fmt.Errorf("%d taken, and not %d", taken, want)
		}
		received <- err
	}()
	var back returns
	s := NewSender(a, Options{Place: everywhere, Back: back.back})
	for i, p := range sent {
		if i == count/2 {
			s.Left()
		}
		s.Take(p)
	}
	tally, err := s.Finish()
	if err := errors.Join(err, <-received); err != nil {
		t.Fatal(err)
	}
	for i, p := range arrived {
		alike(t, p, sent[i])
	}
	if left != 1 || before < count/2 {
		t.Errorf("it was told %d times that the sockets are free, behind %d of %d parcels", left, before, count/2)
	}
	mates := count / 4
	if tally.Moved != count+mates-count/100 || tally.Returned != count/100 || tally.Refusals["not this one"] != count/100 {
		t.Errorf("%d moved, %d returned for %v", tally.Moved, tally.Returned, tally.Refusals)
	}
	if len(back.parcels) != count/100 || tally.Pauses.Count() != count-count/100 {
		t.Errorf("%d came back, and %d pauses are known", len(back.parcels), tally.Pauses.Count())
	}
	speak(t, arrived, peers)
}

// speak sends a byte through each connection that has arrived, and expects the end from the others.
func speak(t *testing.T, arrived []*conn.Parcel, peers []*os.File) {
	t.Helper()
	at := 0
	for _, p := range arrived {
		refused := p.Requests%100 == 99
		for ; p != nil; p = p.Mate {
			peer := peers[at]
			at++
			if !refused {
				file := os.NewFile(uintptr(p.FD), "own")
				if _, err := file.WriteString("x"); err != nil {
					t.Fatal(err)
				}
				_ = file.Close()
			}
			if text, err := io.ReadAll(peer); err != nil || (string(text) == "x") == refused {
				t.Fatalf("%q came, refused: %t: %v", text, refused, err)
			}
		}
	}
}

// silent is the one of the faults whose end is not seen.
const silent = "says nothing"

// fault is a way in which a receiver fails.
type fault struct {
	name    string
	receive func(ctx context.Context, c *proc.Channel)
	moved   int
	why     string
}

func faults() []fault {
	return []fault{
		{"dies at once", func(_ context.Context, c *proc.Channel) { c.Close() }, 0, ""},
		{"dies with a batch unread", func(ctx context.Context, c *proc.Channel) {
			takeOne(ctx, c)
			c.Close()
		}, 253, ""},
		{"dies with an acknowledgement on its way", func(ctx context.Context, c *proc.Channel) {
			takeOne(ctx, c)
			takeOne(ctx, c)
			c.Close()
		}, 506, ""},
		{"acknowledges what was not sent", func(ctx context.Context, c *proc.Channel) {
			payload := appendAcknowledge(nil, 99, nil)
			_ = c.Send(ctx, proc.Message{Kind: kindAcknowledge, Payload: payload})
			drain(ctx, c)
		}, 0, "batch 99"},
		{"refuses what is not in the batch", func(ctx context.Context, c *proc.Channel) {
			if m, err := c.Receive(ctx); err == nil {
				m.Close()
			}
			payload := appendAcknowledge(nil, 1, []refusal{{index: 253, why: "not this one"}})
			_ = c.Send(ctx, proc.Message{Kind: kindAcknowledge, Payload: payload})
			drain(ctx, c)
		}, 0, "no parcel 253"},
		{"speaks nonsense", func(ctx context.Context, c *proc.Channel) {
			_ = c.Send(ctx, proc.Message{Kind: 7})
			drain(ctx, c)
		}, 0, "of kind 7"},
		{silent, drain, 0, "not acknowledged"},
	}
}

// TestFaults has the receiver fail in different ways. Whatever it has not acknowledged comes back, once.
func TestFaults(t *testing.T) {
	for _, test := range faults() {
		t.Run(test.name, func(t *testing.T) {
			a, b := pair(t)
			const count = 600
			var back returns
			ctx, end := context.WithCancel(within(t))
			defer end()
			ended := make(chan struct{})
			o := Options{Place: everywhere, Back: back.back, Patience: patience, Abandon: func() {
				end()
				<-ended
			}}
			if test.name == silent {
				o.Patience = 50 * time.Millisecond
			}
			s := NewSender(a, o)
			takeAll(t, s, count)
			go func() {
				defer close(ended)
				test.receive(ctx, b)
			}()
			tally, err := s.Finish()
			end()
			<-ended
			if err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("the error is %v", err)
			}
			if tally.Moved != test.moved || len(back.parcels) != count-test.moved || tally.Returned != count-test.moved {
				t.Errorf("%d moved, %d of %d came back", tally.Moved, len(back.parcels), count)
			}
			if s.Room() != 0 || s.UnderWay() != 0 {
				t.Errorf("there is room for %d, and %d are under way", s.Room(), s.UnderWay())
			}
		})
	}
}

// takeAll gives a sender parcels all at once, so that the batches are full.
func takeAll(t *testing.T, s *Sender, count int) {
	s.mu.Lock()
	defer nudge(s.changed)
	defer s.mu.Unlock()
	for n := range count {
		p, _ := parcel(t, n)
		p.Unread, p.State = nil, []byte{}
		s.queue, s.under = append(s.queue, waiting{p, time.Now()}), s.under+1
	}
}

// takeOne acknowledges one batch.
func takeOne(ctx context.Context, c *proc.Channel) {
	m, err := c.Receive(ctx)
	if err != nil {
		return
	}
	number, _, _ := decodeBatch(m.Payload, m.Descriptors)
	m.Close()
	_ = c.Send(ctx, proc.Message{Kind: kindAcknowledge, Payload: appendAcknowledge(nil, number, nil)})
}

// drain receives, and says nothing, until ctx ends.
func drain(ctx context.Context, c *proc.Channel) {
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			c.Close()
			return
		}
		m.Close()
	}
}

// TestDescriptorsLost has the receiver run into its limit of descriptors: that batch comes back, and the next one goes.
func TestDescriptorsLost(t *testing.T) {
	a, b := pair(t)
	var back returns
	s := NewSender(a, Options{Place: everywhere, Back: back.back})
	first, _ := parcel(t, 1)
	second, _ := parcel(t, 2)
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	lowest, err := sys.Duplicate(first.FD)
	if err != nil {
		t.Fatal(err)
	}
	_ = sys.Close(lowest)
	received := make(chan error, 1)
	go func() {
		_, err := Receive(within(t), b, func(p []*conn.Parcel) []error {
			for _, one := range p {
				Close(one)
			}
			return nil
		}, nil)
		received <- err
	}()
	if err := sys.SetLimit(sys.LimitDescriptors, uint64(lowest), hard); err != nil {
		t.Fatal(err)
	}
	s.Take(first)
	for s.UnderWay() > 0 {
		<-s.Progress()
	}
	if err := sys.SetLimit(sys.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	s.Take(second)
	tally, err := s.Finish()
	if err := errors.Join(err, <-received); err != nil {
		t.Fatal(err)
	}
	if tally.Moved != 1 || tally.Returned != 1 || !strings.Contains(back.why[0].Error(), "RLIMIT_NOFILE") {
		t.Errorf("%d moved, %d returned for %v", tally.Moved, tally.Returned, tally.Refusals)
	}
}

func TestRoom(t *testing.T) {
	a, b := pair(t)
	var back returns
	s := NewSender(a, Options{
		Place: func(listener int) (int, bool) { return 0, listener == 0 },
		Back:  back.back,
	})
	if s.Room() != mostUnderWay {
		t.Errorf("there is room for %d", s.Room())
	}
	// One of a listener that is not served, and one that is too long, stay.
	p, _ := parcel(t, 1)
	p.Listener = 3
	s.Take(p)
	p, _ = parcel(t, 2)
	p.State = make([]byte, mostParcelBytes)
	s.Take(p)
	for s.UnderWay() > 0 {
		<-s.Progress()
	}
	go func() { _, _ = Receive(within(t), b, nil, nil) }()
	if tally, err := s.Finish(); err != nil || tally.Returned != 2 || len(back.parcels) != 2 {
		t.Errorf("%+v: %v", tally, err)
	}
	p, _ = parcel(t, 3)
	defer Close(p)
	if s.Room() != 0 {
		t.Error("there is room behind the end")
	}
}

func TestAsk(t *testing.T) {
	tests := []struct {
		name  string
		hello Hello
		offer error
		fails string
	}{
		{"same", Hello{Sockets: true}, nil, ""},
		{"no sockets wanted", Hello{}, errors.New("must not be asked"), ""},
		{"newer that knows this one", Hello{Least: 1, Most: 9, Sockets: true}, nil, ""},
		{"newer that does not", Hello{Least: 8, Most: 9}, nil, "versions 8 to 9"},
		{"not now", Hello{Sockets: true}, errors.New("it stops"), "it stops"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := pair(t)
			read, write, err := sys.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = sys.Close(read), sys.Close(write) }()
			answered := make(chan error, 1)
			bound := netip.MustParseAddrPort("127.0.0.1:80")
			go func() {
				_, err := Answer(within(t), a, "1.0", func(h *Hello) ([]Socket, error) {
					var sockets []Socket
					for i := range 600 { // more than a message can carry
						sockets = append(sockets, Socket{Key: h.Listeners[0], Place: i, Bound: bound, FD: read})
					}
					return sockets, test.offer
				})
				answered <- err
			}()
			test.hello.Listeners = []string{"tcp a"}
			welcome, sockets, err := Ask(within(t), b, test.hello)
			defer CloseSockets(sockets)
			refused := <-answered
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || refused == nil {
					t.Errorf("%v, and %v", err, refused)
				}
				return
			}
			if err != nil || refused != nil || welcome.Program != "1.0" || welcome.Version != 1 {
				t.Fatalf("%+v, %v, %v", welcome, err, refused)
			}
			if want := len(sockets) == 600; want != test.hello.Sockets {
				t.Errorf("%d sockets came", len(sockets))
			}
			for i, s := range sockets {
				if s.Key != "tcp a" || s.Place != i || s.Bound != bound || s.FD < 0 {
					t.Fatalf("%+v came", s)
				}
			}
		})
	}
}

// FuzzBatch has the decoder read anything. What it takes it would write in the same way.
func FuzzBatch(f *testing.F) {
	p := &conn.Parcel{Listener: 3, Unread: []byte("GET"), State: []byte{1}, Mate: &conn.Parcel{Listener: -1}}
	f.Add(appendParcel(newBatch(7, 1), p, 3), 2)
	f.Add(newBatch(1, 0), 0)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		fds := make([]int, max(0, min(n, proc.MostDescriptors)))
		number, parcels, err := decodeBatch(in, fds)
		if err != nil {
			return
		}
		out, length := newBatch(number, len(parcels)), batchHead
		for _, p := range parcels {
			out = appendParcel(out, p, p.Listener)
			bytes, _ := size(p)
			length += bytes
		}
		if len(out) != length || len(out) > len(in) {
			t.Fatalf("%d bytes were read of %d, and %d are written", length, len(in), len(out))
		}
		again, second, err := decodeBatch(out, fds)
		if err != nil || again != number || len(second) != len(parcels) {
			t.Fatalf("what was read is not what is written: %v", err)
		}
		for i := range second {
			alike(t, second[i], parcels[i])
		}
	})
}

// FuzzAcknowledge has the decoder of acknowledgements read anything.
func FuzzAcknowledge(f *testing.F) {
	f.Add(appendAcknowledge(nil, 3, []refusal{{1, "full"}, {wholeBatch, ""}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		number, refused, err := decodeAcknowledge(in)
		if err != nil {
			return
		}
		for i := range refused {
			refused[i].why = refused[i].why[:min(len(refused[i].why), mostRefusalBytes)]
		}
		again, second, err := decodeAcknowledge(appendAcknowledge(nil, number, refused))
		if err != nil || again != number || !slices.Equal(second, refused) {
			t.Fatalf("%v came of %v: %v", second, refused, err)
		}
	})
}

// TestLater has a record of a later version, with something at its end that this one does not know.
func TestLater(t *testing.T) {
	want := &conn.Parcel{Listener: 1, Unread: []byte("a"), State: []byte("b")}
	record := appendParcel(nil, want, 1)
	record[0] += 5
	batch := append(append(newBatch(1, 2), record...), "later"...)
	batch = appendParcel(batch, want, 1)
	_, parcels, err := decodeBatch(batch, []int{0, 0})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parcels {
		alike(t, p, want)
	}
}
