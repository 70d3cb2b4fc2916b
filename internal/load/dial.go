package load

import (
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// connectAll has every connection made that is there from the beginning.
func (w *worker) connectAll() {
	for i := range w.clients {
		if c := &w.clients[i]; c.kind != active || w.plan.PerConnect != 1 {
			w.toDial.put(c.index)
		}
	}
	w.dialMore()
	w.settle()
}

func (w *worker) dialMore() {
	for w.dialling < dialsMost && w.toDial.n > 0 {
		c := &w.clients[w.toDial.take()]
		c.flags |= flagFirst
		w.dialling++
		w.dial(c)
		w.mark(c)
	}
}

// dial begins to make a connection.
func (w *worker) dial(c *client) {
	w.tally.dialled++
	c.state, c.since, c.asked = dialling, w.now, int(c.flying)
	c.got, c.written = 0, 0
	c.flags &^= flagCalled | flagShut | flagEnded | flagLast | flagConnect | flagMade | flagReset
	w.wheel.Set(c.index, w.now+int64(w.plan.Timeout))
	fd, err := w.socket(c)
	if err == nil {
		w.tally.open++
		c.fd = int32(fd)
		if w.family == sys.Unix || w.plan.Target.Datagrams() {
			err = w.connectNow(c)
		} else {
			c.flags |= flagConnect
		}
	}
	if err != nil {
		w.unmade(c, causeOf("connect: ", err))
	}
}

// socket makes a socket, and adopts it.
func (w *worker) socket(c *client) (fd int, err error) {
	family := sys.Stream
	if w.plan.Target.Datagrams() {
		family = sys.Datagram
	}
	if fd, err = sys.Socket(w.family, family, true); err != nil {
		return -1, err
	}
	if err = w.dress(c, fd); err == nil {
		var adopted int
		if adopted, err = w.driver.Adopt(fd); err == nil {
			return adopted, nil
		}
	}
	_ = sys.Close(fd)
	return -1, err
}

// dress sets the options of a socket, and binds it.
func (w *worker) dress(c *client, fd int) error {
	var err error
	if w.family != sys.Unix && !w.plan.Target.Datagrams() {
		err = sys.SetOption(fd, sys.Option{Level: sys.LevelTCP, Name: sys.NoDelay, Value: 1})
		if err == nil && w.plan.Target.Address.Addr().IsLoopback() {
			err = sys.SetCongestion(fd, "reno") // nothing to pace on loopback
		}
	}
	if err == nil && c.kind == slow && w.plan.Slow.Read > 0 {
		err = sys.SetOption(fd, sys.Option{Level: sys.LevelSocket, Name: sys.ReceiveBuffer, Value: slowBuffer})
	}
	if err == nil {
		err = w.places.bind(fd)
	}
	return err
}

// connectNow is for sockets whose connect never waits.
func (w *worker) connectNow(c *client) error {
	fd, done, err := w.driver.Descriptor(int(c.fd))
	if err != nil {
		return err
	}
	defer done()
	if err := sys.Connect(fd, w.address); err != nil {
		return err
	}
	c.flags |= flagMade
	return nil
}

// connected takes the completion of a connect.
func (w *worker) connected(c *client, err error) {
	c.send = 0
	w.mark(c)
	switch {
	case c.state != dialling:
	case err != nil:
		w.unmade(c, causeOf("connect: ", err))
	default:
		w.made(c)
	}
}

// made opens a connection.
func (w *worker) made(c *client) {
	c.state = open
	w.tally.connected++
	w.tally.standing++
	w.tally.connect.Record(time.Duration(w.now - c.since))
	w.wheel.Clear(c.index)
	if c.kind == idle && w.plan.Touch && c.flying == 0 && w.phase == phaseConnect {
		w.give(c, w.now)
		return
	}
	w.arrived(c)
}

// unmade is the end of a connection that could not be made. The next one is tried after a pause.
func (w *worker) unmade(c *client, cause string) {
	w.tally.unmade++
	if c.flying == 0 {
		w.tally.errors[cause]++
	}
	c.flags |= flagPausing
	w.arrived(c)
	w.fail(c, cause)
}
