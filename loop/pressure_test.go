package loop_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
)

// visitor says one byte, wants it back, and stays until it is sent away or has stayed long enough.
type visitor struct {
	w       *world
	leave   time.Duration
	said    bool
	greeted bool
	over    bool
}

func (c *visitor) Step(p *sim.Peer) {
	if c.over {
		return
	}
	if !c.said {
		n, _ := p.Write([]byte{'x'})
		c.said = n == 1
	}
	n, err := readAll(p)
	c.greeted = c.greeted || n > 0
	switch {
	case err != nil && !c.greeted:
		p.Fail("connection %d: %v before it was served", p.Number, err)
	case err != nil && err != io.EOF && !errors.Is(err, syscall.ECONNRESET):
		p.Fail("connection %d: %v", p.Number, err)
	case err != nil || c.greeted && p.Now() >= c.leave:
		c.over = true
		p.Close()
		c.w.finished()
	default:
		p.After(max(c.leave-p.Now(), 10*time.Millisecond))
	}
}

// host echoes and is idle afterwards; what it holds at work is never sent away.
func host(w *world, working func(n int) bool) *script {
	count := 0
	atWork := map[uint64]bool{}
	since := map[uint64]int64{}
	return &script{
		received: func(c conn.Conn, in []byte) int {
			count++
			c.Write(in)
			if working(count) {
				atWork[c.ID()] = true
			} else {
				c.SetIdle(true)
				since[c.ID()] = c.Wall()
			}
			return len(in)
		},
		ended: func(c conn.Conn) { c.Drain() },
		closed: func(c conn.Conn, why error) {
			if errors.Is(why, conn.ErrPressure) {
				if atWork[c.ID()] {
					w.kernel.Fail("a connection at work was closed: %v", why)
				}
				for id, at := range since {
					// Those that are to be closed in the same sweep may be told in any order.
					if at+1 < since[c.ID()] && w.checker.open[id] != nil && !w.shed(id) {
						w.kernel.Fail("an idle connection was closed, and one that was idle for longer was not")
					}
				}
			}
			delete(since, c.ID())
		},
	}
}

// shed tells whether the connection is being closed too.
func (w *world) shed(id uint64) bool {
	open := false
	w.loop.Post(id, func(conn.Conn) { open = true })
	return !open
}

// crowd has visitors come over a few seconds, more than there is room for.
func crowd(w *world, most int) {
	for range most {
		at := time.Duration(w.rand.IntN(4e9))
		w.dial(at, &visitor{w: w, leave: at + time.Duration(w.rand.IntN(3e9))})
	}
}

// TestSimDescriptors has fewer descriptors than clients: everybody is served in the end,
// idle connections make room, and the loop does not spin.
func TestSimDescriptors(t *testing.T) {
	overSeeds(t, func(w *world) {
		f := &w.options.Faults
		f.Reset, f.Jump, f.AcceptError, f.EmptyWait, f.Full = 0, 0, 0, 0, 0
		w.options.Descriptors = 2 + w.rand.IntN(20)
		idle := w.rand.IntN(4)
		w.build(host(w, func(n int) bool { return idle == 0 || n%idle == 0 }))
		visitors := 1 + w.rand.IntN(60)
		crowd(w, visitors)
		w.run()
		// Each visit takes a few Waits; a pause takes one every 100 ms.
		if most := 2000 + visitors*60; w.kernel.Waits() > most {
			w.kernel.Fail("%d Waits for %d visitors", w.kernel.Waits(), visitors)
		}
	})
}

// TestSimLimit has a limit of connections, which is kept.
func TestSimLimit(t *testing.T) {
	overSeeds(t, func(w *world) {
		f := &w.options.Faults
		f.Reset, f.Jump, f.AcceptError, f.EmptyWait, f.Full = 0, 0, 0, 0, 0
		w.limits.connections = 1 + w.rand.IntN(20)
		idle := w.rand.IntN(4)
		h := host(w, func(n int) bool { return idle == 0 || n%idle == 0 })
		w.build(h)
		visitors := 1 + w.rand.IntN(60)
		crowd(w, visitors)
		w.run()
		if most := 2000 + visitors*60; w.kernel.Waits() > most {
			w.kernel.Fail("%d Waits for %d visitors", w.kernel.Waits(), visitors)
		}
	})
}

