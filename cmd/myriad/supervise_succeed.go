package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

const (
	// rehearsalVariable tells a program to look whether it could go on as a supervisor, and end.
	rehearsalVariable = "MYRIAD_KEPT_REHEARSAL"
	// keptName is what a rehearsal inherits what was left as.
	keptName = "kept"
	// kindVersion is the message with the version of a program that could go on.
	kindVersion = 64
)

// rehearse looks whether this program could go on with what a supervisor leaves, tells it so, and ends.
func (f *serverFlags) rehearse(overrides []config.Override) error {
	own, err := proc.Adopt()
	if err != nil {
		return err
	}
	fd, is := own.File(keptName)
	if !is {
		return errors.New("there is nothing to look at")
	}
	kept, err := supervise.ReadKept(fd)
	if err == nil {
		_, err = f.plan(supervise.Source{Name: kept.Name, Text: kept.Text}, overrides)
	}
	if err == nil {
		err = own.Control().Send(context.Background(), proc.Message{Kind: kindVersion, Payload: []byte(version)})
	}
	if err != nil {
		return errors.Join(err, own.Fail(err))
	}
	return own.Ready()
}

// rehearsal has another program look whether it could go on as this supervisor, and gives its version.
func (s *supervisor) rehearsal(program string) (version string, err error) {
	file, err := s.fleet.Preview().Seal()
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // the other one has its own
	command := s.command(program)
	command.Env = append(os.Environ(), rehearsalVariable+"=1")
	command.Files = []proc.Named{{Name: keptName, FD: int(file.Fd())}}
	child, err := proc.Start(command)
	if err != nil {
		return "", err
	}
	defer child.Close()
	if err = child.AwaitReady(successorLimit); err == nil {
		var m proc.Message
		if m, err = child.Control().Receive(context.Background()); err == nil { // it was sent before
			version = string(m.Payload)
			m.Close()
		}
	}
	if err != nil {
		err = fmt.Errorf("%s cannot be the supervisor: %w", program, err)
		_ = child.Signal(syscall.SIGKILL) // it may have ended
	}
	<-child.Died()
	return version, err
}

// become has the supervisor go on as another program, as soon as nothing is under way.
func (s *supervisor) become(program, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == "" {
		go s.succeed()
	}
	s.next, s.coming, s.stays = program, version, ""
}

// succeed goes on as the next program.
func (s *supervisor) succeed() {
	const (
		limit = 10 * time.Minute       // workers may hand over for long
		pause = 100 * time.Millisecond // between two looks: what is waited for are many things
	)
	var err error
	for began := time.Now(); time.Since(began) < limit; time.Sleep(pause) {
		if err = s.fleet.Quiet(); err == nil {
			err = s.leave()
		}
		if !errors.Is(err, supervise.ErrBusy) {
			break
		}
	}
	if errors.Is(err, supervise.ErrStopping) || errors.Is(err, supervise.ErrStopped) {
		return
	}
	s.log.Error("the supervisor goes on as the program that it is", "cause", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.coming, s.stays = "", "", err.Error()
}

// leave goes on as the next program now. It returns only if that cannot be.
func (s *supervisor) leave() error {
	s.mu.Lock()
	program, answering := s.next, s.admin
	s.mu.Unlock()
	admin := answering.Leave()
	s.service.succeeding()
	err := s.fleet.Leave(func(k *supervise.Kept, quiet func() error) error {
		return s.becomes(program, admin, k, quiet)
	})
	s.service.ready("serves")
	if failed := s.startAdmin(s.config, admin); failed != nil {
		s.log.Error("there is no admin API any more", "error", failed)
	}
	return err
}

// becomes puts another program in the place of this one. It returns only if that fails.
func (s *supervisor) becomes(program string, admin int, k *supervise.Kept, quiet func() error) error {
	env, files, free, err := s.service.bequest()
	if err != nil {
		return err
	}
	defer free()
	own, err := os.Open(sameBinary)
	if err != nil {
		return err
	}
	defer func() { _ = own.Close() }() // it was not even read
	k.ExtraFDs = map[string]int{programName: int(own.Fd())}
	for _, of := range files {
		k.ExtraFDs[of.Name] = of.FD
	}
	if admin > 0 {
		k.ExtraFDs[adminName] = admin
	}
	level, _ := s.level.MarshalText() // it has no error
	k.Extra = map[string]string{
		levelKey: string(level), turnKey: strconv.Itoa(s.turn), versionKey: version, nameKey: os.Args[0],
	}
	if s.lent {
		k.Extra[lentKey] = "yes"
	}
	file, err := k.Seal()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nobody has it
	env = append(append(os.Environ(), fmt.Sprintf("%s=%d %d", keptVariable, file.Fd(), own.Fd())), env...)
	args := append([]string{program}, os.Args[1:]...)
	return proc.Exec(program, args, env, append(k.Descriptors(), int(file.Fd())), supervise.Signals(), quiet)
}
