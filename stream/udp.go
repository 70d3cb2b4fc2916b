package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
)

var (
	// errSessions is why a client is turned away, for logs.
	errSessions = errors.New("there are as many sessions as there may be")
	// errUnnamed is why a client is not answered, for logs.
	errUnnamed = errors.New("the client's Unix socket has no name to send to; it should call bind(2)")
)

// UDPOptions says how datagrams are passed on. Zero fields get the default that is named with them.
type UDPOptions struct {
	// Name is the listener's, for logs.
	Name string
	// Group is where the datagrams go. Required.
	Group *upstream.Group
	// Idle is how long both sides may be silent; 1 min. The end comes up to a quarter later.
	Idle time.Duration
	// Lifetime is how long a session may last; Unlimited.
	Lifetime time.Duration
	// Sessions is how many there may be, over all loops; 4096. Each takes a descriptor.
	Sessions int
	// Evict makes room for a client beyond Sessions by ending the session of the same loop that has been silent for
	// longest. If that has none another loop ends one, and the datagram is dropped. Without Evict clients beyond Sessions
	// are not served.
	Evict bool
	// PerClient is how many sessions one client address may have, over all loops; 0: as many as there may be. What counts
	// for IPv6 is the network of 64 bits. Clients at Unix sockets have no address to be counted by.
	PerClient int
	// Answers is how many datagrams a server sends for each one it gets. When all have come the session is over at once: 1
	// for DNS. 0: nobody knows.
	Answers int
	// Records, if set, is told about sessions that have ended.
	Records Log
	// Log gets a line when no server can be reached or a limit is met; at most one of each kind a second. Nobody is told
	// if nil.
	Log *slog.Logger
}

// UDP passes the datagrams of a listener, of UDP or a Unix datagram socket, on to servers of either. The datagrams of
// one client, which is an address and a port or the name of a Unix socket, are a session: they go to one server, from a
// socket of their own, and what that answers goes back. Clients whose Unix sockets have no name share a session, and
// nothing goes back to them.
type UDP struct {
	books
	most    atomic.Int64 // sessions
	open    atomic.Int64
	relief  atomic.Bool // one loop makes room for another
	making  sync.Mutex  // for what follows
	rules   *rules
	routers []*router
}

// rules are what goes for new sessions, and clients where those are counted.
type rules struct {
	UDPOptions
	clients *clients // nil: clients may have as many sessions as they like
}

// NewUDP makes what serves a listener.
func NewUDP(o UDPOptions) (*UDP, error) {
	u := new(UDP)
	var err error
	if u.rules, err = rulesOf(o); err != nil {
		return nil, err
	}
	u.most.Store(int64(u.rules.Sessions))
	return u, nil
}

