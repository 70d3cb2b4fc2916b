package loop

import (
	"errors"
	"fmt"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// Post runs f on the loop's thread for connection id, from any goroutine.
func (l *Loop) Post(id uint64, f func(c conn.Conn)) bool { return l.knock(post{id: id, do: f}) }

// Do runs f on the loop's thread, from any goroutine. It reports false if the loop has ended.
func (l *Loop) Do(f func()) bool { return l.knock(post{on: f}) }

func (l *Loop) knock(p post) bool {
	l.mu.Lock()
	if l.shut {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, p)
	first := !l.knocks.Swap(true)
	if first {
		// Under the lock, so that the driver cannot be closed in between.
		_ = l.driver.Wake()
	}
	l.mu.Unlock()
	return true
}

// receivePosts runs what was posted.
func (l *Loop) receivePosts() {
	if !l.knocks.Load() {
		return
	}
	l.mu.Lock()
	l.knocks.Store(false)
	received := l.posts
	l.posts = l.spare[:0]
	l.mu.Unlock()
	for i := range received {
		p := &received[i]
		if p.on != nil {
			p.on()
		} else if c := l.find(p.id); c != nil {
			p.do(c)
			l.mark(c)
		}
		*p = post{}
	}
	l.spare = received
	l.meter.Add(meter.Posts, int64(len(received)))
}

// Stop makes the loop end: it accepts no more, tells every connection, and Run returns when the last one is gone.
// With abort, connections are ended at once. From any goroutine, any number of times.
func (l *Loop) Stop(abort bool) {
	l.Do(func() {
		if !l.stopping {
			l.stopping = true
			l.stopListening()
		}
		if abort && !l.killed {
			l.killed = true
			l.stopNext = 0
		}
	})
}

// Keep makes a connection of a descriptor that this loop accepted; for Options.Place, on the loop's own thread.
func (l *Loop) Keep(listener, fd int) bool {
	l.enter(fd, listener)
	return true
}

// Part turns a descriptor that this loop accepted, and on which nothing was submitted, into an ordinary one for
// another loop's Give. It fails for one that is no descriptor of the process.
func (l *Loop) Part(fd int) (int, error) {
	ordinary, done, err := l.driver.Descriptor(fd)
	if err != nil {
		return 0, err
	}
	defer done()
	if ordinary != fd {
		return 0, errors.New("loop: a direct descriptor cannot be given to another loop")
	}
	return ordinary, nil
}

// Close frees what the loop holds after Run has returned, on the same thread. It reports blocks that were lost.
func (l *Loop) Close() error {
	lentToDriver := l.blocks.Lent()
	if err := l.driver.Close(); err != nil {
		return err
	}
	if lent := l.blocks.Lent(); lent > 0 {
		return fmt.Errorf("loop: %d of %d blocks were not given back", lent, lentToDriver)
	}
	if l.pipes != nil {
		if l.pipes.Close(); l.pipes.Lent() > 0 {
			return fmt.Errorf("loop: %d pipes were not given back", l.pipes.Lent())
		}
	}
	return nil
}

// Departed counts the connections that were accepted here, by Keep or by Give, and are not here any more. From any
// goroutine.
func (l *Loop) Departed() int64 { return l.departed.Load() }

// Open is the number of open connections, for the loop's own thread.
func (l *Loop) Open() int { return l.open }

// stopListening closes the listeners, and what receives datagrams.
func (l *Loop) stopListening() {
	for _, s := range l.listeners {
		l.abandon(s)
	}
	for _, d := range l.sockets {
		if d != nil {
			d.close()
		}
	}
}

func (l *Loop) emptyBacklog(s *listener) {
	fd, done, err := l.driver.Descriptor(s.fd)
	if err != nil {
		return
	}
	defer done()
	for l.open < l.limit {
		fresh, err := sys.Accept(fd)
		if err != nil {
			return
		}
		l.meter.Add(meter.Accepted, 1)
		adopted, err := l.driver.Adopt(fresh)
		if err != nil {
			_ = sys.Close(fresh)
			l.meter.Add(meter.Refused, 1)
			continue
		}
		if l.place == nil {
			l.enter(adopted, s.index)
		} else if !l.place(s.number, adopted) {
			l.discard(adopted)
		}
	}
}

// winding reports that connections are still to be told that the server stops.
func (l *Loop) winding() bool { return l.stopping && l.stopNext < l.made }

// wind tells the next few connections.
func (l *Loop) wind() {
	if !l.winding() {
		return
	}
	for range stopsPerTurn {
		if l.stopNext >= l.made {
			return
		}
		c := l.at(l.stopNext)
		l.stopNext++
		l.stop(c)
	}
}

// stop tells a connection that the server winds down, or ends it when the time for that is over.
func (l *Loop) stop(c *connection) {
	if l.killed && c.state < conn.Closing {
		c.flags |= flagReset
		l.end(c, conn.ErrStopping)
	} else if c.state == conn.Open && c.flags&flagWarned == 0 { // one that is being made is told when it is open
		c.flags |= flagWarned
		l.handlerOf(c).Stopped(c)
		l.mark(c)
	}
}

// finished reports that there is nothing left to run for, and shuts the door.
func (l *Loop) finished() bool {
	if !l.stopping || l.open > 0 || len(l.orphans) > 0 || l.winding() {
		return false
	}
	for _, s := range l.listeners {
		if s.token != 0 {
			return false
		}
	}
	for _, d := range l.sockets {
		if d != nil {
			return false
		}
	}
	// The last closes may still be queued in the driver.
	_, _ = l.driver.Wait(make([]driver.Completion, 1), 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = len(l.posts) == 0 // what came through the door is not forgotten: it may hold a descriptor
	return l.shut
}
