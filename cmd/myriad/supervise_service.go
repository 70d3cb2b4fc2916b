package main

import (
	"log/slog"
	"time"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/proc"
)

// service is a server for those who look after it from outside: its pid file, and what a service manager hears.
type service struct {
	log      *slog.Logger
	pid      *proc.PIDFile
	notify   *proc.Notifier
	watchdog time.Duration
	ended    chan struct{}
}

// openService takes the pid file, if there is to be one, and finds the service manager, if one has started this.
func openService(c *config.Config, log *slog.Logger) (*service, error) {
	s := &service{log: log, ended: make(chan struct{})}
	if c.PIDFile != "" {
		pid, err := proc.OpenPIDFile(c.PIDFile)
		if err != nil {
			return nil, err
		}
		s.pid = pid
	}
	var err error
	if s.notify, err = proc.NewNotifier(); err != nil {
		log.Warn("the service manager is told nothing", "error", err)
	}
	if s.watchdog, err = proc.WatchdogInterval(); err != nil {
		log.Warn("the watchdog of the service manager is not answered", "error", err)
	}
	return s, nil
}

// close removes the pid file.
func (s *service) close() {
	close(s.ended)
	s.notify.Close()
	if s.pid == nil {
		return
	}
	if err := s.pid.Remove(); err != nil {
		s.log.Warn("the pid file stays", "error", err)
	}
}

// tell logs what the service manager could not be told.
func (s *service) tell(err error) {
	if err != nil {
		s.log.Warn("the service manager is not told how this server is", "error", err)
	}
}

// ready tells that the server serves, also after a reload.
func (s *service) ready(status string) {
	s.tell(s.notify.Ready(status))
}

// reloading tells that a reload has begun. Its end is ready, with what came of it.
func (s *service) reloading() {
	s.tell(s.notify.Reloading("reads its configuration"))
}

// reloaded is ready for the outcome of a reload.
func (s *service) reloaded(err error) {
	if err != nil {
		s.ready("serves with the configuration that it had: the new one was refused")
		return
	}
	s.ready("serves")
}

// stopping tells that the end has begun.
func (s *service) stopping() {
	s.tell(s.notify.Stopping("drains"))
}

// watch answers the watchdog for as long as alive returns.
func (s *service) watch(alive func() error) {
	if s.watchdog == 0 {
		return
	}
	go func() {
		ticker := time.NewTicker(s.watchdog / 2)
		defer ticker.Stop()
		for {
			if err := alive(); err != nil {
				s.log.Warn("the watchdog is not answered", "cause", err)
			} else {
				s.tell(s.notify.Watchdog())
			}
			select {
			case <-ticker.C:
			case <-s.ended:
				return
			}
		}
	}()
}
