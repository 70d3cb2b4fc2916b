package main

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

const (
	kept        = 1000 // messages of a room that the journal keeps, and that a client which comes back may have missed
	shown       = 50   // of them, for one who is new
	writers     = 16   // goroutines that append, each for a part of the people, so that what one says stays in order
	waiting     = 256  // messages that may wait for one of them
	patience    = 5 * time.Second
	longestText = 4 << 10
	longestID   = 64
	remembered  = time.Hour // how long a message that is sent again is known to be the same
)

// said is a message as people get it.
type said struct {
	Place uint64 `json:"place"` // its number, the same for all
	From  string `json:"from"`
	Text  string `json:"text"`
	ID    string `json:"id"`   // the sender's own, by which it knows that it has been heard
	Time  int64  `json:"time"` // in milliseconds since 1970
}

// saying is what a client sends.
type saying struct {
	Text string `json:"text"`
	ID   string `json:"id"`
}

// trouble is told to a client whose message was not taken; it may send it again with the same ID.
type trouble struct {
	Error string `json:"error"`
	ID    string `json:"id"`
}

// chat is all rooms of a server.
type chat struct {
	socket.Defaults
	service *socket.Service
	opened  chan struct{} // closed when there is a journal
	journal *bus.Journal
	log     *slog.Logger
	context context.Context
	end     context.CancelFunc
	group   sync.WaitGroup
	queues  [writers]chan utterance
	seed    maphash.Seed

	mu    sync.Mutex
	rooms map[string]*room
}

// utterance is a message on its way to the journal.
type utterance struct {
	who  *person
	at   socket.Ref
	said said
}

// id is what makes it the same message when it is sent again: people of one name may be in several rooms.
func (u *utterance) id() string { return u.who.room.subject + "/" + u.who.name + "/" + u.said.ID }

// person is somebody in a room. It is attached to the connection, whose thread alone changes it.
type person struct {
	room   *room
	name   string
	after  uint64 // the place of the last message that was sent to the client
	fresh  bool   // it has none, and is shown the latest
	saying []said // messages of it that are on their way to the journal
}

// room is the people in it, and what was said lately.
type room struct {
	name    string
	subject string
	mu      sync.Mutex
	people  map[uint64]present
	last    []entry // the oldest first
}

// present is somebody in a room, and the place of the last message that there is no need to send.
type present struct {
	ref   socket.Ref
	after uint64
}

type entry struct {
	place   uint64
	message *socket.Message
}

// newChat makes the rooms of a server. Until open has succeeded, what is said waits.
func newChat(log *slog.Logger) *chat {
	c := &chat{opened: make(chan struct{}), log: log, rooms: make(map[string]*room), seed: maphash.MakeSeed()}
	c.context, c.end = context.WithCancel(context.Background())
	c.service = socket.New(c, socket.Options{Limits: ws.Limits{MessageBytes: 2 * longestText}})
	for i := range c.queues {
		c.queues[i] = make(chan utterance, waiting)
		c.group.Go(func() { c.write(c.queues[i]) })
	}
	return c
}

// open has the rooms be on a bus, whose cluster keeps so many copies of the journal. It is called once.
func (c *chat) open(ctx context.Context, b *bus.Bus, copies int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*patience)
	defer cancel()
	c.journal, err = openJournal(ctx, b, bus.JournalOptions{
		Name: "chat", Subjects: []string{"chat.>"}, CountEach: kept, Copies: copies, Window: remembered,
	})
	if err == nil {
		close(c.opened)
	}
	return err
}

// hasOpened waits for open; false: the end came first.
func (c *chat) hasOpened() bool {
	select {
	case <-c.opened:
		return true
	case <-c.context.Done():
		return false
	}
}