// TestSimAcceptErrors has accepts fail now and then; nobody but the aborted is turned away.
func TestSimAcceptErrors(t *testing.T) {
	overSeeds(t, func(w *world) {
		f := &w.options.Faults
		f.Reset, f.Jump, f.AcceptError = 0, 0, 0.2
		w.build(host(w, func(int) bool { return true }))
		clients, aborted := 1+w.rand.IntN(30), 0
		for range clients {
			served := false
			w.dial(time.Duration(w.rand.IntN(1e9)), caller(func(p *sim.Peer) {
				n, err := readAll(p)
				if served = served || n > 0; served || err != nil {
					if !served {
						aborted++
					}
					p.Close()
					w.finished()
					return
				}
				_, _ = p.Write([]byte("x"))
				p.After(100 * time.Millisecond)
			}))
		}
		w.run()
		w.meter.Publish()
		if n := int(w.meter.Snapshot()[meter.Accepted]); n+aborted != clients {
			w.kernel.Fail("%d of %d were accepted and %d aborted", n, clients, aborted)
		}
	})
}

// TestSimBlocks has few blocks: the streams still arrive whole, only later.
func TestSimBlocks(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.options.Faults.Reset, w.options.Faults.AcceptError = 0, 0
		w.limits.blocks = 2 + w.rand.IntN(30)
		// A reader that takes its bytes out of the blocks and sends back but a count at the end.
		got := map[uint64]int{}
		w.build(&script{
			received: func(c conn.Conn, in []byte) int {
				got[c.ID()] += len(in)
				if w.kernel.Rand().IntN(10) == 0 {
					w.checker.pause(c)
					c.SetTimer(1 + w.kernel.Rand().Int64N(50e6))
				}
				return len(in)
			},
			expired: func(c conn.Conn) {
				if c.State() == conn.Open {
					w.checker.resume(c)
				}
			},
			ended: func(c conn.Conn) {
				file := w.kernel.File(binary.BigEndian.AppendUint32(nil, uint32(got[c.ID()])))
				w.files = append(w.files, file)
				c.SendFile(file, 0, 4) // needs no block
				c.Drain()
			},
		})
		for range 1 + w.rand.IntN(10) {
			size := w.rand.IntN(100_000)
			left := size
			var answer []byte
			w.dial(time.Duration(w.rand.IntN(1e8)), caller(func(p *sim.Peer) {
				n, _ := p.Write(make([]byte, min(left, 1+p.Rand().IntN(5000))))
				if left -= n; left == 0 {
					p.CloseWrite()
				}
				var buffer [16]byte
				k, err := p.Read(buffer[:])
				answer = append(answer, buffer[:k]...)
				switch {
				case err == nil:
					p.After(2 * time.Millisecond)
				case err != io.EOF || len(answer) != 4 || int(binary.BigEndian.Uint32(answer)) != size:
					p.Fail("connection %d: %v and %v after %d bytes", p.Number, answer, err, size)
				default:
					p.Close()
					w.finished()
				}
			}))
		}
		w.run()
	})
}

// mirror sends datagrams back.
type mirror struct {
	w    *world
	lost func(p []byte)
}

func (h mirror) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	if !d.SendTo(from, p) {
		h.lost(p)
	}
}

// TestSimDatagrams wants each datagram back at its sender, once, unless it was dropped.
func TestSimDatagrams(t *testing.T) {
	overSeeds(t, func(w *world) {
		w.limits.blockBytes = max(w.limits.blockBytes, 512)
		if w.rand.IntN(3) == 0 {
			w.limits.blocks = 2 + w.rand.IntN(5)
		}
		w.build(&script{})
		socket, err := w.kernel.ListenDatagrams()
		if err != nil {
			panic(err)
		}
		sent := map[string]netip.AddrPort{}
		lost := 0
		drop := func(p []byte) {
			if w.limits.blocks > 100 {
				w.kernel.Fail("a datagram was dropped with blocks to spare")
			}
			delete(sent, string(p))
		}
		if err := w.loop.ListenDatagrams(socket.Descriptor(), mirror{w, drop}, false); err != nil {
			panic(err)
		}
		socket.Sent = func(to netip.AddrPort, p []byte) {
			if sent[string(p)] != to {
				w.kernel.Fail("%q went to %v", p, to)
			}
			delete(sent, string(p))
		}
		for i := range 200 {
			w.kernel.After(time.Duration(w.rand.IntN(1e8)), func() {
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), uint16(1+i))
				p := binary.BigEndian.AppendUint32(make([]byte, w.kernel.Rand().IntN(100)), uint32(i))
				if socket.Send(from, p) {
					sent[string(p)] = from
				} else {
					lost++
				}
			})
		}
		w.kernel.After(20*time.Second, func() { w.loop.Stop(false) })
		w.run()
		if len(sent) > 0 {
			w.kernel.Fail("%d of %d datagrams did not come back", len(sent), 200-lost)
		}
	})
}
