package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// Moved is how a hand-over to another process went.
type Moved struct {
	handover.Tally
	// TookMS is how long it took, and the pauses are how long a connection was served by nobody.
	TookMS    float64 `json:"took_ms"`
	PauseP50  float64 `json:"pause_p50_ms"`
	PauseP99  float64 `json:"pause_p99_ms"`
	PauseMost float64 `json:"pause_max_ms"`
	// PID is that of the process that has taken over, where this one has started it.
	PID int `json:"new_pid,omitempty"`
	// Left is how many connections and sessions have not gone: they end as at a stop, by the deadline of the drain.
	Left int64 `json:"left"`
}

// The parts of a drain. What can leave has done so by the middle of it; the rest is told to end as at a stop.
const (
	leavePart = 2
	// emptyTick is how often it is looked whether anything is left.
	emptyTick = 10 * time.Millisecond
	// acknowledgeTime is how long the other process may take to acknowledge what it was sent.
	acknowledgeTime = 30 * time.Second
)

// HandOver gives the connections to the process at the other end of a channel, which is told TakeOver. It returns when
// they have gone, or half of timeouts.drain is over: what is left, and the counts of it, is for the caller to end by
// ending Serve. With an error the server goes on as before, with everything that the other side has not taken.
func (a *App) HandOver(ctx context.Context, channel *proc.Channel) (*Moved, error) {
	hello, err := handover.Answer(ctx, channel, a.options.Version, func(*handover.Hello) ([]handover.Socket, error) {
		return nil, errors.New("this process has no sockets to give")
	})
	if err != nil {
		return nil, err
	}
	return a.handOver(ctx, channel, hello, nil)
}

