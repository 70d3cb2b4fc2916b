package handover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/proc"
)

const (
	// mostUnderWay is how many connections are given to a sender and not acknowledged: nobody serves these, so that fewer
	// pause less long, and more leave sooner, as the loops ask for room every 10 ms. Each has one or two descriptors
	// in this process, and the kernel allows a user as many on their way as a process may have open.
	mostUnderWay = 768
	// goalBytes is when a batch is long enough to be sent.
	goalBytes = proc.MostPayloadBytes / 2
	// crowdedPause is how soon it is tried again when too many descriptors of this user are on their way.
	crowdedPause = 10 * time.Millisecond
)

// Options are what a Sender is given.
type Options struct {
	// Place is where the receiver has a listener of this process; not ok: it does not serve it.
	Place func(listener int) (place int, ok bool)
	// Back gets what did not go: it was refused, or the other side has failed. It is called by one goroutine at a time,
	// and may wait. It owns the parcels.
	Back func(p []*conn.Parcel, why error)
	// Patience is how long the other side may take for an acknowledgement; 0: for ever.
	Patience time.Duration
	// Abandon, if set, ends the other process, which has failed and may live, and returns when it has ended: or what is
	// not acknowledged would have two owners.
	Abandon func()
}

// Tally is how a hand-over went.
type Tally struct {
	// Moved is how many connections the other side has taken, a tunnel counting as two, and Returned how many it has not.
	Moved    int `json:"moved"`
	Returned int `json:"returned"`
	// Refusals is why, by the words of the other side.
	Refusals map[string]int `json:"refusals,omitempty"`
	// Batches and Bytes are what went.
	Batches int   `json:"batches"`
	Bytes   int64 `json:"bytes"`
	// Pauses are how long connections were nobody's: from their giving to their acknowledgement.
	Pauses *meter.Latencies `json:"-"`
}

// ErrClosed is why a parcel comes back that was given to a sender which has finished.
var ErrClosed = errors.New("the hand-over is over")

// Sender is a sink for the parcels of connections. Room and Take are for any thread, and do not block.
type Sender struct {
	channel *proc.Channel
	options Options
	ctx     context.Context
	cancel  context.CancelFunc
	heard   chan struct{} // closed when nothing more is heard
	ended   chan struct{} // closed behind the last goroutine

	mu       sync.Mutex
	queue    []waiting
	under    int // given and not acknowledged
	sent     map[uint64]*sent
	number   uint64
	finish   bool // nothing more is given
	leaves   bool // Left was called and is not told, and
	before   int  // so many of the queue come before it
	failed   error
	tally    Tally
	done     time.Time     // when the other side was told that there is nothing more
	changed  chan struct{} // holds one: look again
	freed    chan struct{} // holds one: something was acknowledged
	progress chan struct{} // the same, for others

	pauses    meter.Histogram // the hearing goroutine's
	returning sync.Mutex      // one goroutine gives back at a time
}

type waiting struct {
	parcel *conn.Parcel
	since  time.Time
}

type sent struct {
	parcels []waiting
	at      time.Time
}

// NewSender begins. Finish must be called.
func NewSender(channel *proc.Channel, o Options) *Sender {
	s := &Sender{
		channel: channel, options: o, heard: make(chan struct{}), ended: make(chan struct{}),
		sent:    map[uint64]*sent{},
		changed: make(chan struct{}, 1), freed: make(chan struct{}, 1), progress: make(chan struct{}, 1),
		tally: Tally{Refusals: map[string]int{}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(s.send)
	group.Go(s.hear)
	go func() {
		group.Wait()
		close(s.ended)
	}()
	return s
}

// Room is how many parcels can be taken now.
func (s *Sender) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil || s.finish {
		return 0
	}
	return max(mostUnderWay-s.under, 0)
}

// Take takes a parcel, also beyond the room.
func (s *Sender) Take(p *conn.Parcel) {
	s.mu.Lock()
	s.queue = append(s.queue, waiting{p, time.Now()})
	s.under++
	s.mu.Unlock()
	nudge(s.changed)
}

// Failed is why the hand-over cannot go on; nil: it can.
func (s *Sender) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Progress gets something when parcels have been acknowledged or have come back.
func (s *Sender) Progress() <-chan struct{} { return s.progress }

// Left tells the other side, behind what was taken before, that the listening sockets are its own now. It is called at
// most once.
func (s *Sender) Left() {
	s.mu.Lock()
	s.leaves, s.before = true, len(s.queue)
	s.mu.Unlock()
	nudge(s.changed)
}

// UnderWay is how many parcels are neither acknowledged nor back.
func (s *Sender) UnderWay() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.under
}

