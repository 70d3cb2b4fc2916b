package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// JournalOptions is what a journal keeps. Whatever is zero is not limited.
type JournalOptions struct {
	// Name is the journal's: letters, digits, "-" and "_".
	Name string
	// Subjects are those whose messages are kept. Two journals must not share one.
	Subjects []string
	// Age, Bytes, Count and CountEach are how long and how much is kept, CountEach of each subject; the oldest goes.
	Age              time.Duration
	Bytes            int64
	Count, CountEach int64
	// Copies is on how many servers of a cluster it is kept: 1, 3 or 5. 0 is 1.
	Copies int
	// Window is how long the id of an entry is remembered, so that it is kept once only; 0: 2 minutes.
	Window time.Duration
}

// Journal keeps messages in their order.
type Journal struct {
	bus    *Bus
	stream jetstream.Stream
}

// Entry is a message of a journal.
type Entry struct {
	Message
	// Place is the number of the entry: 1 for the first, and larger for each that follows.
	Place uint64
	// Time is when the server took it.
	Time time.Time
}

// Journal opens a journal, and makes it if there is none. One that is there gets these options.
func (b *Bus) Journal(ctx context.Context, o JournalOptions) (*Journal, error) {
	c := jetstream.StreamConfig{
		Name: o.Name, Subjects: o.Subjects, MaxAge: o.Age, MaxBytes: or(o.Bytes), MaxMsgs: or(o.Count),
		MaxMsgsPerSubject: or(o.CountEach), Replicas: max(o.Copies, 1), Duplicates: o.window(),
	}
	j := &Journal{bus: b}
	err := repeat(ctx, func(ctx context.Context) (err error) {
		j.stream, err = b.stream.CreateOrUpdateStream(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// askPatience is how long one question to the servers may take before it is asked again: one that comes while they
// choose who leads is answered by nobody.
const askPatience = 2 * time.Second

// repeat asks until there is an answer, or until ctx ends. What is asked must do no harm when it is done twice.
func repeat(ctx context.Context, ask func(ctx context.Context) error) error {
	for {
		once, cancel := context.WithTimeout(ctx, askPatience)
		err := ask(once)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return told(err)
		}
	}
}

// window is how long ids are remembered: not longer than the entries.
func (o *JournalOptions) window() time.Duration {
	w := o.Window
	if w == 0 {
		w = 2 * time.Minute
	}
	if o.Age > 0 {
		w = min(w, o.Age)
	}
	return w
}

// or is a limit for the server, which takes -1 for none.
func or(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// Append adds an entry, and returns its place when the servers have it. An id that is not empty makes it safe to append
// again after an error: the entry of an id is kept once.
func (j *Journal) Append(ctx context.Context, subject string, data []byte, id string) (place uint64, err error) {
	var options []jetstream.PublishOpt
	if id != "" {
		options = append(options, jetstream.WithMsgID(id))
	}
	add := func(ctx context.Context) error {
		ack, err := j.bus.stream.Publish(ctx, subject, data, options...)
		if err == nil {
			place = ack.Sequence
		}
		return err
	}
	if id == "" { // what has been appended without an answer would be there twice
		err = told(add(ctx))
		return place, err
	}
	err = repeat(ctx, add)
	return place, err
}

// Last is the place of the newest entry; 0 if there has been none.
func (j *Journal) Last(ctx context.Context) (uint64, error) {
	var last uint64
	err := repeat(ctx, func(ctx context.Context) error {
		info, err := j.stream.Info(ctx)
		if err == nil {
			last = info.State.LastSeq
		}
		return err
	})
	return last, err
}

// Read has f called with every entry of the subjects behind a place, in their order, and then with each that comes.
// What is not kept any more is left out. It goes on where it was after the bus was away. cancel ends it, and returns
// when f is not running any more; f must not call it.
func (j *Journal) Read(ctx context.Context, subjects []string, behind uint64, f func(e Entry),
) (cancel func(), err error) {
	var c jetstream.Consumer
	err = repeat(ctx, func(ctx context.Context) (err error) {
		c, err = j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: behind + 1,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	failed := jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		if !errors.Is(err, jetstream.ErrNoHeartbeat) && !j.bus.closing.Load() {
			j.bus.log.Debug("reading a journal was interrupted", "cause", err)
		}
	})
	reading, err := c.Consume(func(m jetstream.Msg) {
		about, err := m.Metadata()
		if err != nil {
			j.bus.log.Warn("an entry of a journal cannot be read", "cause", err)
			return
		}
		f(Entry{Message{m.Subject(), m.Data()}, about.Sequence.Stream, about.Timestamp})
	}, failed)
	if err != nil {
		return nil, told(err)
	}
	return func() {
		reading.Stop()
		<-reading.Closed()
	}, nil
}
