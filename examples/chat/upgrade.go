package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// followVariable tells a process that it is to follow the one that has started it, and the folder of that one's bus.
	followVariable = "CHAT_FOLLOW"
	// handoverName is the channel between the two, and socketName a listening socket, with its number.
	handoverName, socketName = "handover", "socket-"
	// successorLimit is how long a successor may take until it listens.
	successorLimit = 30 * time.Second
)

// predecessor is the process that this one follows.
type predecessor struct {
	*proc.Inherited
	channel *proc.Channel
	dir     string
	sockets []int
}

// followed is the process that this one follows; nil: there is none.
func followed() (*predecessor, error) {
	dir, follows := os.LookupEnv(followVariable)
	if !follows {
		return nil, nil
	}
	if err := os.Unsetenv(followVariable); err != nil {
		return nil, err
	}
	inherited, err := proc.Adopt()
	if err != nil {
		return nil, err
	}
	before := &predecessor{Inherited: inherited, dir: dir}
	for _, file := range inherited.Files() {
		switch {
		case file.Name == handoverName:
			before.channel, err = proc.NewChannel(file.FD)
		case strings.HasPrefix(file.Name, socketName):
			before.sockets = append(before.sockets, file.FD)
		}
	}
	if err == nil && before.channel == nil {
		err = errors.New("the process before has left no channel")
	}
	return before, err
}

// sockets are what a server of one process listens with: its own, or those of the process before.
func (p *place) sockets(before *predecessor) (*listen.Group, error) {
	spec, err := listenOn(p.Listen)
	switch {
	case err != nil:
		return nil, err
	case before != nil:
		return listen.Succeeding(spec, before.sockets), nil
	}
	return listen.NewGroup(spec), nil
}

// takeOver goes on with the people of the process before, now that this one listens. It returns when that one has
// closed what it has, its bus above all, or has died.
func (s *hosting) takeOver(ctx context.Context, b *predecessor) {
	defer b.channel.Close()
	if err := b.Ready(); err != nil {
		s.log.Warn("the process before does not hear that this one listens", "cause", err)
	}
	taken, err := s.take(ctx, b.channel)
	s.log.Info("took over", "connections", taken)
	if err != nil {
		s.log.Warn("the process before has ended early", "cause", err)
		return
	}
	_, _ = b.channel.Receive(ctx) // it says nothing more: this is its end
	s.log.Info("the process before has ended")
}

// leave waits until another process is asked for, and has it go on. What is returned is to be closed when there is
// nothing left that the other one waits for; nil: ctx is done.
func (s *hosting) leave(ctx context.Context, asked <-chan os.Signal, dir string) *proc.Channel {
	for {
		select {
		case <-asked:
		case <-ctx.Done():
			return nil
		}
		next, err := s.succeed(ctx, dir)
		if err == nil {
			return next
		}
		s.log.Error("this process serves on", "cause", err)
	}
}

// succeed has a new process of the program, as it is by now, go on with everything, and tells it the folder of the bus.
// It waits for the channel to close before it opens the bus. With an error there is no such process any more.
func (s *hosting) succeed(ctx context.Context, dir string) (*proc.Channel, error) {
	channel, other, err := proc.NewPair()
	if err != nil {
		return nil, err
	}
	child, err := s.start(other, dir)
	_ = sys.Close(other)
	if err != nil {
		channel.Close()
		return nil, err
	}
	abandon := func() {
		_ = child.Signal(syscall.SIGKILL) // or it has ended
		<-child.Died()
	}
	if err = child.AwaitReady(successorLimit); err == nil {
		began := time.Now()
		tally, failed := s.give(ctx, channel, abandon)
		if err = failed; err == nil {
			s.log.Info("another process goes on", "pid", child.PID(), "connections", tally.Moved, "returned", tally.Returned,
				"took", time.Since(began), "longest_pause", tally.Pauses.Quantile(1))
			return channel, nil
		}
	}
	abandon()
	child.Close()
	channel.Close()
	return nil, err
}

// start starts the program as it is by now, with the listening sockets and the other end of a channel.
func (s *hosting) start(channel int, dir string) (*proc.Child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	sockets, err := s.group.Copies()
	if err != nil {
		return nil, err
	}
	defer closeAll(sockets)
	files := []proc.Named{{Name: handoverName, FD: channel}}
	for i, fd := range sockets {
		files = append(files, proc.Named{Name: socketName + strconv.Itoa(i), FD: fd})
	}
	return proc.Start(proc.Command{
		Path: path, Args: os.Args[1:], Env: append(os.Environ(), followVariable+"="+dir), Peer: true,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Files: files,
	})
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = sys.Close(fd)
		}
	}
}