// Finish says that nothing more will be given, and waits until everything is acknowledged or back. The error is why the
// hand-over failed.
func (s *Sender) Finish() (Tally, error) {
	s.mu.Lock()
	s.finish = true
	s.mu.Unlock()
	nudge(s.changed)
	<-s.ended
	s.cancel()
	// What was given at the last moment comes back here: nobody else looks any more.
	s.mu.Lock()
	late := s.queue
	s.queue = nil
	s.mu.Unlock()
	s.back(late, ErrClosed)
	s.pauses.Publish()
	s.tally.Pauses = s.pauses.Snapshot()
	return s.tally, s.failed
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send sends batches until everything is over.
func (s *Sender) send() {
	for {
		batch, number := s.next()
		if batch == nil {
			return
		}
		payload, fds := s.encode(batch, number)
		if err := s.transmit(payload, fds); err != nil {
			s.unsent(err)
		}
	}
}

// unsent ends the hand-over because of something that could not be sent.
func (s *Sender) unsent(why error) {
	if Gone(why) {
		<-s.heard // there may be acknowledgements from before its end
	}
	s.fail(why)
}

// next waits for something to send, and enters it as sent. It is nil when there is nothing more.
func (s *Sender) next() (batch []waiting, number uint64) {
	for {
		s.mu.Lock()
		switch {
		case s.failed != nil:
			lost, over := s.queue, s.finish
			s.queue = nil
			s.mu.Unlock()
			s.back(lost, s.failed)
			if over {
				return nil, 0
			}
			<-s.changed
			continue
		case s.leaves && s.before == 0:
			s.leaves = false
			s.mu.Unlock()
			if err := s.channel.Send(s.ctx, proc.Message{Kind: kindLeft}); err != nil {
				s.unsent(err)
			}
			continue
		case len(s.queue) > 0:
			first := s.queue
			if s.leaves {
				first = first[:s.before]
			}
			batch, _ = cut(first)
			s.queue = s.queue[len(batch):]
			s.before = max(s.before-len(batch), 0)
			var stay []waiting
			batch, stay = s.placed(batch)
			if len(batch) > 0 {
				s.number++
				number = s.number
				s.sent[number] = &sent{batch, time.Now()}
			}
			s.mu.Unlock()
			s.back(stay, errNotServed)
			if len(batch) > 0 {
				return batch, number
			}
			continue
		case s.finish && len(s.sent) == 0:
			s.done = time.Now()
			s.mu.Unlock()
			if err := s.channel.Send(s.ctx, proc.Message{Kind: kindDone}); err != nil {
				s.unsent(err)
				continue
			}
			return nil, 0
		}
		s.mu.Unlock()
		<-s.changed
	}
}

// errNotServed is why a connection stays that cannot go: the other side has no such listener, or it is too large.
var errNotServed = errors.New("the new process does not serve the listener, or the connection brings too much along")

// placed parts what can go from what cannot.
func (s *Sender) placed(batch []waiting) (can, cannot []waiting) {
	for _, w := range batch {
		_, ok := s.options.Place(w.parcel.Listener)
		if bytes, _ := size(w.parcel); ok && bytes <= mostParcelBytes {
			can = append(can, w)
		} else {
			cannot = append(cannot, w)
		}
	}
	return can, cannot
}

// cut takes the next batch off a queue.
func cut(queue []waiting) (batch, rest []waiting) {
	bytes, fds := 0, 0
	for i, w := range queue {
		b, f := size(w.parcel)
		if i > 0 && (fds+f > proc.MostDescriptors || bytes+b > goalBytes) {
			return queue[:i:i], queue[i:]
		}
		bytes, fds = bytes+b, fds+f
	}
	return queue, nil
}

func (s *Sender) encode(batch []waiting, number uint64) (payload []byte, fds []int) {
	payload = newBatch(number, len(batch))
	for _, w := range batch {
		place, _ := s.options.Place(w.parcel.Listener)
		payload = appendParcel(payload, w.parcel, place)
		for p := w.parcel; p != nil; p = p.Mate {
			fds = append(fds, p.FD)
		}
	}
	return payload, fds
}

// transmit sends a batch in as many messages as it takes.
func (s *Sender) transmit(payload []byte, fds []int) error {
	s.mu.Lock()
	s.tally.Batches++
	s.tally.Bytes += int64(len(payload))
	s.mu.Unlock()
	for len(payload) > proc.MostPayloadBytes {
		part := proc.Message{Kind: kindPart, Payload: payload[:proc.MostPayloadBytes]}
		if err := s.channel.Send(s.ctx, part); err != nil {
			return err
		}
		payload = payload[proc.MostPayloadBytes:]
	}
	for {
		err := s.channel.Send(s.ctx, proc.Message{Kind: kindBatch, Payload: payload, Descriptors: fds})
		if !errors.Is(err, syscall.ETOOMANYREFS) {
			return err
		}
		// The other side has to take some first, and acknowledges it; or somebody else's are under way, and nobody tells.
		select {
		case <-s.freed:
		case <-time.After(crowdedPause):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// hear receives acknowledgements until everything is over.
func (s *Sender) hear() {
	defer close(s.heard)
	for {
		m, err := s.receive()
		if errors.Is(err, syscall.ECONNRESET) {
			continue // it ended with something unread, which is told once and before what it has sent
		}
		if err == nil && m.Kind == kindDone {
			return
		}
		if err == nil && m.Kind != kindAcknowledge {
			err = fmt.Errorf("%w: of kind %d", errOrder, m.Kind)
		}
		if err == nil {
			err = s.acknowledged(m.Payload)
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// receive waits for a message for as long as patience lasts while something is not acknowledged.
func (s *Sender) receive() (proc.Message, error) {
	if s.options.Patience == 0 {
		return s.channel.Receive(s.ctx)
	}
	for {
		ctx, cancel := context.WithTimeout(s.ctx, s.options.Patience)
		m, err := s.channel.Receive(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || s.ctx.Err() != nil {
			return m, err
		}
		if late := s.oldest(); late > s.options.Patience {
			return m, fmt.Errorf("the other process has not acknowledged anything for %s", late.Round(time.Millisecond))
		}
	}
}

// oldest is how long the oldest batch waits for its acknowledgement.
func (s *Sender) oldest() (age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.sent {
		age = max(age, time.Since(b.at))
	}
	if !s.done.IsZero() {
		age = max(age, time.Since(s.done))
	}
	return age
}

// acknowledged lets go of a batch.
func (s *Sender) acknowledged(in []byte) error {
	number, refused, err := decodeAcknowledge(in)
	if err != nil {
		return err
	}
	s.mu.Lock()
	batch := s.sent[number]
	s.mu.Unlock()
	if batch == nil {
		return fmt.Errorf("%w: batch %d is not under way", errFormat, number)
	}
	why := map[int]string{}
	for _, r := range refused {
		if r.index == wholeBatch {
			for i := range batch.parcels {
				why[i] = r.why
			}
			break
		}
		if r.index >= len(batch.parcels) {
			return fmt.Errorf("%w: batch %d has no parcel %d", errFormat, number, r.index)
		}
		why[r.index] = r.why
	}
	s.mu.Lock()
	if s.sent[number] == nil { // what sends has failed meanwhile, and has given it back
		s.mu.Unlock()
		return nil
	}
	delete(s.sent, number) // not before: if this fails, all of it comes back
	s.mu.Unlock()
	moved, now := 0, time.Now()
	for i, w := range batch.parcels {
		if text, ok := why[i]; ok {
			s.back([]waiting{w}, errors.New(text))
			continue
		}
		_, fds := size(w.parcel)
		moved += fds
		s.pauses.Record(now.Sub(w.since))
		Close(w.parcel)
	}
	s.mu.Lock()
	s.tally.Moved += moved
	s.under -= len(batch.parcels) - len(why)
	s.mu.Unlock()
	nudge(s.changed)
	nudge(s.freed)
	nudge(s.progress)
	return nil
}

// back gives parcels back.
func (s *Sender) back(some []waiting, why error) {
	if len(some) == 0 {
		return
	}
	var parcels []*conn.Parcel
	count := 0
	for _, w := range some {
		parcels = append(parcels, w.parcel)
		_, fds := size(w.parcel)
		count += fds
	}
	s.returning.Lock()
	s.options.Back(parcels, why)
	s.returning.Unlock()
	s.mu.Lock()
	s.under -= len(some)
	s.tally.Returned += count
	s.tally.Refusals[why.Error()] += count
	s.mu.Unlock()
	nudge(s.progress)
}

// fail ends the hand-over: what is not acknowledged comes back, once the other process cannot have it any more.
func (s *Sender) fail(why error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = why
	}
	s.mu.Unlock()
	if !first { // the other goroutine has found it out too
		return
	}
	if s.options.Abandon != nil && !Gone(why) {
		s.options.Abandon()
	}
	s.mu.Lock()
	lost := s.queue
	s.queue = nil
	for _, b := range s.sent {
		lost = append(lost, b.parcels...)
	}
	clear(s.sent)
	s.mu.Unlock()
	s.cancel()
	s.back(lost, why)
	nudge(s.changed)
}
