package socket

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

// talker is a client made of the codec.
type talker struct {
	net.Conn
	encoder ws.Encoder
}

// upgrade does the handshake on a connection that has been used for a request before.
func upgrade(c net.Conn, deflate *ws.Deflate) (*talker, error) {
	r := ws.Request{Host: "proof", Target: "/echo", Deflate: deflate}
	if _, err := c.Write(r.Append(nil)); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	agreed, _, err := r.Check(ws.Answer{Status: answer.StatusCode, Field: answer.Header.Get})
	return &talker{c, ws.Encoder{Masks: ws.NewMasks([32]byte{}), Agreed: agreed, Least: 1}}, err
}

// say sends a message and waits for its echo.
func (c *talker) say(p []byte) error {
	if _, err := c.Write(c.encoder.AppendMessage(nil, ws.Text, p)); err != nil {
		return err
	}
	var d ws.Decoder
	d.Start(ws.NewRules(ws.Limits{}, true), c.encoder.Agreed)
	defer d.Discard()
	room, rest := make([]byte, 32<<10), []byte(nil)
	for {
		n, err := c.Read(room)
		if err != nil {
			return err
		}
		rest = append(rest, room[:n]...)
		opcode, got, used, err := d.Next(rest)
		switch {
		case err != nil:
			return err
		case opcode == ws.Text && bytes.Equal(got, p):
			return nil
		case opcode != ws.Continuation:
			return fmt.Errorf("%v of %d bytes comes back", opcode, len(got))
		}
		rest = rest[used:]
	}
}

// heap is how many bytes are in use, once what is not has been collected.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // what pools keep goes in the second round
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIdle weighs connections that wait: first as those of HTTP, then as WebSockets that have sent and received. The
// difference is what a WebSocket holds beyond the engine's slot.
func TestIdle(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector weighs more than a connection")
	}
	const count = 1500
	echoing := socket.New(echo{}, echoes)
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			address := start(t, driver, web.HandlerFunc(func(x *web.Exchange) {
				if string(x.Path()) == "/echo" {
					echoing.Serve(x)
					return
				}
				x.Reply([]byte("hello"))
			}))
			all := make([]net.Conn, count)
			for i := range all {
				all[i] = dial(t, address)
				defer all[i].Close()
				_ = all[i].SetDeadline(time.Time{})
				if err := get(all[i]); err != nil {
					t.Fatal(err)
				}
			}
			before := heap()
			p := bytes.Repeat([]byte("words that take more than a block "), 1000)
			for i, c := range all {
				w, err := upgrade(c, &ws.Deflate{})
				if err == nil {
					err = w.say(p[:100])
				}
				if err == nil { // the large one last: nothing of it may stay
					err = w.say(p)
				}
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
			}
			each := (heap() - before) / count
			t.Logf("a WebSocket that waits holds %d bytes more than a connection of HTTP that waits", each)
			// What is attached to a connection takes 16 bytes of the engine's, and comes by the thousand.
			if each > 240 {
				t.Errorf("a WebSocket that waits holds %d bytes", each)
			}
		})
	}
}

// get makes a request, and reads its answer.
func get(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: proof\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return err
}
