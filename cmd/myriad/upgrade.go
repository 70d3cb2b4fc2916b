package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/proc"
)

type upgradeCommand struct {
	Admin  string `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	Binary string `placeholder:"PATH" help:"The program to go on with; without it, the server's own as it is by now."`
	JSON   bool   `help:"Print JSON, as the API answers it."`
}

// Run has a running server go on in a new process.
func (k upgradeCommand) Run(c console) error {
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	query := url.Values{}
	if k.Binary != "" {
		path, err := filepath.Abs(k.Binary)
		if err != nil {
			return err
		}
		query.Set("binary", path)
	}
	var moved struct {
		app.Moved
		Workers    int                `json:"workers"` // above worker processes: how many serve now
		Supervisor control.Supervisor `json:"supervisor"`
	}
	text, err := client.Ask(context.Background(), "POST", "/v1/upgrade", query, &moved)
	if err != nil {
		return err
	}
	if k.JSON {
		_, err := c.out.Write(text)
		return err
	}
	if moved.Workers > 0 {
		who := "1 worker of the new program serves"
		if moved.Workers > 1 {
			who = fmt.Sprintf("%d workers of the new program serve", moved.Workers)
		}
		fmt.Fprintf(c.out, "%s now\n", who)
		return awaitSupervisor(c.out, client, &moved.Supervisor)
	}
	printMoved(c.out, &moved.Moved)
	return nil
}

// awaitSupervisor waits until the supervisor has gone on as the other program, and says so.
func awaitSupervisor(w io.Writer, client *control.Client, was *control.Supervisor) error {
	const pause = 50 * time.Millisecond // the supervisor waits for many things
	for now := *was; ; time.Sleep(pause) {
		switch {
		case now.Turn > was.Turn && now.Stays == "":
			_, err := fmt.Fprintf(w, "the supervisor, process %d, is the new program too: %s\n", now.PID, now.Version)
			return err
		case now.Coming == "":
			_, err := fmt.Fprintf(w, "the supervisor goes on as the program that it was: %s\n", now.Stays)
			return err
		}
		var all control.Workers
		_, err := client.Ask(context.Background(), "GET", "/v1/workers", nil, &all)
		switch {
		case err == nil:
			now = all.Supervisor
		case !lost(err):
			return err
		}
	}
}

// lost tells whether an answer has not come because the supervisor goes on as another program just now.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// printMoved says how a hand-over went.
func printMoved(w io.Writer, m *app.Moved) {
	fmt.Fprintf(w, "process %d serves now\n", m.PID)
	fmt.Fprintf(w, "moved %s in %.1f ms, each with a pause of %.1f ms (median), %.1f (p99), %.1f (longest)\n",
		connections(int64(m.Tally.Moved)), m.TookMS, m.PauseP50, m.PauseP99, m.PauseMost)
	for why, n := range m.Refusals {
		fmt.Fprintf(w, "%d came back: %s\n", n, why)
	}
	if m.Left > 0 {
		fmt.Fprintf(w, "%d end where they were, as at a stop\n", m.Left)
	}
}

// connections is a number of them for people.
func connections(n int64) string {
	if n == 1 {
		return "1 connection"
	}
	return strconv.FormatInt(n, 10) + " connections"
}

const (
	// followVariable tells a process that it is to take over from the one that has started it, and how many connections
	// that one has.
	followVariable = "MYRIAD_FOLLOW"
	// handoverName is the channel between the two.
	handoverName = "handover"
	// successorLimit is how long a successor may take until it serves.
	successorLimit = 30 * time.Second
)

// succession is what a process knows of those before and behind it.
type succession struct {
	// The predecessor; nil: there is none.
	before  *proc.Inherited
	channel *proc.Channel
	held    int64 // how many connections it had when it started this process

	adminLent int // the socket of a service manager for the admin API; 0: there is none

	server  *app.App
	service *service
	admin   *control.Server
	adminAt string
	log     *slog.Logger
	handed  chan struct{} // closed when a successor serves
}

// enter finds out whether this process follows another one.
func enter() (*succession, error) {
	s := &succession{handed: make(chan struct{})}
	held := os.Getenv(followVariable)
	if held == "" {
		return s, nil
	}
	if err := os.Unsetenv(followVariable); err != nil {
		return nil, err
	}
	var err error
	if s.held, err = strconv.ParseInt(held, 10, 32); err != nil || s.held < 0 {
		return nil, fmt.Errorf("%s=%q was written by another program", followVariable, held)
	}
	if s.before, err = proc.Adopt(); err != nil {
		return nil, err
	}
	fd, ok := s.before.File(handoverName)
	if !ok {
		return nil, errors.New("the process before has left no channel")
	}
	s.channel, err = proc.NewChannel(fd)
	return s, err
}

// fail tells the predecessor why this process does not serve, if it has not been told that it does.
func (s *succession) fail(err error) error {
	if s.before != nil && err != nil {
		_ = s.before.Fail(err)
	}
	return err
}

// inherit has a server take what the predecessor gives.
func (s *succession) inherit(plan *app.Plan, o *app.Options) error {
	o.Upgrade = s.upgrade
	s.adminAt, s.log = control.PlaceName(plan.Config.Admin), o.Log
	if s.before == nil {
		return nil
	}
	if plan.Config.Engine.Processes > 0 {
		return errors.New("engine.processes cannot change from 0 by an upgrade: start the server anew")
	}
	ctx, cancel := context.WithTimeout(context.Background(), successorLimit)
	defer cancel()
	heritage, err := app.Inherit(ctx, s.channel, plan, version, s.adminAt)
	o.Given, o.Admin, o.Awaits = heritage.Given, heritage.Admin, []int{0}
	if heritage.AdminLent {
		s.adminLent = heritage.Admin
	}
	serving := o.Ready
	o.Ready = func(a *app.App) {
		if serving != nil {
			serving(a)
		}
		go s.takeOver(a)
	}
	return err
}

// takeOver goes on with the connections of the predecessor, now that this process serves.
func (s *succession) takeOver(a *app.App) {
	defer s.channel.Close()
	if err := a.Adopt([]int{0}); err != nil {
		_ = s.before.Fail(err)
		return
	}
	if err := s.before.Ready(); err != nil {
		s.log.Warn("the process before does not hear that this one serves", "cause", err)
	}
	if _, err := a.TakeOn(context.Background(), s.channel); err != nil {
		s.log.Warn("the process before has ended early", "cause", err)
	}
	s.admin.Own()
	s.service.adopt() // until now the other one may have had to go on
}

// upgrade has a new process take over, and this one end.
func (s *succession) upgrade(ctx context.Context, path string) (*app.Moved, error) {
	path, err := findProgram(path)
	if err != nil {
		return nil, err
	}
	env, files, free, err := s.service.bequest()
	if err != nil {
		return nil, err
	}
	defer free()
	held := followVariable + "=" + strconv.FormatInt(s.server.Status().Connections.Open, 10)
	env = append(append(os.Environ(), held), env...)
	start := func(channel int) (*proc.Child, error) {
		return proc.Start(proc.Command{
			Path: path, Args: os.Args[1:], Env: env, Peer: true, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			Files: append(files, proc.Named{Name: handoverName, FD: channel}),
		})
	}
	next := app.Successor{Start: start, Limit: successorLimit, AdminAt: s.adminAt}
	if s.adminAt != "" {
		next.Admin, next.AdminLent = s.admin.Copy, s.admin.Lent()
	}
	moved, err := s.server.Upgrade(ctx, next)
	if err != nil {
		return nil, err
	}
	if s.adminAt != "" { // else the new process has a place of its own, and this one is left to nobody
		s.admin.Bequeath()
	}
	s.service.leave(moved.PID)
	close(s.handed)
	return moved, nil
}

// signalled is upgrade for who has sent a signal. What comes of it is logged by the server.
func (s *succession) signalled() {
	if _, err := s.upgrade(context.Background(), ""); err != nil {
		s.log.Error("the upgrade that a signal has asked for has failed", "cause", err)
	}
}

// findProgram is the file to go on with: the one that is named, or what this process was started by, as it is now.
func findProgram(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("the program cannot be found again: %w", err)
	}
	return filepath.Abs(path)
}
