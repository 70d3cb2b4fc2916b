package main

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/proc"
)

// service is a server for those who look after it from outside: its pid file, and what a service manager hears.
type service struct {
	log      *slog.Logger
	mu       sync.Mutex
	pid      *proc.PIDFile
	notify   *proc.Notifier
	watchdog time.Duration
	ended    chan struct{}

	manager string // where the service manager listens
	path    string // of the pid file
	adopted int    // the descriptor of that of the process before, until adopt; -1: none
}

const (
	// pidFileName is what a successor inherits the pid file as.
	pidFileName = "pidfile"
	// watchdogVariable tells a successor how often the service manager wants to hear of it.
	watchdogVariable = "MYRIAD_WATCHDOG"
)

// openService takes the pid file, if there is to be one, and finds the service manager, if one has started this. The
// pid file of who was it before is taken by adopt; left has its descriptor, and is nil where there is nobody.
func openService(c *config.Config, log *slog.Logger, left func(name string) (fd int, ok bool)) (*service, error) {
	s := &service{
		log: log, ended: make(chan struct{}), manager: os.Getenv("NOTIFY_SOCKET"), path: c.PIDFile, adopted: -1,
	}
	if left != nil {
		s.watchdog, _ = time.ParseDuration(os.Getenv(watchdogVariable)) // none, if there is none
		_ = os.Unsetenv(watchdogVariable)                               // it fails for a name that is none
		if fd, ok := left(pidFileName); ok {
			s.adopted = fd
		}
	}
	if c.PIDFile != "" && (s.adopted < 0 || !proc.IsPIDFile(c.PIDFile, s.adopted)) {
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
	if own, err := proc.WatchdogInterval(); err != nil {
		log.Warn("the watchdog of the service manager is not answered", "error", err)
	} else if own > 0 {
		s.watchdog = own
	}
	return s, nil
}

// bequest is what a successor gets, for its environment and to inherit. free is called when it has been started.
func (s *service) bequest() (env []string, files []proc.Named, free func(), err error) {
	free = func() {}
	if s.manager != "" {
		env = append(env, "NOTIFY_SOCKET="+s.manager, watchdogVariable+"="+s.watchdog.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == nil {
		return env, nil, free, nil
	}
	fd, err := s.pid.Duplicate()
	if err != nil {
		return nil, nil, free, err
	}
	file := os.NewFile(uintptr(fd), pidFileName)
	return env, []proc.Named{{Name: pidFileName, FD: fd}}, func() { _ = file.Close() }, nil
}

// adopt takes the pid file of the process before over, now that this one has taken over. One at another place goes.
func (s *service) adopt() {
	if s.adopted < 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := s.adopted
	s.adopted = -1
	var err error
	if s.path == "" || s.pid != nil {
		err = proc.RemovePIDFile(fd)
	} else {
		s.pid, err = proc.AdoptPIDFile(s.path, fd)
	}
	if err != nil {
		s.log.Warn("the pid file has the number of the process before", "error", err)
	}
}

// notifier is to whom this process speaks; nil: nobody listens.
func (s *service) notifier() *proc.Notifier {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notify
}

// leave leaves the service to a successor.
func (s *service) leave(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(s.notify.MainPID(pid))
	s.notify.Close()
	s.notify = nil // what this process says from now on would be taken for the word of its successor
	if s.pid != nil {
		s.pid.Leave()
		s.pid = nil
	}
}

// close removes the pid file.
func (s *service) close() {
	close(s.ended)
	s.mu.Lock()
	defer s.mu.Unlock()
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
	s.tell(s.notifier().Ready(status))
}

// reloading tells that a reload has begun. Its end is ready, with what came of it.
func (s *service) reloading() {
	s.tell(s.notifier().Reloading("reads its configuration"))
}

// succeeding tells that another program goes on in this process. Its end is ready.
func (s *service) succeeding() {
	s.tell(s.notifier().Reloading("goes on as another program"))
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
	s.tell(s.notifier().Stopping("drains"))
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
			switch err := alive(); {
			case err == nil:
				s.tell(s.notifier().Watchdog())
			case !errors.Is(err, app.ErrNotServing): // it begins, or ends
				s.log.Warn("the watchdog is not answered", "cause", err)
			}
			select {
			case <-ticker.C:
			case <-s.ended:
				return
			}
		}
	}()
}
