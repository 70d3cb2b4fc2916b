package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// events sends what all workers send, with the figures added up each second.
func (a *above) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithCancel(r.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	stream := follower{w: w, control: http.NewResponseController(w)}
	ends, lost := make(chan Connection, endsPerEvent), make(chan uint64)
	following := map[uint64]bool{}
	ticker := time.NewTicker(sampleTime)
	defer ticker.Stop()
	for {
		list, err := a.branches(ctx)
		if err != nil {
			return
		}
		for _, b := range list {
			if !following[b.worker] {
				following[b.worker] = true
				group.Go(func() {
					b.follow(ctx, ends)
					select {
					case lost <- b.worker:
					case <-ctx.Done():
					}
				})
			}
		}
		if stream.send("figures", a.figuresOf(ctx, list)) != nil {
			return
		}
		for waiting := true; waiting; {
			select {
			case c := <-ends:
				if stream.send("closed", c) != nil {
					return
				}
			case worker := <-lost:
				delete(following, worker)
			case <-ticker.C:
				waiting = false
			case <-ctx.Done():
				return
			}
		}
	}
}

// figuresOf are the figures of some workers; those that do not answer are left out.
func (a *above) figuresOf(ctx context.Context, list []branch) Figures {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	replies := make([]reply, len(list))
	var group sync.WaitGroup
	for i, b := range list {
		group.Go(func() {
			status, text, err := b.client.relay(ctx, http.MethodGet, "/v1/loops", nil, nil)
			if err == nil && status == http.StatusOK {
				replies[i] = reply{b, status, text, nil}
			}
		})
	}
	group.Wait()
	sum := Figures{Time: time.Now().UTC(), Responses: map[string]float64{}, Loops: []Loop{}}
	for _, one := range replies {
		var f Figures
		if json.Unmarshal(one.text, &f) == nil {
			sum.add(one.worker, &f)
		}
	}
	return sum
}

// mostEventBytes bounds a line of a worker's events.
const mostEventBytes = 1 << 20

// follow passes on the ends that a worker tells, until it ends or ctx does.
func (b *branch) follow(ctx context.Context, ends chan<- Connection) {
	response, err := b.client.open(ctx, http.MethodGet, "/v1/events", nil, nil)
	if err != nil {
		return
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, mostEventBytes)
	kind := ""
	for lines.Scan() {
		line := lines.Bytes()
		if text, is := bytes.CutPrefix(line, []byte("event: ")); is {
			kind = string(text)
		}
		text, is := bytes.CutPrefix(line, []byte("data: "))
		var c Connection
		if !is || kind != "closed" || json.Unmarshal(text, &c) != nil {
			continue
		}
		c.own(b.worker)
		select {
		case ends <- c:
		case <-ctx.Done():
			return
		}
	}
}
