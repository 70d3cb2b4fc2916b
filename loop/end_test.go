package loop_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// script is a handler made of functions; those that are nil do nothing.
type script struct {
	opened, flushed, expired, ended, stopped func(c conn.Conn)
	received                                 func(c conn.Conn, in []byte) int
	closed                                   func(c conn.Conn, why error)
}

func call(f func(conn.Conn), c conn.Conn) {
	if f != nil {
		f(c)
	}
}

func (h *script) Opened(c conn.Conn)  { call(h.opened, c) }
func (h *script) Flushed(c conn.Conn) { call(h.flushed, c) }
func (h *script) Expired(c conn.Conn) { call(h.expired, c) }
func (h *script) Ended(c conn.Conn)   { call(h.ended, c) }
func (h *script) Stopped(c conn.Conn) { call(h.stopped, c) }

func (h *script) Received(c conn.Conn, in []byte) int {
	if h.received == nil {
		return len(in)
	}
	return h.received(c, in)
}

func (h *script) Closed(c conn.Conn, why error) {
	if h.closed != nil {
		h.closed(c, why)
	}
}

// caller is a client made of a function.
type caller func(p *sim.Peer)

func (f caller) Step(p *sim.Peer) { f(p) }

// readAll reads what there is, and says how much came and how it ended.
func readAll(p *sim.Peer) (n int, err error) {
	var buffer [1024]byte
	for {
		k, err := p.Read(buffer[:])
		n += k
		if k == 0 || err != nil {
			return n, err
		}
	}
}

// TestSimDrain has the handler drain in the middle of what the peer sends: the peer gets
// the whole answer and an orderly end, however much it sends, unless it goes on for
// longer than the loop lingers.
func TestSimDrain(t *testing.T) {
	const answer = 5000
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError, w.options.Faults.Jump = 0, 0, 0
		w.build(&script{
			received: func(c conn.Conn, in []byte) int {
				c.Write(make([]byte, answer))
				c.Drain()
				return len(in)
			},
			closed: func(c conn.Conn, why error) {
				if why != nil && !errors.Is(why, syscall.ECONNRESET) && !errors.Is(why, syscall.EPIPE) {
					w.kernel.Fail("a drained connection closed for %v", why)
				}
			},
		})
		for range 1 + w.rand.IntN(10) {
			got, ended, next := 0, false, time.Duration(0)
			stubborn := w.rand.IntN(3) == 0 // never closes by itself
			w.dial(0, caller(func(p *sim.Peer) {
				if ended {
					return
				}
				if p.Now() >= next {
					_, _ = p.Write(make([]byte, 1+p.Rand().IntN(300)))
					next = p.Now() + time.Duration(p.Rand().IntN(50e6))
					p.After(next - p.Now())
				}
				n, err := readAll(p)
				got += n
				switch {
				case err == nil || stubborn && err == io.EOF:
					return
				case got != answer:
					p.Fail("%d of %d bytes came before %v", got, answer, err)
				case err != io.EOF && !stubborn:
					p.Fail("%v instead of the end", err)
				}
				ended = true
				p.Close()
				w.finished()
			}))
		}
		w.run()
	})
}

// TestSimAbort wants a reset, and nothing else.
func TestSimAbort(t *testing.T) {
	mine := errors.New("enough")
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError = 0, 0
		w.build(&script{
			received: func(c conn.Conn, in []byte) int {
				c.Write(make([]byte, 300))
				if w.kernel.Rand().IntN(2) == 0 {
					c.Drain()
				}
				c.Abort(mine)
				c.Write([]byte("in vain"))
				c.Abort(errors.New("too late"))
				return len(in) / 2
			},
			closed: func(c conn.Conn, why error) {
				if why != mine {
					w.kernel.Fail("closed for %v", why)
				}
			},
		})
		for range 1 + w.rand.IntN(10) {
			w.dial(0, caller(func(p *sim.Peer) {
				_, _ = p.Write(make([]byte, 1+p.Rand().IntN(300)))
				if n, err := readAll(p); n > 0 || err != nil {
					if n > 0 || !errors.Is(err, syscall.ECONNRESET) {
						p.Fail("%d bytes and %v", n, err)
					}
					p.Close()
					w.finished()
				} else {
					p.After(time.Millisecond)
				}
			}))
		}
		w.run()
	})
}

