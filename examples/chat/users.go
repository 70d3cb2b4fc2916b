package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

// crowd is many people in rooms, some of whom talk. Everybody checks that what each of them says comes once and in
// order, whatever happens to the servers.
type crowd struct {
	Address []string      `default:"127.0.0.1:8080" help:"Where the chat is; those of a room go to one after the other."`
	Users   int           `default:"1000" help:"How many there are."`
	Rooms   int           `default:"10" help:"How many rooms they are in."`
	Talkers int           `default:"2" help:"How many in each room talk."`
	Every   time.Duration `default:"1s" help:"How often each of them says something."`
	Words   int           `default:"30" help:"How many messages each of them says."`
	Within  time.Duration `default:"1m" help:"How long the last words may take to reach everybody."`

	dial   dialer           // how to connect, if it is not nil
	spoken func(number int) // is told of the first talker's messages when it has heard them, if it is not nil
}

// finding is what a crowd found out.
type finding struct {
	said, heard, missed, doubled, disordered, returns, refused atomic.Int64

	mu      sync.Mutex
	latency *load.Histogram // of what was said while the hearer was connected
	late    *load.Histogram // of what the hearer missed, and got when it came back
	trouble error           // the first that ended a connection
}

// user is somebody of a crowd.
type user struct {
	*crowd
	f         *finding
	address   string
	room      string
	number    int   // in the room; the first ones talk
	next      []int // of each talker of the room, the number of what it says next
	open      int   // talkers whose last word has not been heard
	after     uint64
	entering  func()
	connected time.Time

	mu      sync.Mutex
	line    *line
	pending *saying       // what it has said and not heard yet
	echo    chan struct{} // it has heard it
}

const (
	entries   = 64 // that may be under way at a time, less than any backlog
	retryWait = 250 * time.Millisecond
	lastWord  = "last"
)

// run has the crowd talk, and tells what came of it. It is an error if anybody has missed anything.
func (c *crowd) run(ctx context.Context, out io.Writer) error {
	f, err := c.talk(ctx)
	if f != nil {
		f.print(out, c)
	}
	return err
}

func (c *crowd) talk(ctx context.Context) (*finding, error) {
	if c.Rooms < 1 || c.Users%c.Rooms != 0 || c.Users/c.Rooms < c.Talkers || c.Talkers < 1 || c.Words < 1 {
		return nil, fmt.Errorf("%d users cannot be in %d rooms, the same number in each, with %d talkers who talk",
			c.Users, c.Rooms, c.Talkers)
	}
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	f := &finding{latency: load.NewHistogram(), late: load.NewHistogram()}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var inside, talking, listening sync.WaitGroup
	doors, run := make(chan struct{}, entries), rand.Text()[:8]
	users := make([]*user, c.Users)
	for i := range users {
		u := &user{
			crowd: c, f: f, address: c.Address[i/c.Rooms%len(c.Address)], room: run + "-" + strconv.Itoa(i%c.Rooms),
			number: i / c.Rooms, next: make([]int, c.Talkers), open: c.Talkers, echo: make(chan struct{}, 1),
		}
		inside.Add(1)
		u.entering = sync.OnceFunc(inside.Done)
		users[i] = u
		listening.Go(func() { u.stay(ctx, doors) })
	}
	if err := until(ctx, &inside, c.Within); err != nil {
		return f, fmt.Errorf("not everybody gets in: %w, %w", err, f.cause())
	}
	for i, u := range users[:c.Rooms*c.Talkers] {
		var spoken func(int)
		if i == 0 {
			spoken = c.spoken
		}
		talking.Go(func() { u.speak(ctx, time.Duration(i)*c.Every/time.Duration(c.Rooms*c.Talkers), spoken) })
	}
	err := until(ctx, &talking, time.Duration(c.Words)*c.Every+c.Within)
	if err == nil {
		err = until(ctx, &listening, c.Within)
	}
	cancel()
	listening.Wait()
	talking.Wait()
	if n := f.missed.Load() + f.doubled.Load() + f.disordered.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages were missed, doubled, or out of order", n))
	}
	if err != nil {
		err = fmt.Errorf("%w (%w)", err, f.cause())
	}
	return f, err
}

