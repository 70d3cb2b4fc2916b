package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	keeperPart  = 4000 // connections between two looks at the context
	leavePolls  = 20 * time.Millisecond
	leaveWithin = 5 * time.Second // that the server may take to close its ends of a table
)

// keeper holds the idle connections of a run that has more of them than descriptors: in tables of direct ones, made and
// closed on a thread of its own, which sleeps in between. Nothing is received from them while they are idle, so one
// that the server closes is seen by the census only.
type keeper struct {
	plan     *Plan
	slots    int // of a table
	sources  []netip.Addr
	local    bool // the server is on this machine
	tables   []*crowd.Table
	standing atomic.Int64
	lost     int64 // could not be made
	why      error // the first of them
	made     chan struct{}
	leave    chan struct{}
	over     chan struct{}
}

// newKeeper is the keeper of a plan, or nil when its workers can hold all connections. The error says what is missing.
func newKeeper(p *Plan, limit uint64, local bool) (*keeper, error) {
	workers := p.Connections + p.Slow.Connections + spare
	if uint64(workers+p.Idle) <= limit {
		return nil, nil
	}
	if uint64(workers) > limit {
		return nil, fmt.Errorf("%d connections that are at work need more than the %d descriptors that this process may "+
			"have (RLIMIT_NOFILE); only idle ones do without", workers-spare, limit)
	}
	k := &keeper{
		plan: p, slots: int(min(limit, crowd.SlotsMost)), local: local,
		made: make(chan struct{}), leave: make(chan struct{}), over: make(chan struct{}),
	}
	tables := (p.Idle + k.slots - 1) / k.slots
	switch to := p.Target.Address.Addr(); {
	case p.Target.Path != "" || p.Target.Datagrams() || !to.Is4():
		return nil, fmt.Errorf("%d idle connections need more than the %d descriptors that this process may have "+
			"(RLIMIT_NOFILE); only TCP over IPv4 does without", p.Idle, limit)
	case len(p.Sources) > 0:
		k.sources = p.Sources
	case to.IsLoopback():
		second, third := byte(2+2*rand.N(124)), byte(rand.N(200))
		for i := range tables {
			k.sources = append(k.sources, netip.AddrFrom4([4]byte{127, second, third + byte(i/250), byte(1 + i%250)}))
		}
	default:
		k.sources = []netip.Addr{netip.IPv4Unspecified()}
	}
	if len(k.sources) < tables {
		return nil, fmt.Errorf("%d idle connections need %d source addresses, one for each %d, and there are %d",
			p.Idle, tables, k.slots, len(k.sources))
	}
	if err := k.enoughMemory(); err != nil {
		return nil, err
	}
	return k, nil
}

// What a connection costs the kernel: measured, both ends together, at 8.6 KiB.
const (
	endBytes   = 9 << 9
	spareBytes = 1 << 30
)

// enoughMemory tells when the kernel's part of so many connections would not fit.
func (k *keeper) enoughMemory() error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	need := int64(k.plan.Idle) * endBytes
	if k.local {
		need *= 2
	}
	available := field(text, "MemAvailable:") << 10
	if need+spareBytes > available {
		return fmt.Errorf("%d idle connections need some %s of memory, most of it the kernel's, and %s are available",
			k.plan.Idle, size(float64(need+spareBytes)), size(float64(available)))
	}
	return nil
}

// run is the keeper's life, on its own thread.
func (k *keeper) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(k.over)
	k.fill(ctx)
	close(k.made)
	<-k.leave
	for _, t := range k.tables {
		before := counters().Sockets
		well, _ := t.Each(context.WithoutCancel(ctx), 0, t.Slots(), crowd.Finish, crowd.Finish)
		k.standing.Add(int64(-min(well, int(k.standing.Load()))))
		t.Close()
		if k.local { // or the kernel would have to keep very many half-closed ones
			for until := time.Now().Add(leaveWithin); time.Now().Before(until); sys.Sleep(leavePolls) {
				if counters().Sockets <= before-2*int64(well)*9/10 {
					break
				}
			}
		}
	}
}

// fill makes the connections, table by table, each with a request that is answered if the plan says so.
func (k *keeper) fill(ctx context.Context) {
	p := k.plan
	request, answer := k.speech()
	last := crowd.Connect
	if p.Touch {
		last = crowd.Receive
	}
	for left, i := p.Idle, 0; left > 0 && ctx.Err() == nil; i++ {
		t, err := crowd.Open(p.Target.Address, k.sources[i], min(left, k.slots), request, answer)
		if err != nil {
			k.blame(int64(left), err)
			return
		}
		k.tables = append(k.tables, t)
		left -= t.Slots()
		for from := 0; from < t.Slots() && ctx.Err() == nil; from += keeperPart {
			to := min(from+keeperPart, t.Slots())
			well, err := t.Each(ctx, from, to, crowd.Socket, last)
			k.standing.Add(int64(well))
			if err != nil {
				k.blame(int64(to-from-well), err)
			}
			if well == 0 && err != nil {
				k.blame(int64(t.Slots()-to+left), nil)
				return // nobody answers any more
			}
		}
	}
}

func (k *keeper) blame(lost int64, err error) {
	k.lost += lost
	if k.why == nil {
		k.why = err
	}
}

// cause is why the first connection that could not be made could not.
func (k *keeper) cause() string {
	var met *crowd.Failure
	if errors.As(k.why, &met) {
		return causeOf("idle connection: ", met.Unwrap())
	}
	return causeOf("idle connection: ", k.why)
}

// speech is what an idle connection asks, and how a good answer begins.
func (k *keeper) speech() ([]byte, crowd.Answer) {
	p := k.plan
	if p.Target.HTTP() {
		h := hypertext{plan: p}
		return h.compose(false), crowd.Answer{Good: func(b []byte) bool {
			return bytes.HasPrefix(b, []byte("HTTP/1.")) && len(b) > 12 && (b[9] == '2' || b[9] == '3')
		}}
	}
	request := make([]byte, min(p.Request.Bytes, crowd.AnswerMost))
	fill(request)
	answer := crowd.Answer{}
	if p.Request.Pattern == Echo {
		answer = crowd.Answer{Size: len(request), Good: func(b []byte) bool { return bytes.Equal(b, request) }}
	}
	return request, answer
}