// TestSimTimer wants no timer early, and none more than a tick late.
func TestSimTimer(t *testing.T) {
	const tick = 8 * time.Millisecond
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError, w.options.Faults.Jump = 0, 0, 0
		due := map[uint64]int64{}
		set := func(c conn.Conn) {
			ns := 1 + w.kernel.Rand().Int64N(int64(time.Second)<<w.kernel.Rand().IntN(5))
			if w.kernel.Rand().IntN(5) == 0 {
				c.SetTimer(ns / 2) // replaced
			}
			if w.kernel.Rand().IntN(10) == 0 {
				c.SetTimer(0)
				delete(due, c.ID())
				return
			}
			c.SetTimer(ns)
			due[c.ID()] = c.Now() + ns
		}
		count := 0
		w.build(&script{
			opened: set,
			expired: func(c conn.Conn) {
				at, ok := due[c.ID()]
				late := time.Duration(c.Now() - at)
				if !ok || late < 0 || late > tick+300*time.Microsecond {
					w.kernel.Fail("a timer is %v late (it was set: %v)", late, ok)
				}
				delete(due, c.ID())
				if count++; count < 200 {
					set(c)
				}
			},
			received: func(c conn.Conn, in []byte) int {
				set(c)
				return len(in)
			},
			ended:  func(c conn.Conn) { c.Drain() },
			closed: func(c conn.Conn, _ error) { delete(due, c.ID()) },
		})
		for range 1 + w.rand.IntN(20) {
			left := w.rand.IntN(50)
			w.dial(time.Duration(w.rand.IntN(1e9)), caller(func(p *sim.Peer) {
				_, _ = p.Write([]byte("x"))
				if left--; left < 0 {
					p.Close()
					w.finished()
					return
				}
				p.After(time.Duration(p.Rand().IntN(1e9)))
			}))
		}
		w.run()
	})
}

// TestSimStop stops a loop with connections at work and at rest. The first finish, also
// those that were accepted at the last moment; the second are told and leave.
func TestSimStop(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError, w.options.Faults.Jump = 0, 0, 0
		h := newSupplier(w)
		w.build(h)
		for i, c := range ask(w, 1+w.rand.IntN(30), 14) {
			c.mayEnd, c.half = true, false
			if c.stay = i%3 == 0; c.stay {
				c.patient = true
			}
		}
		count := w.left
		w.left = 1 << 30 // the loop is stopped by the clock
		w.kernel.After(time.Duration(w.rand.IntN(40e6)), func() { w.loop.Stop(false) })
		w.run()
		if h.w.checker.opened > count {
			w.kernel.Fail("%d connections of %d clients", h.w.checker.opened, count)
		}
		for why := range h.why {
			if why != nil {
				w.kernel.Fail("closed for %v", why)
			}
		}
	})
}

// TestSimKill ends connections that would not end.
func TestSimKill(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError, w.options.Faults.Jump = 0, 0, 0
		killed := 0
		w.build(&script{closed: func(c conn.Conn, why error) {
			if !errors.Is(why, conn.ErrStopping) {
				w.kernel.Fail("closed for %v", why)
			}
			killed++
		}})
		count := 1 + w.rand.IntN(40)
		for range count {
			w.dial(time.Duration(w.rand.IntN(10e6)), caller(func(p *sim.Peer) {
				_, _ = p.Write([]byte("x"))
				p.After(time.Millisecond)
				if _, err := readAll(p); err != nil {
					p.Close()
				}
			}))
		}
		w.kernel.After(15*time.Millisecond, func() { w.loop.Stop(false) })
		w.kernel.After(200*time.Millisecond, func() {
			if killed > 0 || w.loop.Open() == 0 {
				w.kernel.Fail("the loop did not wait")
			}
			w.loop.Stop(true)
		})
		w.run()
		if killed != w.checker.opened {
			w.kernel.Fail("%d of %d were killed", killed, w.checker.opened)
		}
	})
}

// TestSimPost reaches connections from outside, before and after they have closed.
func TestSimPost(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset = 0
		var refs []conn.Ref
		gone := map[uint64]bool{}
		reached, taken, ran := 0, 0, 0
		w.build(&script{
			opened: func(c conn.Conn) { refs = append(refs, c.Ref()) },
			closed: func(c conn.Conn, _ error) {
				gone[c.ID()] = true
				if w.loop.Do(func() { ran++ }) { // the last one comes when the loop has nothing else left
					taken++
				}
			},
			ended: func(c conn.Conn) { c.Drain() },
		})
		ask(w, 1+w.rand.IntN(20), 1)
		for range 100 {
			w.kernel.After(time.Duration(w.rand.IntN(30e6)), func() {
				if len(refs) == 0 {
					return
				}
				ref := refs[w.kernel.Rand().IntN(len(refs))]
				ref.Post(func(c conn.Conn) {
					reached++
					switch {
					case w.checker.inside != "":
						w.kernel.Fail("a post within %s", w.checker.inside)
					case c.ID() != ref.ID || gone[c.ID()]:
						w.kernel.Fail("a post for %x reached %x", ref.ID, c.ID())
					}
				})
			})
		}
		w.run()
		if w.loop.Do(func() {}) {
			w.kernel.Fail("the door of a loop that has ended is open")
		}
		if ran != taken {
			w.kernel.Fail("%d of %d posts that were taken were run", ran, taken)
		}
	})
}
