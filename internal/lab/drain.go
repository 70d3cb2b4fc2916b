package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// drained listens on loopback, and reads one connection to its end with a receive buffer of so many bytes (0: the
// system's). The channel gives how many bytes there were, -1 if it did not end in order.
func drained(buffer int) (address string, total <-chan int64, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	result := make(chan int64, 1)
	go func() {
		defer func() { _ = l.Close() }()
		c, err := l.Accept()
		if err != nil {
			result <- -1
			return
		}
		defer func() { _ = c.Close() }()
		tcp := c.(*net.TCPConn)
		if buffer > 0 {
			_ = tcp.SetReadBuffer(buffer)
		}
		// Hidden behind a struct, the connection cannot be asked to move the bytes without reading them.
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{tcp}, make([]byte, 256<<10))
		if err != nil {
			n = -1
		}
		result <- n
	}()
	return l.Addr().String(), result, nil
}

// part runs a part of an experiment on the processor of the servers, to its end, against a reader that it returns the
// count of.
func (s *Stand) part(ctx context.Context, buffer int, arguments func(address string) []string) (d sent, read int64,
	err error,
) {
	address, total, err := drained(buffer)
	if err != nil {
		return d, 0, err
	}
	command := append([]string{s.Program, "lab", "part"}, arguments(address)...)
	said, err := s.finish(ctx, spec{name: "part", command: command})
	if err != nil {
		return d, 0, err
	}
	if err := json.Unmarshal([]byte(said), &d); err != nil {
		return d, 0, fmt.Errorf("a part said %q: %w", said, err)
	}
	return d, <-total, nil
}