// rulesOf puts defaults where there is nothing.
func rulesOf(o UDPOptions) (*rules, error) {
	switch {
	case o.Group == nil:
		return nil, errors.New("stream: UDPOptions.Group is required")
	case o.Idle < 0 || o.Lifetime < 0 || o.Sessions < 0 || o.PerClient < 0 || o.Answers < 0:
		return nil, fmt.Errorf("stream: a limit of listener %q is negative", o.Name)
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Lifetime == 0 {
		o.Lifetime = Unlimited
	}
	if o.Sessions == 0 {
		o.Sessions = 4096
	}
	return &rules{o, limit(o.PerClient)}, nil
}

// Replace has other options go for the sessions that begin from now on, and for how long all of them last. Sessions
// that there are keep their server and are counted where they were. From any goroutine; it does not wait for the loops.
func (u *UDP) Replace(o UDPOptions) error {
	next, err := rulesOf(o)
	if err != nil {
		return err
	}
	u.making.Lock()
	defer u.making.Unlock()
	u.rules = next
	u.most.Store(int64(next.Sessions))
	for _, r := range u.routers {
		if r.dialer == nil {
			r.rules = next
			continue
		}
		r.dialer.Do(func() {
			r.rules, r.agent = next, next.Group.Agent(r.dialer)
			if r.stop != nil {
				r.stop()
				r.stop = r.dialer.Every(r.interval(), r.sweep)
			}
		})
	}
	return nil
}

// Dismiss ends all sessions, because the listener goes. It does not wait for the loops.
func (u *UDP) Dismiss() {
	u.making.Lock()
	defer u.making.Unlock()
	for _, r := range u.routers {
		if r.dialer == nil {
			continue
		}
		r.dialer.Do(func() {
			for f := r.order.next; f != &r.order; f = r.order.next {
				r.end(f, Stopped)
			}
		})
	}
}

// Finish accounts for the sessions that were open when the loops ended: a socket that is closed tells nobody. It comes
// after the model has returned.
func (u *UDP) Finish() {
	u.making.Lock()
	defer u.making.Unlock()
	for _, r := range u.routers {
		for f := r.order.next; f != &r.order; f = r.order.next {
			r.forget(f, Stopped)
		}
	}
}

// Handler makes the handler of one socket. Models that cannot dial have no use for it: it drops every datagram.
func (u *UDP) Handler() conn.DatagramHandler {
	u.making.Lock()
	defer u.making.Unlock()
	r := &router{
		owner: u, rules: u.rules, tally: u.tally(), flows: map[path]*flow{},
		report: newReporter(u.rules.Log, u.rules.Name),
	}
	r.order.next, r.order.previous = &r.order, &r.order
	r.number = uint64(len(u.routers))
	u.routers = append(u.routers, r)
	return r
}

// router is the handler of one socket that clients send to, with their sessions.
type router struct {
	owner   *UDP
	rules   *rules
	tally   *tally
	dialer  conn.Dialer // set once, under owner.making
	agent   *upstream.Agent
	socket  conn.Datagrams
	flows   map[path]*flow
	places  []*flow // the same for whoever lists them, with holes
	vacant  []uint32
	number  uint64
	serial  uint32
	order   flow   // the head of a ring: next is the flow that has been silent for longest
	stop    func() // ends the sweep; nil while there is none
	want    upstream.Want
	refused *upstream.Endpoint // where nobody was, and when
	at      int64
	report  reporter
	record  Record
}

// path is what makes datagrams a session: who sent them, and to which of the socket's addresses, if it has several.
// Answers leave from there; nobody would take them from elsewhere.
type path struct {
	client netip.AddrPort
	home   netip.Addr
}

// homed is a socket of every address. It tells which of them the datagram was sent to that it has just delivered.
type homed interface {
	Home() netip.Addr
	SendFrom(home netip.Addr, to netip.AddrPort, p []byte) bool
}

// flow is a session of datagrams, and the handler of its socket.
type flow struct {
	router         *router
	next, previous *flow
	socket         conn.Datagrams     // nil while there is no server
	server         *upstream.Endpoint // also after it has failed
	agent          *upstream.Agent    // that of the server
	clients        *clients           // where it is counted
	path
	id             uint64
	began, active  int64
	received, sent Traffic // from the client, and to it
	from, to       Traffic // from the server, and to it
	asked, answers int     // datagrams to the server that it has now, and from it
	why            error
}

// Started makes the loop's agent of the group.
func (r *router) Started(d conn.Dialer) {
	r.owner.making.Lock()
	r.dialer = d
	r.owner.making.Unlock()
	r.agent = r.rules.Group.Agent(d)
}

// Datagram passes a client's datagram on.
func (r *router) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) {
	if r.dialer == nil {
		return
	}
	of := path{client: from}
	if h, ok := d.(homed); ok {
		of.home = h.Home()
	}
	f := r.flows[of]
	if f == nil {
		r.socket = d
		if f = r.begin(of, d.Now()); f == nil {
			return
		}
	}
	r.touch(f, d.Now())
	f.received.add(p)
	if f.socket == nil && !r.connect(f) {
		return
	}
	if !f.socket.SendTo(netip.AddrPort{}, p) {
		r.tally.add(Lost, 1)
		return
	}
	f.asked++
	f.to.add(p)
}

// begin makes a session, if there may be one more.
func (r *router) begin(of path, now int64) *flow {
	client := of.client
	if !r.owner.enter() && (!r.makeRoom() || !r.owner.enter()) {
		r.tally.add(Refused, 1)
		r.report.warn(lineLimit, now, "a datagram is dropped", client, errSessions)
		return nil
	}
	if c := r.rules.clients; c != nil && counts(client) && !c.enter(client.Addr()) {
		r.owner.open.Add(-1)
		r.tally.add(Refused, 1)
		r.tally.add(RefusedPerClient, 1)
		r.report.warn(linePerClient, now, "a datagram is dropped", client, errPerClient)
		return nil
	}
	f := &flow{router: r, clients: r.rules.clients, path: of, began: now}
	f.next, f.previous = f, f
	r.tally.begun()
	r.include(f)
	return f
}

