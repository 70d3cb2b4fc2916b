package loop

import "time"

// ticker is a function that is called again and again.
type ticker struct {
	do    func()
	every int64
	next  int64
	over  bool
}

// Every calls f again and again. What a call falls behind is not made up for.
func (d *dialer) Every(every time.Duration, f func()) (stop func()) {
	t := &ticker{do: f, every: max(int64(every), int64(wheelTick))}
	t.next = d.now + t.every
	d.tickers = append(d.tickers, t)
	if d.tickAt == 0 || t.next < d.tickAt {
		d.tickAt = t.next
	}
	return func() { t.over = true }
}

// tick calls what is due, and finds out when the next call is.
func (l *Loop) tick() {
	if l.tickAt == 0 || l.now < l.tickAt {
		return
	}
	for i := 0; i < len(l.tickers); i++ { // a call may add one
		if t := l.tickers[i]; !t.over && l.now >= t.next {
			t.next = l.now + t.every
			t.do()
		}
	}
	l.tickAt = 0
	kept := l.tickers[:0]
	for _, t := range l.tickers {
		if t.over {
			continue
		}
		kept = append(kept, t)
		if l.tickAt == 0 || t.next < l.tickAt {
			l.tickAt = t.next
		}
	}
	clear(l.tickers[len(kept):])
	l.tickers = kept
}

// nextTick is how long it is until a call is due; negative if none is.
func (l *Loop) nextTick() time.Duration {
	if l.tickAt == 0 {
		return -1
	}
	return time.Duration(max(0, l.tickAt-l.now))
}
