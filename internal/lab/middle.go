package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// serveIdle is the part of an upstream that takes some milliseconds for an answer, and closes connections which were
// idle for so many milliseconds.
func serveIdle(address, idle, pause string) error {
	n, err := strconv.Atoi(idle)
	if err != nil {
		return err
	}
	takes, err := strconv.Atoi(pause)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: address, IdleTimeout: time.Duration(n) * time.Millisecond, ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(time.Duration(takes) * time.Millisecond)
			_, _ = io.WriteString(w, hello)
		}),
	}
	return server.ListenAndServe()
}

// forget is the part of a box between two hosts that keeps a table of the connections through it, and drops those that
// were silent for so many milliseconds without telling either side. What comes on one afterwards is answered by a reset
// or, if the box is silent, by nothing.
func forget(address, target, idle, manner string) error {
	n, err := strconv.Atoi(idle)
	if err != nil {
		return err
	}
	if manner != "reset" && manner != "silent" {
		return fmt.Errorf("a box is reset or silent, and not %q", manner)
	}
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			far, err := net.Dial("tcp", target)
			if err != nil {
				_ = near.Close()
				return
			}
			b := &box{idle: time.Duration(n) * time.Millisecond, silent: manner == "silent"}
			b.heard.Store(time.Now().UnixNano())
			go b.pass(near, far)
			b.pass(far, near)
		}()
	}
}

// box is one connection through the box.
type box struct {
	idle   time.Duration
	silent bool
	heard  atomic.Int64
	lost   atomic.Bool
}

// pass moves bytes one way until the end, or until the connection is forgotten. An end is passed on only while it is
// known.
func (b *box) pass(from, to net.Conn) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if time.Since(time.Unix(0, b.heard.Load())) > b.idle {
			b.lost.Store(true)
		}
		if b.lost.Load() && n > 0 && !b.silent {
			for _, side := range []net.Conn{from, to} {
				_ = side.(*net.TCPConn).SetLinger(0)
				_ = side.Close()
			}
			return
		}
		if b.lost.Load() && err == nil {
			continue
		}
		if n > 0 {
			b.heard.Store(time.Now().UnixNano())
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !b.lost.Load() && errors.Is(err, io.EOF) {
				_ = to.(*net.TCPConn).CloseWrite()
			}
			return
		}
	}
}

// echo is the part of a server that sends back what comes, by TCP and by UDP at the same port.
func echo(address string) error {
	packets, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(buffer[:n], from) // one that is lost is the client's to notice
		}
	}()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = c.Close() }()
			buffer := make([]byte, 64<<10)
			for {
				n, err := c.Read(buffer)
				if err != nil {
					return
				}
				if _, err := c.Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
}
