package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
)

// List is a page of connections.
type List struct {
	Now time.Time `json:"now"`
	// Open is how many connections were looked at, and Matched how many of them are selected.
	Open    int `json:"open"`
	Matched int `json:"matched"`
	Offset  int `json:"offset"`
	Limit   int `json:"limit"`
	// States counts the selected ones by state.
	States      map[string]int `json:"states"`
	Connections []Connection   `json:"connections"`
}

// lister looks through the connections of all workers.
type lister struct {
	rosters   []conn.Roster
	listeners []app.Listener
	about     func(c conn.Conn) app.About
}

// best keeps the first so many of what it is given, in a heap with the last of them on top: it holds no more than what
// is asked for, however many it is shown.
type best struct {
	selection *Selection
	most      int
	heap      []conn.Record
	open      int
	matched   int
	states    map[string]int
}

func (b *best) add(r *conn.Record) {
	b.matched++
	b.states[stateOf(r)]++
	if b.most == 0 {
		return
	}
	if len(b.heap) < b.most {
		b.heap = append(b.heap, *r)
		for i := len(b.heap) - 1; i > 0; {
			above := (i - 1) / 2
			if !b.selection.before(&b.heap[above], &b.heap[i]) {
				break
			}
			b.heap[above], b.heap[i] = b.heap[i], b.heap[above]
			i = above
		}
		return
	}
	if !b.selection.before(r, &b.heap[0]) {
		return
	}
	b.heap[0] = *r
	b.sink()
}

// sink lets the one on top go down to its place.
func (b *best) sink() {
	for i := 0; ; {
		last := i
		for _, below := range []int{2*i + 1, 2*i + 2} {
			if below < len(b.heap) && b.selection.before(&b.heap[last], &b.heap[below]) {
				last = below
			}
		}
		if last == i {
			return
		}
		b.heap[i], b.heap[last] = b.heap[last], b.heap[i]
		i = last
	}
}

// visit shows every connection of a worker to f, a copy of each.
func visit(ctx context.Context, of conn.Roster, ask conn.Ask, f func(r *conn.Record)) error {
	batch := make([]conn.Record, conn.ListMost)
	for from := uint32(0); ; {
		n, next, err := of.List(ctx, from, batch, ask)
		if err != nil {
			return err
		}
		for i := range batch[:n] {
			f(&batch[i])
		}
		if from = next; next == 0 {
			return nil
		}
	}
}

// each visits the connections of all workers at once: f is called by one goroutine for each worker, whose number it is
// given.
func (l *lister) each(ctx context.Context, ask conn.Ask, f func(worker int, r *conn.Record)) error {
	failed := make([]error, len(l.rosters))
	var group sync.WaitGroup
	for i, of := range l.rosters {
		group.Go(func() { failed[i] = visit(ctx, of, ask, func(r *conn.Record) { f(i, r) }) })
	}
	group.Wait()
	for i, err := range failed {
		if err != nil {
			return fmt.Errorf("loop %d does not answer: %w", i, err)
		}
	}
	return nil
}

// list selects, sorts and cuts out the page.
func (l *lister) list(ctx context.Context, s *Selection) (*List, error) {
	found := make([]best, len(l.rosters))
	for i := range found {
		found[i] = best{selection: s, most: s.Offset + s.Limit, states: map[string]int{}}
	}
	err := l.each(ctx, s.ask(), func(worker int, r *conn.Record) {
		found[worker].open++
		if s.selects(r, l.listeners) {
			found[worker].add(r)
		}
	})
	if err != nil {
		return nil, err
	}
	page := &List{Now: time.Now().UTC(), Offset: s.Offset, Limit: s.Limit, States: map[string]int{}}
	type placed struct {
		conn.Record
		worker int
	}
	var all []placed
	for i := range found {
		page.Open += found[i].open
		page.Matched += found[i].matched
		for state, n := range found[i].states {
			page.States[state] += n
		}
		for j := range found[i].heap {
			all = append(all, placed{found[i].heap[j], i})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		if s.before(&a.Record, &b.Record) {
			return -1
		}
		return 1
	})
	all = all[min(s.Offset, len(all)):min(s.Offset+s.Limit, len(all))]
	rows := make([]conn.Record, len(all))
	workers := make([]int, len(all))
	for i := range all {
		rows[i], workers[i] = all[i].Record, all[i].worker
	}
	page.Connections, err = l.complete(ctx, rows, workers)
	return page, err
}

// complete asks for the addresses, the kernel's view and the use of connections. What else is told of them is what it
// was when they were selected.
func (l *lister) complete(ctx context.Context, rows []conn.Record, workers []int) ([]Connection, error) {
	type more struct {
		record conn.Record
		about  app.About
	}
	known := make(map[uint64]more, len(rows))
	for i, of := range l.rosters {
		var ids []uint64
		for j := range rows {
			if workers[j] == i {
				ids = append(ids, rows[j].ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		records, abouts := make([]conn.Record, len(ids)), make([]app.About, len(ids))
		n, err := of.Find(ctx, ids, records, conn.AskAddresses|conn.AskTCP, func(c conn.Conn, at int) {
			abouts[at] = l.about(c)
		})
		if err != nil {
			return nil, fmt.Errorf("loop %d does not answer: %w", i, err)
		}
		for j := range records[:n] {
			known[records[j].ID] = more{records[j], abouts[j]}
		}
	}
	told := make([]Connection, 0, len(rows))
	for i := range rows {
		found, there := known[rows[i].ID]
		if !there {
			continue // it has ended meanwhile
		}
		rows[i].Local, rows[i].Remote, rows[i].TCP = found.record.Local, found.record.Remote, found.record.TCP
		told = append(told, tell(&rows[i], found.about, l.listeners))
	}
	return told, nil
}

// one finds a connection by its ID; nil: there is none.
func (l *lister) one(ctx context.Context, id uint64) (*Connection, error) {
	for i, of := range l.rosters {
		var record [1]conn.Record
		n, err := of.Find(ctx, []uint64{id}, record[:], 0, nil)
		if err != nil {
			return nil, fmt.Errorf("loop %d does not answer: %w", i, err)
		}
		if n == 1 {
			told, err := l.complete(ctx, record[:], []int{i})
			if err != nil || len(told) == 0 {
				return nil, err
			}
			return &told[0], nil
		}
	}
	return nil, nil
}

// endsAtOnce is how many connections a loop is told to abort before it is waited for.
const endsAtOnce = 256

// end aborts what is selected, as many as the limit says, and returns how many that were. A dry run only counts.
func (l *lister) end(ctx context.Context, s *Selection, most int, dry bool) (matched, ended int, err error) {
	ids := make([][]uint64, len(l.rosters))
	err = l.each(ctx, s.ask(), func(worker int, r *conn.Record) {
		if r.State < conn.Closing && s.selects(r, l.listeners) {
			ids[worker] = append(ids[worker], r.ID)
		}
	})
	if err != nil {
		return 0, 0, err
	}
	for i, of := range l.rosters {
		matched += len(ids[i])
		if dry {
			continue
		}
		for some := range slices.Chunk(ids[i][:min(len(ids[i]), max(most-ended, 0))], endsAtOnce) {
			for _, id := range some {
				if of.End(id, conn.ErrOperator) {
					ended++
				}
			}
			if _, err := of.Ended(ctx); err != nil { // it has come so far
				return matched, ended, err
			}
		}
	}
	return matched, ended, nil
}
