package crowd

import (
	"context"
	"fmt"
	"time"
)

// Busy keeps every connection of the table busy for a time, each with one request at a time, and records how long each
// answer took. It ends with the first answer that is not good, when the others under way have come.
func (t *Table) Busy(ctx context.Context, length time.Duration, record func(time.Duration)) (err error) {
	if t.since == nil {
		t.since = make([]int64, len(t.state))
	}
	began := time.Now()
	now := int64(0)
	flying := 0
	begin := func(slot int, lane uint16) {
		t.since[slot] = now
		t.chain(slot, lane, Send, Receive)
		flying++
	}
	for slot := range min(len(t.state), Window) {
		begin(slot, t.take())
	}
	for flying > 0 {
		if err := t.enter(1); err != nil {
			return err
		}
		now = int64(time.Since(began))
		if now > int64(length+stalledAfter) {
			return fmt.Errorf("%d of %d active connections say nothing for %v", flying, len(t.state), stalledAfter)
		}
		ready := t.ring.Ready()
		for i := range ready {
			o := *t.ring.Outcome(i)
			slot, lane, what := int(uint32(o.UserData)), uint16(o.UserData>>32), Step(o.UserData>>48&0xff)
			flying--
			if err == nil {
				err = t.judge(&o, lane, what)
			}
			record(time.Duration(now - t.since[slot]))
			if now < int64(length) && err == nil && ctx.Err() == nil {
				begin(slot, lane)
			} else {
				t.free = append(t.free, lane)
			}
		}
		t.ring.Seen(ready)
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}