// openJournal waits for a cluster that has not come together yet: it refuses a journal until it has machines enough.
func openJournal(ctx context.Context, b *bus.Bus, o bus.JournalOptions) (*bus.Journal, error) {
	const pause = 500 * time.Millisecond
	for {
		journal, err := b.Journal(ctx, o)
		if err == nil {
			return journal, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// close ends what runs beside the connections.
func (c *chat) close() {
	c.end()
	c.group.Wait()
}

// names are what rooms and people may be called: a room's is part of a subject of the bus.
var names = regexp.MustCompile(`^[\p{L}\p{N}_-]{1,32}$`)

// Serve answers with the page, or lets somebody into a room: /rooms/NAME?name=WHO, with &after=PLACE of one who has
// been there before.
func (c *chat) Serve(x *web.Exchange) {
	path := string(x.Path())
	name, found := strings.CutPrefix(path, "/rooms/")
	switch {
	case path == "/":
		x.Respond(pageAnswer)
		return
	case !found:
		x.Fail(404)
		return
	}
	query, err := url.ParseQuery(string(x.Query()))
	p := &person{name: query.Get("name"), fresh: !query.Has("after")}
	if err == nil && !p.fresh {
		p.after, err = strconv.ParseUint(query.Get("after"), 10, 64)
	}
	if err != nil || !names.MatchString(name) || !names.MatchString(p.name) {
		x.Fail(400)
		return
	}
	p.room = c.room(name)
	_ = c.service.Accept(x, p) // it answers what it refuses
}

// room is the room with a name, which is read from then on.
func (c *chat) room(name string) *room {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.rooms[name]; r != nil {
		return r
	}
	r := &room{name: name, subject: "chat." + name, people: make(map[uint64]present)}
	c.rooms[name] = r
	c.group.Go(func() { c.read(r) }) // the thread of a connection waits for nobody
	return r
}

// read has everybody in a room hear what is said, from the oldest that is kept on.
func (c *chat) read(r *room) {
	if !c.hasOpened() {
		return
	}
	for c.context.Err() == nil {
		cancel, err := c.journal.Read(c.context, []string{r.subject}, 0, r.hear)
		if err == nil {
			<-c.context.Done()
			cancel()
			return
		}
		c.log.Warn("a room is not heard yet", "room", r.subject, "cause", err)
		select {
		case <-time.After(time.Second):
		case <-c.context.Done():
		}
	}
}

// hear takes a message from the journal.
func (r *room) hear(e bus.Entry) {
	var s said
	if json.Unmarshal(e.Data, &s) != nil {
		return // somebody else's
	}
	s.Place, s.Time = e.Place, e.Time.UnixMilli()
	text, err := json.Marshal(s)
	if err != nil {
		return
	}
	now := entry{e.Place, socket.NewMessage(ws.Text, text)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == kept {
		r.last = append(r.last[:0], r.last[1:]...)
	}
	r.last = append(r.last, now)
	for _, p := range r.people {
		if now.place > p.after { // a room that has just been opened hears what is old, too
			p.ref.Post(now.tell)
		}
	}
}

// tell sends a message to somebody who does not have it. It is called on the thread of the connection, so that what
// goes along to another process is what was really sent. One who takes too little is asked to come back, and misses
// nothing then.
func (e entry) tell(to *socket.Conn) {
	p := to.Attached().(*person)
	if e.place <= p.after {
		return
	}
	switch err := to.SendMessage(e.message); {
	case err == nil:
		p.after = e.place
	case errors.Is(err, socket.ErrFull):
		to.Close(ws.CodeTryLater, "too slow")
	}
}

// Opened lets somebody in: what was missed comes first.
func (c *chat) Opened(conn *socket.Conn) {
	p := conn.Attached().(*person)
	r := p.room
	r.mu.Lock()
	defer r.mu.Unlock()
	missed := r.last
	if p.fresh {
		missed = missed[max(0, len(missed)-shown):]
	}
	if p.fresh && len(missed) > 0 {
		p.after = missed[0].place - 1
	}
	p.fresh = false
	for _, e := range missed {
		e.tell(conn)
	}
	r.people[conn.Conn().ID()] = present{conn.Ref(), p.after}
}

// Closed lets somebody out.
func (c *chat) Closed(conn *socket.Conn, _ ws.Code, _ string) {
	p := conn.Attached().(*person)
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	delete(p.room.people, conn.Conn().ID())
}

// Message takes what somebody says.
func (c *chat) Message(conn *socket.Conn, opcode ws.Opcode, text []byte) {
	p := conn.Attached().(*person)
	var s saying
	if opcode != ws.Text || json.Unmarshal(text, &s) != nil || s.Text == "" || len(s.Text) > longestText ||
		s.ID == "" || len(s.ID) > longestID {
		conn.Close(ws.CodePolicy, "a text and its ID are wanted")
		return
	}
	c.say(conn, said{From: p.name, Text: s.Text, ID: s.ID})
}

// say has a message of somebody go to the journal.
func (c *chat) say(conn *socket.Conn, s said) {
	p := conn.Attached().(*person)
	select {
	case c.queues[maphash.String(c.seed, p.name)%writers] <- utterance{p, conn.Ref(), s}:
		p.saying = append(p.saying, s)
	default:
		refuse(conn, &s, "too much is being said")
	}
}

// write appends to the journal. The ID has what is sent again be kept once.
func (c *chat) write(queue <-chan utterance) {
	if !c.hasOpened() {
		return
	}
	for {
		select {
		case <-c.context.Done():
			return
		case a := <-queue:
			text, err := json.Marshal(a.said)
			if err == nil {
				ctx, cancel := context.WithTimeout(c.context, patience)
				_, err = c.journal.Append(ctx, a.who.room.subject, text, a.id())
				cancel()
			}
			if err != nil {
				c.log.Warn("a message was not taken", "cause", err)
			}
			a.at.Post(func(conn *socket.Conn) { a.over(conn, err) })
		}
	}
}

// over is told of a message that is in the journal, or was not taken. One that is in it can be said again, so nobody
// who has gone on in another process needs to hear this.
func (u *utterance) over(conn *socket.Conn, err error) {
	p := u.who
	if at := slices.IndexFunc(p.saying, func(s said) bool { return s.ID == u.said.ID }); at >= 0 {
		p.saying = slices.Delete(p.saying, at, at+1)
	}
	if err != nil {
		refuse(conn, &u.said, "try again")
	}
}

func refuse(conn *socket.Conn, s *said, why string) {
	text, err := json.Marshal(trouble{why, s.ID})
	if err == nil {
		_ = conn.Send(ws.Text, text) // who takes nothing is told to come back, and sends it again
	}
}
