package main

import (
	"bufio"
	"context"
	crypto "crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/myriad-server/myriad/proto/ws"
)

// line is somebody's connection to a room, from the outside.
type line struct {
	net.Conn
	decoder ws.Decoder
	writing sync.Mutex
	encoder ws.Encoder
	in      []byte
	used    int // of in
	room    []byte
}

// heard is what comes over a line: a message, or trouble with one of ours.
type heard struct {
	said
	Error string `json:"error"`
}

// dialer connects to an address.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// enterRoom connects to a server of the chat, as somebody who is new or, with a query, as one who comes back.
func enterRoom(ctx context.Context, dial dialer, address, room, name, query string) (*line, error) {
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l, err := upgrade(ctx, c, ws.Request{Host: address, Target: "/rooms/" + room + "?name=" + name + query})
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return l, nil
}

func upgrade(ctx context.Context, c net.Conn, r ws.Request) (*line, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if _, err := c.Write(r.Append(nil)); err != nil {
		return nil, err
	}
	const headBytes = 1 << 10
	reader := bufio.NewReaderSize(c, headBytes)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close() // there is none
	agreed, _, err := r.Check(ws.Answer{Status: answer.StatusCode, Field: answer.Header.Get})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, answer.Status)
	}
	var seed [32]byte
	_, _ = crypto.Read(seed[:]) // it ends the program rather than to fail
	l := &line{Conn: c, encoder: ws.Encoder{Masks: ws.NewMasks(seed)}}
	l.decoder.Start(ws.NewRules(ws.Limits{}, true), agreed)
	rest, _ := reader.Peek(reader.Buffered()) // what is there can be looked at
	l.in = append(l.in, rest...)
	return l, nil
}

func (l *line) say(s saying) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err = l.Write(l.encoder.AppendMessage(nil, ws.Text, text))
	return err
}

// hear waits for what comes next.
func (l *line) hear() (h heard, err error) {
	const readBytes = 4 << 10
	for {
		opcode, payload, used, err := l.decoder.Next(l.in[l.used:])
		if err != nil {
			return h, err
		}
		l.used += used
		switch {
		case opcode == ws.Text:
			err = json.Unmarshal(payload, &h)
			return h, err
		case opcode == ws.Close:
			return h, net.ErrClosed
		case opcode == ws.Ping:
			l.writing.Lock()
			_, err := l.Write(l.encoder.AppendControl(nil, ws.Pong, payload))
			l.writing.Unlock()
			if err != nil {
				return h, err
			}
		}
		if used > 0 {
			continue
		}
		if l.room == nil {
			l.room = make([]byte, readBytes)
		}
		l.in = append(l.in[:0], l.in[l.used:]...)
		l.used = 0
		n, err := l.Read(l.room)
		if err != nil {
			return h, err
		}
		l.in = append(l.in, l.room[:n]...)
	}
}
