package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A check is a connection of its own on a goroutine of its own, apart from the loops: an endpoint is asked as a
// stranger would ask, and a slow answer holds nobody up.

// downChecks is how many times as often an endpoint is checked that is down: nobody uses it, and the sooner it is found
// well, the better.
const downChecks = 5

// checkOn checks an endpoint again and again.
func (e *Endpoint) checkOn(ctx context.Context) {
	o := e.group.options.Health
	good, bad := 0, 0
	// The first checks are spread over a tenth of the interval, so that a failed endpoint is found soon.
	wait := e.group.jittered(o.Interval) / 10
	for sleep(ctx, wait) {
		err := e.checkOnce(ctx, o)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case good >= o.Rise && e.clearStatus(statusDown):
			e.comesBack()
			e.noteState("up", fmt.Sprintf("%d good checks in a row", good))
		case bad >= o.Fall && e.status.Load()&statusDown == 0:
			why := fmt.Sprintf("%d bad checks in a row, the last: %v", bad, err)
			e.setStatus(statusDown, why)
			e.noteState("down", why)
			if e.from != nil {
				e.from.doubt()
			}
		}
		wait = e.untilNextCheck()
	}
}

// untilNextCheck is how long to wait before another check.
func (e *Endpoint) untilNextCheck() time.Duration {
	wait := e.group.jittered(e.group.options.Health.Interval)
	if e.status.Load()&statusDown != 0 {
		wait /= downChecks
	}
	return wait
}

// checkOnce connects, and asks for a path if there is one.
func (e *Endpoint) checkOnce(ctx context.Context, o *HealthOptions) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	var d net.Dialer
	network, address := "unix", e.targets[0].Path
	if address == "" {
		network, address = "tcp", e.targets[0].Address.String()
		if source := e.targets[0].Source; source.IsValid() {
			d.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
		}
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if o.Path == "" {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return ask(c, o, e.Host())
}

// Host is what requests call the endpoint by: the name or the address that it was configured as, with its port.
func (e *Endpoint) Host() string {
	if strings.HasPrefix(e.name, "unix:") {
		return "localhost"
	}
	return e.name
}

// mostOfAnswer is how much is read of the answer to a check.
const mostOfAnswer = 64 << 10

// ask sends a GET and looks at the status of its answer. What follows it is read, as far as it comes in time, and
// thrown away: a connection that is closed with bytes unread is reset, which endpoints write into their logs as an
// error, for every check.
func ask(c net.Conn, o *HealthOptions, host string) error {
	if o.Host != "" {
		host = o.Host
	}
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: myriad-check\r\nAccept: */*\r\n"+
		"Connection: close\r\n\r\n", o.Path, host)
	if err != nil {
		return err
	}
	var line [len("HTTP/1.1 200")]byte
	if _, err := io.ReadFull(c, line[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
			return errors.New("the connection ended before a status")
		}
		return err
	}
	_, _ = io.CopyN(io.Discard, c, mostOfAnswer)
	text := string(line[:])
	if !strings.HasPrefix(text, "HTTP/1.") || text[8] != ' ' {
		return fmt.Errorf("%q is no beginning of an HTTP answer", text)
	}
	status := atoi(text[9:])
	if status < o.StatusMin || status > o.StatusMax {
		return fmt.Errorf("status %d", status)
	}
	return nil
}
