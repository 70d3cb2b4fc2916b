package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// myriad runs a subcommand against the fleet, and gives what it prints.
func (f *fleet) myriad(arguments ...string) string {
	f.t.Helper()
	var out, problems bytes.Buffer
	if code := run(arguments, console{&out, &problems}); code != 0 {
		f.t.Fatalf("myriad %s: exit code %d\n%s%s", strings.Join(arguments, " "), code, &out, &problems)
	}
	return out.String()
}

// prints runs a subcommand until what it prints matches.
func (f *fleet) prints(want string, arguments ...string) string {
	f.t.Helper()
	pattern, deadline := regexp.MustCompile(want), time.Now().Add(patience)
	for {
		text := f.myriad(arguments...)
		if pattern.MatchString(text) {
			return text
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("myriad %s prints\n%snot %q", strings.Join(arguments, " "), text, want)
		}
	}
}

// TestCommandsAboveWorkers asks the supervisor by the command line as one asks a single server, without flags.
func TestCommandsAboveWorkers(t *testing.T) {
	f := configured(t, "prefork", `listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: one}}]",
		"engine: {balance: round_robin}")
	var clients []*client
	for range 8 {
		c := f.connect()
		f.expect(c, "one")
		clients = append(clients, c)
	}
	f.prints(`(?s)\n1 .* serving +1 .*\n2 .* serving +1 .*running: 2 of 2 ready, process model prefork`, "workers")
	conns := f.prints(`8 shown of 8 selected of 8 open: 8 idle`, "conns")
	ids := regexp.MustCompile(`(?m)^([12]\.[0-9]+) `).FindAllStringSubmatch(conns, -1)
	if len(ids) != 8 {
		t.Fatalf("there are %d IDs in\n%s", len(ids), conns)
	}
	f.prints(`closed`, "conns", "close", ids[0][1])
	f.prints(`of 7 open`, "conns", "--sort", "age", "--limit", "3")
	f.prints(`(?i)requests`, "top", "--once")
	f.prints(`would touch 0 of 7`, "reload", "--dry-run")
	f.write(`listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: two}}]", "engine: {balance: round_robin}")
	f.prints(`routes: 1 changed`, "reload")
	f.answers("two")
	f.prints(`there are to be 3 workers`, "scale", "3")
	f.prints(`running: 3 of 3 ready`, "workers")
	pid, _ := f.pid(1)
	kill(t, pid)
	f.pid(4)
	f.prints(`(?m)^4 .* 1$`, "workers")
	f.prints(`3 workers of the new program serve now`, "upgrade")
	f.prints(`(?s)serving +2 .*running: 3 of 3 ready`, "workers")
	f.answers("two")
	for _, c := range clients {
		_ = c.Close()
	}
	f.prints(`workers drain`, "drain")
	f.ends(0)
}
