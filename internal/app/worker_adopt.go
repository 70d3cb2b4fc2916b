package app

import (
	"slices"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// Adopt has the server serve the sockets that were given beside its own: those of a seat that nobody has any more, or
// that a worker is about to leave, who is awaited. They are served as the listener is that they belong to, until the
// server ends or gives them back.
func (a *App) Adopt(awaits []int) error {
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.steering == nil {
		return ErrNotServing
	}
	a.giving.Lock()
	extra := a.given
	a.given = nil
	a.giving.Unlock()
	for len(extra) > 0 {
		first, n := extra[0], 1
		fds := []int{first.FD}
		for n < len(extra) && extra[n].Listener == first.Listener && extra[n].Place > 0 {
			fds, n = append(fds, extra[n].FD), n+1
		}
		extra = extra[n:]
		if err := a.now().adopt(&first, fds, slices.Contains(awaits, first.Seat)); err != nil {
			a.Give(extra)
			a.Ungive()
			return err
		}
	}
	return nil
}

// adopt serves the sockets of one seat more for a listener.
func (g *generation) adopt(of *Given, fds []int, awaited bool) error {
	if of.Listener >= len(g.fronts) {
		for _, fd := range fds {
			_ = sys.Close(fd)
		}
		return errNoSocket
	}
	f := g.fronts[of.Listener]
	group := listen.Inherited(f.group.Spec(), fds)
	if !g.options.Worker {
		group = listen.Succeeding(f.group.Spec(), fds)
	}
	l := serve.Listener{
		Name: f.config.Address.String(), Network: string(f.config.Address.Network), Open: group.Open, Closed: group.Closed,
	}
	err := g.serveAgain(f, &l)
	l.Paused = awaited && l.Datagram != nil
	number := -1
	if err == nil {
		number, err = g.steering.Listen(l)
	}
	if err != nil {
		group.Close()
		return err
	}
	again := *f
	again.more, again.seats = append(slices.Clone(f.more), number), append(slices.Clone(f.seats), of.Seat)
	g.replace(f, &again)
	return nil
}

// serveAgain has more sockets served as those of a listener are.
func (g *generation) serveAgain(f *front, l *serve.Listener) (err error) {
	switch {
	case f.udp != nil:
		l.Datagram = f.udp.Handler
	case datagrams(f.config):
		l.Datagram = plainDatagrams(f.config)
	case f.web != nil && f.config.Protocol == config.HTTP:
		l.Handler = f.web.handler
	case f.tcp != nil && f.config.Protocol == config.StreamTCP:
		l.Handler = f.tcp.Handler
	default:
		l.Handler, err = g.handlers(f)
	}
	return err
}