// include has datagrams of its client come to a session, and has it be listed and looked at.
func (r *router) include(f *flow) {
	r.flows[f.path] = f
	r.place(f)
	if r.stop == nil {
		r.stop = r.dialer.Every(r.interval(), r.sweep)
	}
}

// interval is how often sessions are looked at that may be over.
func (r *router) interval() time.Duration { return min(r.rules.Idle, r.rules.Lifetime) / 4 }

// enter counts a session in, unless there are as many as there may be.
func (u *UDP) enter() bool {
	if u.open.Load() >= u.most.Load() {
		return false // the flood that this is for writes nothing that others read
	}
	if u.open.Add(1) <= u.most.Load() {
		return true
	}
	u.open.Add(-1)
	return false
}

// counts reports that a client's address is limited: those of Unix sockets are not.
func counts(client netip.AddrPort) bool { return client.IsValid() && conn.UnixName(client) == "" }

// makeRoom ends the session that has been silent for longest, where that is allowed. If there is none another loop will
// do so.
func (r *router) makeRoom() bool {
	switch {
	case !r.rules.Evict:
		return false
	case r.order.next == &r.order:
		r.owner.relieve()
		return false
	}
	r.evict()
	return true
}

// evict ends the session that has been silent for longest.
func (r *router) evict() {
	f := r.order.next
	r.report.warn(lineEvicted, r.dialer.Now(), "a session is ended to make room", f.client, errSessions)
	r.end(f, Evicted)
}

// relieve has the loop with the most sessions end one, soon. Loops that ask meanwhile are served with it.
func (u *UDP) relieve() {
	if !u.relief.CompareAndSwap(false, true) {
		return
	}
	var most *router
	u.making.Lock()
	for _, r := range u.routers {
		if r.dialer != nil && (most == nil || r.tally.numbers[Open].Load() > most.tally.numbers[Open].Load()) {
			most = r
		}
	}
	u.making.Unlock()
	if most == nil || !most.dialer.Do(func() {
		u.relief.Store(false)
		if most.order.next != &most.order {
			most.evict()
		}
	}) {
		u.relief.Store(false)
	}
}

// refusedTime is for how long a server at which nobody was is passed over, if there are others. A datagram that nobody
// takes is lost, so one client's is enough.
const refusedTime = int64(10 * time.Second)

// connect chooses a server for a session, not one that failed a moment ago if there are others, and opens a socket to
// it.
func (r *router) connect(f *flow) bool {
	r.want.Forget()
	r.want.Key = keyOfPeer(f.client)
	if f.server != nil {
		r.want.Tried(f.server)
	}
	if r.refused != nil && r.refused != f.server && f.active-r.at < refusedTime {
		r.want.Tried(r.refused)
	}
	server, err := r.open(f)
	if server != nil && absent(err) { // a Unix socket; perhaps there is another
		r.gone(server, f.client, err)
		r.want.Tried(server)
		server, err = r.open(f)
	}
	if err != nil {
		r.report.warn(lineConnect, r.dialer.Now(), "a datagram is dropped: no server could be reached", f.client, err)
		f.socket, f.why = nil, err
		r.end(f, NotConnected)
		return false
	}
	f.server, f.why = server, nil
	return true
}

// open chooses a server and opens a socket to it. There is a server with an error that comes from it.
func (r *router) open(f *flow) (server *upstream.Endpoint, err error) {
	if server, err = r.agent.Choose(&r.want); err != nil {
		return nil, err
	}
	f.agent = r.agent
	f.socket, err = r.dialer.OpenDatagrams(server.Target(), f)
	if err != nil && !absent(err) && r.order.next != f && r.makeRoom() { // of descriptors
		f.socket, err = r.dialer.OpenDatagrams(server.Target(), f)
	}
	if err != nil {
		r.agent.Unchoose(server)
	}
	return server, err
}

// absent tells the errors of connecting to a Unix socket that nobody takes datagrams from.
func absent(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EPROTOTYPE)
}

// gone notes that a server is not there.
func (r *router) gone(server *upstream.Endpoint, client netip.AddrPort, why error) {
	r.tally.add(Undelivered, 1)
	r.agent.Report(server, upstream.Failure)
	r.report.warn(lineConnect, r.dialer.Now(), "a server of datagrams is not there", client, why)
	r.refused, r.at = server, r.dialer.Now()
}

