package app

import (
	"errors"
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/serve"
)

// Activate has the listeners of a plan served from sockets that a service manager has opened and keeps (socket
// activation, sd_listen_fds(3)): each from the one that has its address and its type. admin is the one at the place of
// the admin API, or 0. What fits nothing is an error that says what would.
func (p *Plan) Activate(passed []proc.Named) (admin int, err error) {
	var errs []error
	for _, socket := range passed {
		at, err := p.activate(socket)
		if at && err == nil && admin > 0 {
			err = fmt.Errorf("it is for the admin API, as descriptor %d is", admin)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the socket %q of the service manager (descriptor %d): %w", socket.Name, socket.FD,
				err))
		}
		if at {
			admin = socket.FD
		}
	}
	return admin, errors.Join(errs...)
}

// activate finds the listener that a socket is for, or reports that it is for the admin API.
func (p *Plan) activate(socket proc.Named) (admin bool, err error) {
	found, err := listen.Named(socket.FD)
	if err != nil {
		return false, err
	}
	var places []string
	for i := range p.Config.Listeners {
		spec := specOf(&p.Config.Listeners[i], false)
		if nameOf(spec) == nameOf(found) {
			return false, p.lend(i, socket.FD, spec)
		}
		places = append(places, nameOf(spec))
	}
	if at := p.Config.Admin; !at.Off && !at.Auto() {
		spec := listen.Spec{Network: string(at.Address.Network), Name: at.Address.Path}
		if at.Address.Network != config.Unix {
			spec.Address = at.Address.AddrPort()
		}
		if nameOf(spec) == nameOf(found) {
			return true, listen.Adapt(socket.FD, spec)
		}
		places = append(places, nameOf(spec)+" (admin)")
	}
	return false, fmt.Errorf("it is at %s, and the configuration listens at %s: write the same address in both",
		nameOf(found), strings.Join(places, ", "))
}

// nameOf is what two sockets have in common that can stand for each other.
func nameOf(s listen.Spec) string {
	if s.Name != "" {
		return s.Network + " " + s.Name
	}
	return s.Network + " " + s.Address.String()
}

// lend has a listener be served from a socket.
func (p *Plan) lend(listener, fd int, spec listen.Spec) error {
	c, l := p.Config, &p.Config.Listeners[listener]
	switch _, twice := p.lent[listener]; {
	case twice:
		return fmt.Errorf("listeners[%d] has one already, and one is enough for all loops and workers: pass one alone",
			listener)
	case p.Driver.Name == "rtsig" && c.Engine.Processes > 0 && c.Engine.ProcessModel == config.ProcessReusePort:
		return fmt.Errorf("real-time signals of a socket have one owner, and several workers would accept from this one: " +
			"write engine.process_model: prefork, or choose another driver")
	case l.ReusePort == config.Yes || c.Engine.Accept == config.AcceptReusePort && p.Accept == serve.ReusePort:
		p.Warnings = append(p.Warnings, fmt.Sprintf("listeners[%d] is served from the one socket that the service manager "+
			"has opened: SO_REUSEPORT spreads nothing there, one loop of each process accepts for all", listener))
	}
	if p.lent == nil {
		p.lent = make(map[int]int)
	}
	p.lent[listener] = fd
	return listen.Adapt(fd, spec)
}
