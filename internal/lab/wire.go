package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// A wire is two hosts with a link between them that is as slow as it is said to be.
type wire struct {
	near   space // who sends
	reader *process
}

const (
	wireNear = "10.201.3.1"
	wireFar  = "10.201.3.2:9000"
)

// stretch makes a wire of so many Mbit/s, with a reader at its far end. The kernel's token bucket filter makes the link
// slow, and lets no more wait than a card does.
func (s *Stand) stretch(ctx context.Context, megabits int) (w wire, err error) {
	var n [2]space
	for i := range n {
		if n[i], err = s.newSpace(ctx); err != nil {
			return w, err
		}
	}
	near, far := string(n[0]), string(n[1])
	for _, line := range []string{
		"ip link add name box netns " + near + " type veth peer name box netns " + far,
		"ip -n " + near + " address add " + wireNear + "/24 dev box",
		"ip -n " + far + " address add " + strings.TrimSuffix(wireFar, ":9000") + "/24 dev box",
		"ip -n " + near + " link set box up",
		"ip -n " + far + " link set box up",
		strings.Join(n[0].runs("tc", "qdisc", "add", "dev", "box", "root", "tbf", "rate", strconv.Itoa(megabits)+"mbit",
			"burst", "256kb", "limit", "4mb"), " "),
	} {
		words := strings.Fields(line)
		if err := invoke(ctx, words[0], words[1:]...); err != nil {
			return w, err
		}
	}
	w.near = n[0]
	w.reader, err = s.start(ctx, spec{
		name: "drain", address: wireFar, elsewhere: true, onLoad: true,
		command: n[1].runs(s.Program, "lab", "part", "drain", wireFar),
	})
	return w, err
}

// send runs a part that sends to the far end, to its end.
func (w wire) send(ctx context.Context, s *Stand, part string, arguments ...string) (d sent, err error) {
	command := append([]string{s.Program, "lab", "part", part, wireFar}, arguments...)
	said, err := s.finish(ctx, spec{name: "part", command: w.near.runs(command...)})
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(said), &d); err != nil {
		return d, fmt.Errorf("a part said %q: %w", said, err)
	}
	return d, nil
}

// drain is the part that reads connections to their ends, one after the other.
func drain(address string) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	buffer := make([]byte, 256<<10)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		// Hidden behind a struct, the connection cannot be asked to move the bytes without reading them.
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, buffer)
		if err != nil {
			_ = c.(*net.TCPConn).SetLinger(0) // the sender waits for an end in order, and is not to see one
		}
		_ = c.Close()
	}
}