// touch makes a session the one that was heard of last.
func (r *router) touch(f *flow, now int64) {
	f.active = now
	last := r.order.previous
	if last == f {
		return
	}
	f.previous.next, f.next.previous = f.next, f.previous
	f.previous, f.next = last, &r.order
	last.next, r.order.previous = f, f
}

// sweep ends the sessions that have been silent for too long, or last for too long.
func (r *router) sweep() {
	now := r.dialer.Now()
	for f := r.order.next; f != &r.order && now-f.active >= int64(r.rules.Idle); f = r.order.next {
		r.end(f, Idle)
	}
	if r.rules.Lifetime == Unlimited {
		return
	}
	for f := r.order.next; f != &r.order; {
		next := f.next
		if now-f.began >= int64(r.rules.Lifetime) {
			r.end(f, TooLong)
		}
		f = next
	}
}

// end ends a session.
func (r *router) end(f *flow, cause Cause) {
	r.disconnect(f)
	r.forget(f, cause)
	r.rest()
}

// rest ends the sweep when there is nothing left to look at.
func (r *router) rest() {
	if r.order.next == &r.order && r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// forget takes a session out of all accounts, and tells of it.
func (r *router) forget(f *flow, cause Cause) {
	r.dismiss(f)
	r.tally.ended(cause)
	r.tell(f, cause)
}

// dismiss undoes what include has done, and counts the session out. Another one may have come for its client.
func (r *router) dismiss(f *flow) {
	if r.flows[f.path] == f {
		delete(r.flows, f.path)
	}
	f.previous.next, f.next.previous = f.next, f.previous
	f.next, f.previous = f, f
	r.leave(f)
	r.owner.open.Add(-1)
	if f.clients != nil && counts(f.client) {
		f.clients.leave(f.client.Addr())
	}
}

// tell writes the session's record.
func (r *router) tell(f *flow, cause Cause) {
	if r.rules.Records == nil {
		return
	}
	r.record = Record{
		Client: clientOf(f.client), Cause: cause, Err: f.why, Received: f.received.Bytes, Sent: f.sent.Bytes,
		UpstreamReceived: f.from.Bytes, UpstreamSent: f.to.Bytes, Duration: time.Duration(r.dialer.Now() - f.began),
	}
	if f.server != nil {
		r.record.Upstream = f.server.Address()
	}
	r.rules.Records.Log(&r.record)
}

// disconnect closes a session's socket.
func (r *router) disconnect(f *flow) {
	if f.socket != nil {
		f.socket.Close()
		f.socket = nil
		f.agent.Unchoose(f.server)
	}
}

// Datagram passes a server's datagram back.
func (f *flow) Datagram(_ conn.Datagrams, _ netip.AddrPort, p []byte) {
	r := f.router
	if f.socket == nil {
		return
	}
	if f.answers == 0 {
		f.agent.Report(f.server, upstream.Success)
	}
	f.answers++
	f.from.add(p)
	r.touch(f, r.dialer.Now())
	switch {
	case !f.client.IsValid():
		r.tally.add(Unanswered, 1)
		r.report.warn(lineUnnamed, r.dialer.Now(), "an answer is dropped", f.client, errUnnamed)
	case f.answer(p):
		f.sent.add(p)
	default:
		r.tally.add(Lost, 1)
	}
	if n := r.rules.Answers; n > 0 && f.answers >= n*f.asked {
		r.end(f, Answered)
	}
}

// answer sends to the client, from where it has sent to.
func (f *flow) answer(p []byte) bool {
	if f.home.IsValid() {
		return f.router.socket.(homed).SendFrom(f.home, f.client, p)
	}
	return f.router.socket.SendTo(f.client, p)
}

// Failed takes what the kernel heard of the datagrams: that nobody is there (ECONNREFUSED). The session keeps its
// place, and the client's next datagram goes to another server.
func (f *flow) Failed(_ conn.Datagrams, err error) {
	r := f.router
	if f.socket == nil {
		return
	}
	if errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		r.tally.add(Lost, 1) // it says nothing about the server
		return
	}
	r.gone(f.server, f.client, err)
	r.disconnect(f)
	f.answers, f.asked, f.why = 0, 0, err
}