// until waits for a group, for so long.
func until(ctx context.Context, g *sync.WaitGroup, limit time.Duration) error {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("not within %v", limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stay is in the room until the last word of every talker was heard. Whoever loses the connection comes back.
func (u *user) stay(ctx context.Context, doors chan struct{}) {
	for u.open > 0 && ctx.Err() == nil {
		doors <- struct{}{}
		query := "&after=" + strconv.FormatUint(u.after, 10)
		u.connected = time.Now()
		l, err := enterRoom(ctx, u.dial, u.address, u.room, "u"+strconv.Itoa(u.number), query)
		<-doors
		if err == nil {
			u.entering()
			err = u.listen(ctx, l)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		u.f.returns.Add(1)
		u.f.note(err)
		select {
		case <-time.After(retryWait):
		case <-ctx.Done():
		}
	}
}

// listen hears what is said until the connection ends, with an error, or until there is nothing left to hear.
func (u *user) listen(ctx context.Context, l *line) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer func() {
		stop()
		u.mu.Lock()
		u.line = nil
		u.mu.Unlock()
		_ = l.Close()
	}()
	u.mu.Lock()
	u.line = l
	u.mu.Unlock()
	u.repeat()
	for u.open > 0 {
		h, err := l.hear()
		if err != nil {
			return err
		}
		if h.Error != "" {
			u.f.refused.Add(1)
			time.AfterFunc(retryWait, u.repeat)
			continue
		}
		if err := u.check(&h.said); err != nil {
			return err
		}
	}
	return nil
}

// repeat says what was said and not heard yet, on the line that there is now.
func (u *user) repeat() {
	u.mu.Lock()
	l, s := u.line, u.pending
	u.mu.Unlock()
	if l != nil && s != nil {
		_ = l.say(*s) // a line that has broken is noticed by who listens
	}
}

// check compares a message with what has to come.
func (u *user) check(s *said) error {
	words := strings.Fields(s.Text)
	if len(words) < 3 {
		return fmt.Errorf("somebody says %q", s.Text)
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	talker, number := int(numbers[0]), int(numbers[1])
	if talker < 0 || talker >= len(u.next) {
		return fmt.Errorf("nobody is talker %d", talker)
	}
	u.f.heard.Add(1)
	u.f.record(time.Unix(0, numbers[2]), u.connected)
	if s.Place <= u.after {
		u.f.disordered.Add(1)
	}
	u.after = s.Place
	switch next := u.next[talker]; {
	case number < next:
		u.f.doubled.Add(1)
		return nil
	default:
		u.f.missed.Add(int64(number - next))
	}
	u.next[talker] = number + 1
	if len(words) > len(numbers) && words[3] == lastWord {
		u.open--
	}
	if talker == u.number {
		u.mu.Lock()
		u.pending = nil
		u.mu.Unlock()
		u.echo <- struct{}{}
	}
	return nil
}

// speak says so many words, each when the one before was heard, after a wait that spreads the talkers.
func (u *user) speak(ctx context.Context, first time.Duration, spoken func(number int)) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for number := range u.Words {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(u.Every)
		s := saying{Text: fmt.Sprint(u.number, number, time.Now().UnixNano()), ID: strconv.Itoa(number)}
		if number == u.Words-1 {
			s.Text += " " + lastWord
		}
		u.mu.Lock()
		u.pending = &s
		u.mu.Unlock()
		u.f.said.Add(1)
		u.repeat()
		select {
		case <-u.echo:
		case <-ctx.Done():
			return
		}
		if spoken != nil {
			spoken(number)
		}
	}
}

func (f *finding) record(said, connected time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if took := time.Since(said); said.Before(connected) {
		f.late.Record(took)
	} else {
		f.latency.Record(took)
	}
}

func (f *finding) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble == nil {
		f.trouble = err
	}
}

func (f *finding) cause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble == nil {
		return errors.New("no connection was lost")
	}
	return fmt.Errorf("the first trouble was: %w", f.trouble)
}

func (f *finding) print(out io.Writer, c *crowd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = fmt.Fprintf(out, "%d users in %d rooms, %d talkers in each, %d messages of each, one every %v\n",
		c.Users, c.Rooms, c.Talkers, c.Words, c.Every)
	_, _ = fmt.Fprintf(out, "said %d  heard %d of %d  missed %d  doubled %d  out of order %d  came back %d  refused %d\n",
		f.said.Load(), f.heard.Load(), f.said.Load()*int64(c.Users/c.Rooms), f.missed.Load(), f.doubled.Load(),
		f.disordered.Load(), f.returns.Load(), f.refused.Load())
	for _, h := range []struct {
		name string
		*load.Histogram
	}{{"heard", f.latency}, {"caught up", f.late}} {
		if h.Count() > 0 {
			_, _ = fmt.Fprintf(out, "%s: %d, after p50 %v, p99 %v, p99.9 %v, at most %v\n", h.name, h.Count(),
				h.Quantile(0.5), h.Quantile(0.99), h.Quantile(0.999), h.Longest())
		}
	}
}