// handOver is HandOver behind the hello. abandon ends the other process, if it can be ended from here.
func (a *App) handOver(ctx context.Context, channel *proc.Channel, hello *handover.Hello, abandon func(),
) (*Moved, error) {
	a.reloads.Lock() // the listeners stay what they are
	defer a.reloads.Unlock()
	if a.steering == nil || a.ending.Err() != nil {
		return nil, ErrNotServing
	}
	d := &departure{App: a, g: a.now(), places: a.now().places(hello), kept: map[*front][]int{}}
	defer d.close()
	if err := d.keep(); err != nil {
		return nil, err
	}
	began := time.Now()
	d.sender = handover.NewSender(channel, handover.Options{
		Place: d.place, Back: a.comeBack, Patience: acknowledgeTime, Abandon: abandon,
	})
	tally, err := d.run(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connections are not handed over: %w", err), d.undo())
	}
	moved := &Moved{Tally: tally, TookMS: milliseconds(time.Since(began)), Left: a.load().clients + a.load().sessions}
	for q, to := range map[float64]*float64{0.5: &moved.PauseP50, 0.99: &moved.PauseP99, 1: &moved.PauseMost} {
		*to = milliseconds(tally.Pauses.Quantile(q))
	}
	a.halfway.Store(true)
	a.options.Log.Info("handed over", "connections_moved", moved.Tally.Moved, "returned", moved.Returned,
		"left", moved.Left, "took_ms", moved.TookMS, "pause_p99_ms", moved.PauseP99, "refusals", moved.Refusals)
	return moved, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// departure is a hand-over that is under way.
type departure struct {
	*App
	g      *generation
	places map[int]int      // the other side's place of a listener, by the site's number
	kept   map[*front][]int // copies of the listening sockets, for the case that they come back
	sender *handover.Sender
}

// places are where the other process serves the listeners of this one, by number: as those of the same seat if it tells
// these apart.
func (g *generation) places(hello *handover.Hello) map[int]int {
	theirs := make(map[string]int)
	for place, key := range hello.Listeners {
		theirs[key] = place
	}
	places := make(map[int]int)
	for number, at := range g.numbers() {
		place, ok := theirs[at.key+seatMark(at.seat)]
		if !ok {
			place, ok = theirs[at.key]
		}
		if ok {
			places[number] = place
		}
	}
	return places
}

// place is where the other process serves a listener.
func (d *departure) place(number int) (place int, ok bool) {
	place, ok = d.places[number]
	return place, ok
}

// goes tells whether a listener goes to the other process.
func (d *departure) goes(number int) bool {
	_, ok := d.places[number]
	return ok
}

// keep makes copies of the sockets that are about to be closed.
func (d *departure) keep() error {
	for _, f := range d.g.fronts {
		if _, goes := d.places[f.number]; !goes {
			continue
		}
		if datagrams(f.config) { // it stays open, and is not read from
			d.kept[f] = nil
			continue
		}
		fds, err := f.group.Copies()
		if err != nil {
			return err
		}
		d.kept[f] = fds
	}
	return nil
}

// close lets go of the copies.
func (d *departure) close() {
	for _, fds := range d.kept {
		for _, fd := range fds {
			if fd >= 0 {
				_ = sys.Close(fd)
			}
		}
	}
	clear(d.kept)
}

// run has the connections leave, until none is left or the time is over.
func (d *departure) run(ctx context.Context) (handover.Tally, error) {
	for f := range d.kept {
		f.group.Bequeath()
	}
	stop, err := d.steering.Depart(serve.Departure{
		Room: d.sender.Room, Take: d.sender.Take, Only: d.goes,
	})
	if err != nil {
		tally, _ := d.sender.Finish()
		return tally, err
	}
	d.sender.Left()
	d.await(ctx)
	stop()
	return d.sender.Finish()
}

// await waits until nothing is left that could leave, or the time is over.
func (d *departure) await(ctx context.Context) {
	limit := time.NewTimer(max(time.Duration(d.g.plan.Config.Timeouts.Drain)/leavePart, time.Nanosecond))
	defer limit.Stop()
	look := time.NewTicker(emptyTick) // the loops tell nobody that they are empty
	defer look.Stop()
	for d.sender.Failed() == nil {
		select {
		case <-look.C:
		case <-d.sender.Progress():
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
		if now := d.load(); now.clients+now.sessions <= 0 && d.sender.UnderWay() == 0 {
			return
		}
	}
}

// undo listens again, behind a hand-over that has failed. What was accepted before keeps its number.
func (d *departure) undo() error {
	var errs []error
	for f, fds := range d.kept {
		if datagrams(f.config) {
			errs = append(errs, d.resume(f))
			if !d.options.Worker {
				f.group.Own()
			}
			continue
		}
		group := listen.Succeeding(f.group.Spec(), fds)
		if d.options.Worker {
			group = listen.Inherited(f.group.Spec(), fds) // the file of a unix socket is the supervisor's
		}
		if f.group.Lent() {
			group = listen.Lent(f.group.Spec(), fds[0])
		}
		l := serve.Listener{
			Name: f.config.Address.String(), Network: string(f.config.Address.Network), Open: group.Open,
			Closed: group.Closed, Alone: group.Lent(),
		}
		delete(d.kept, f)
		err := d.g.serveAgain(f, &l)
		number := -1
		if err == nil {
			number, err = d.steering.Listen(l)
		}
		if err != nil {
			if !d.options.Worker {
				group.Own() // nobody else has it
			}
			group.Close()
			errs = append(errs, fmt.Errorf("nothing listens any more on %s: %w", f.url(), err))
			continue
		}
		if !d.options.Worker {
			group.Own()
		}
		again := *f
		again.more, again.seats = append(slices.Clone(f.more), f.number), append(slices.Clone(f.seats), d.options.Seat)
		again.number, again.group = number, group
		d.replace(f, &again)
	}
	return errors.Join(errs...)
}

// comeBack goes on with connections that the other process has not taken. That they stay is counted by its cause at the
// end of the hand-over; here it is a line for each few of them.
func (a *App) comeBack(parcels []*conn.Parcel, why error) {
	lost := 0
	for i, err := range a.steering.ArriveMany(parcels) {
		if err != nil {
			lost++
			handover.Close(parcels[i])
		}
	}
	level := slog.LevelDebug
	if lost > 0 {
		level = slog.LevelError
	}
	a.options.Log.Log(context.Background(), level, "connections stay", "connections", len(parcels)-lost, "lost", lost,
		"cause", why)
}
