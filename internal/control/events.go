package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/myriad-server/myriad/conn"
)

func withPatience(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), patience)
}

// endsPerEvent is how many ends one second tells at most.
const endsPerEvent = 100

// events sends figures each second, and the ends that were not orderly, until whoever asked goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream := follower{server: s, w: w, control: http.NewResponseController(w), told: map[uint64]bool{}}
	first, err := s.app.Ended(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "")
		return
	}
	stream.news(first) // what was before is no news
	for {
		figures, next := s.sampler.figures(s.app)
		if stream.send("figures", figures) != nil || stream.sendEnds(r.Context()) != nil {
			return
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}

// follower is somebody who follows the events.
type follower struct {
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	told    map[uint64]bool
}

// send writes one event. Who does not read for a while is cut off.
func (f *follower) send(kind string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = f.control.SetWriteDeadline(time.Now().Add(patience)) // without one it is cut off by the end of the server
	if _, err := fmt.Fprintf(f.w, "event: %s\ndata: %s\n\n", kind, text); err != nil {
		return err
	}
	return f.control.Flush()
}

// sendEnds tells of the connections that have ended since the last time, but not in order.
func (f *follower) sendEnds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended, err := f.server.app.Ended(ctx)
	if err != nil {
		return err
	}
	for _, c := range f.server.tellEnded(f.news(ended), nil, endsPerEvent) {
		if err := f.send("closed", c); err != nil {
			return err
		}
	}
	return nil
}

// news are the ends that were not orderly and that have not been told.
func (f *follower) news(ended []conn.Record) (news []conn.Record) {
	now := make(map[uint64]bool)
	for i := range ended {
		if ended[i].Why == nil {
			continue
		}
		now[ended[i].ID] = true
		if !f.told[ended[i].ID] {
			news = append(news, ended[i])
		}
	}
	f.told = now
	return news
}
