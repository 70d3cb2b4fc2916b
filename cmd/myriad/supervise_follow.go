package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
	"github.com/myriad-server/myriad/internal/sys"
)

// This file is how a supervisor goes on as another program: by execve(2), so that it stays the same process, the parent
// of its workers, with all that it holds. What it knows goes over in memory whose descriptor keptVariable names. The
// program before stays open until the next one has taken everything over: one that cannot gives the process back to it.

const (
	// keptVariable tells a program that it goes on as the supervisor in this process: the descriptors of what was left,
	// and of the program before.
	keptVariable = "MYRIAD_KEPT"
	// backVariable tells a program that the one it has made way for could not go on, and why.
	backVariable = "MYRIAD_KEPT_BACK"
	// adminName and programName are descriptors, and the rest what else is left.
	adminName   = "admin"
	programName = "program"
	levelKey    = "log_level"
	turnKey     = "turn"
	nameKey     = "name"
	lentKey     = "admin_lent"
	versionKey  = "version"
)

// followed is what a supervisor has of the program before, in the same process.
type followed struct {
	kept    *supervise.Kept
	fd      int // of the document
	program int // of the program before
	back    string
	turn    int
	open    []int // descriptors that were copied, until nothing can fail any more
	signals chan os.Signal
}

// descriptor is one of those that were left by name.
func (w *followed) descriptor(name string) (fd int, ok bool) {
	fd, ok = w.kept.ExtraFDs[name]
	return fd, ok
}

// admin is a copy of the descriptor of the admin API's socket: the other is for giving back. 0: there is none.
func (w *followed) admin() (int, error) {
	fd, is := w.kept.ExtraFDs[adminName]
	if !is {
		return 0, nil
	}
	w.open = append(w.open, fd)
	return sys.Duplicate(fd)
}

// follow goes on as the supervisor that this process was as another program, or gives it back to that one.
func (f *serverFlags) follow(c console, overrides []config.Override, text string) error {
	was := &followed{back: os.Getenv(backVariable), signals: make(chan os.Signal, 16)}
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(was.signals, supervise.Listened()...) // those that were held back come now
	proc.ReleaseSignals(supervise.Signals())
	if _, err := fmt.Sscan(text, &was.fd, &was.program); err != nil {
		return fmt.Errorf("%s=%q was written by another program: %w", keptVariable, text, err)
	}
	for _, variable := range []string{keptVariable, backVariable} {
		if err := os.Unsetenv(variable); err != nil {
			return err
		}
	}
	s, err := f.goOn(c, overrides, was)
	if err != nil {
		return was.giveBack(err)
	}
	defer s.fleet.Close()
	defer s.service.close()
	defer s.closeAdmin()
	return s.run(was.signals)
}

// giveBack has the program before go on, which this one cannot. It returns if that one cannot either.
func (w *followed) giveBack(why error) error {
	if w.back != "" {
		return errors.Join(why, errors.New(w.back))
	}
	keep, args := []int{w.fd, w.program}, os.Args
	if w.kept != nil {
		keep = append(keep, w.kept.Descriptors()...)
		args = append([]string{w.kept.Extra[nameKey]}, args[1:]...)
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d %d", keptVariable, w.fd, w.program), backVariable+"="+why.Error())
	err := proc.Exec(fmt.Sprint("/proc/self/fd/", w.program), args, env, keep, supervise.Signals(),
		func() error { return nil })
	return errors.Join(why, err)
}

// goOn is the supervisor made of what was left.
func (f *serverFlags) goOn(c console, overrides []config.Override, was *followed) (*supervisor, error) {
	var err error
	if was.kept, err = supervise.ReadKept(was.fd); err != nil {
		return nil, err
	}
	kept := was.kept
	source, err := f.plan(supervise.Source{Name: kept.Name, Text: kept.Text}, overrides)
	if err != nil {
		return nil, err
	}
	level := new(slog.LevelVar)
	log := logger(c.err, &source.Plan.Config.Log, level)
	_ = level.UnmarshalText([]byte(kept.Extra[levelKey])) // else it is the configuration's
	was.turn, _ = strconv.Atoi(kept.Extra[turnKey])
	s := &supervisor{log: log, level: level, turn: was.turn + 1, stays: was.back, lent: kept.Extra[lentKey] != ""}
	if s.service, err = openService(source.Plan.Config, log, was.descriptor); err != nil {
		return nil, err
	}
	if was.back != "" {
		s.turn = was.turn
		// The name that it was started by was a number.
		_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) // for people alone
		log.Error("the new program could not go on as the supervisor: the one before does", "cause", was.back)
	} else {
		log.Info("the supervisor goes on as another program", "pid", os.Getpid(), "version", version,
			"before", kept.Extra[versionKey])
	}
	if err := s.newFleet(f, source, overrides, kept); err != nil {
		return nil, err
	}
	admin, err := was.admin()
	if err == nil {
		err = s.startAdmin(source.Plan.Config, admin)
	}
	if err != nil {
		return nil, err
	}
	// From here on nothing fails, and nothing is given back.
	s.service.adopt()
	proc.Message{Descriptors: append(was.open, was.fd, was.program)}.Close()
	s.ready()
	return s, nil
}
