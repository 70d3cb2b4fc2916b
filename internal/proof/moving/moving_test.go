package moving

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/epoll"
	"github.com/myriad-server/myriad/driver/uring"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/stream"
)

// clients is how many there are of each kind, and rounds how often all of them are moved. bulkPieces of 32 KiB are more
// than what it takes for a direction to be left to the kernel.
const clients, rounds, bulkPieces = 4, 4, 16

// client is a connection that is used until it is told to end.
type client struct {
	net.Conn
	in   *bufio.Reader
	two  *pair
	seed uint64
	sent int // bytes, behind the handshake

	said  int           // under pair.mu: how often what it said has come back, or many times when it is over
	moved chan struct{} // the connections have moved once more
}

// kinds are what clients say. Each returns when it is over, and what came back was right until then.
var kinds = map[string]struct {
	listener int
	talk     func(c *client) error
}{
	"requests":   {webListener, (*client).requests},
	"heads":      {webListener, (*client).heads},
	"WebSockets": {webListener, (*client).messages},
	"tunnels":    {webListener, (*client).tunnel},
	"streams":    {streamListener, (*client).exchange},
	"bulk":       {streamListener, (*client).bulk},
}

// ended reports that it is time to end.
func (c *client) ended() bool {
	select {
	case <-c.two.over:
		return true
	default:
		return false
	}
}

// came counts what was said and has come back.
func (c *client) came(n int) {
	c.two.mu.Lock()
	defer c.two.mu.Unlock()
	c.said += n
	c.two.heard.Broadcast()
}

// requests asks, and heads does so in two pieces, of which the second follows when the connection has moved.
func (c *client) requests() error { return c.ask(false) }
func (c *client) heads() error    { return c.ask(true) }

func (c *client) ask(halves bool) error {
	for n := 0; !c.ended(); n++ {
		want := fmt.Sprint("n=", n)
		head := "GET /hello?" + want + " HTTP/1.1\r\nHost: moving\r\n\r\n"
		if halves && n > 0 {
			if _, err := io.WriteString(c, head[:20]); err != nil {
				return err
			}
			head = head[20:]
			select {
			case <-c.moved:
			case <-c.two.over:
			}
		}
		if _, err := io.WriteString(c, head); err != nil {
			return err
		}
		answer, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil || string(got) != want || answer.StatusCode != 200 {
			return fmt.Errorf("request %d is answered with %d, %q, %v", n, answer.StatusCode, got, err)
		}
		c.came(1)
	}
	return nil
}

// messages sends messages whose compression refers to those before, and counts what comes back.
func (c *client) messages() error {
	r := ws.Request{Host: "moving", Target: "/ws", Deflate: &ws.Deflate{Keep: true}}
	if _, err := c.Write(r.Append(nil)); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if _, _, err := r.Check(ws.Answer{Status: answer.StatusCode, Field: answer.Header.Get}); err != nil {
		return err
	}
	var d ws.Decoder
	d.Start(ws.NewRules(ws.Limits{}, true), ws.Extension{On: true, Bits: ws.WindowBits})
	defer d.Discard()
	deflater := newDeflater()
	e := ws.Encoder{Masks: ws.NewMasks([32]byte{byte(c.seed)})}
	text := "a message that resembles the one before it, number "
	for n := 0; !c.ended(); n++ {
		want := fmt.Sprint(text, n)
		h := ws.Header{Opcode: ws.Text, Final: true, Deflated: true}
		if _, err := c.Write(e.AppendFrame(nil, h, deflater.message(want))); err != nil {
			return err
		}
		got, err := c.message(&d)
		if err != nil || got != string(rune('a'+n%256%26))+want {
			return fmt.Errorf("message %d comes back as %q, %v", n, got, err)
		}
		c.came(1)
	}
	return nil
}

// message reads one.
func (c *client) message(d *ws.Decoder) (string, error) {
	for {
		if _, err := c.in.Peek(1); err != nil {
			return "", err
		}
		rest, _ := c.in.Peek(c.in.Buffered())
		opcode, payload, used, err := d.Next(rest)
		text := string(payload)
		if _, discarded := c.in.Discard(used); err != nil || discarded != nil {
			return "", errors.Join(err, discarded)
		}
		if opcode == ws.Text {
			return text, nil
		}
		if used == 0 {
			return "", errors.New("a frame in pieces")
		}
	}
}

// tunnel is exchange behind an upgrade.
func (c *client) tunnel() error {
	_, err := io.WriteString(c, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the upgrade is answered with %v, %w", answer, err)
	}
	return c.exchange()
}

// exchange sends pieces and waits for each to come back; then it ends its side, and waits for the end of the other.
func (c *client) exchange() error {
	random := rand.New(rand.NewPCG(c.seed, 0))
	for !c.ended() {
		piece := make([]byte, 1+random.IntN(1000))
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
		if _, err := c.Write(piece); err != nil {
			return err
		}
		c.sent += len(piece)
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(c.in, got); err != nil || !bytes.Equal(got, piece) {
			return fmt.Errorf("a piece of %d bytes comes back otherwise: %w", len(piece), err)
		}
		c.came(1)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%d bytes and %w in the place of an end", n, err)
	}
	return nil
}

// bulk sends as fast as it goes, so that directions are left to the kernel, and compares what comes back.
func (c *client) bulk() error {
	wrote := make(chan error, 1)
	go func() {
		random, piece := rand.NewChaCha8([32]byte{byte(c.seed)}), make([]byte, 32<<10)
		for !c.ended() {
			_, _ = random.Read(piece) // it cannot fail
			if _, err := c.Write(piece); err != nil {
				wrote <- err
				return
			}
			c.sent += len(piece)
		}
		wrote <- c.Conn.(*net.TCPConn).CloseWrite()
	}()
	random, want, got := rand.NewChaCha8([32]byte{byte(c.seed)}), make([]byte, 32<<10), make([]byte, 32<<10)
	for n := 0; ; n++ {
		_, _ = random.Read(want)
		switch _, err := io.ReadFull(c.in, got); {
		case errors.Is(err, io.EOF):
			return <-wrote
		case err != nil:
			return err
		case !bytes.Equal(got, want):
			return fmt.Errorf("piece %d comes back otherwise", n)
		}
		if n%bulkPieces == 0 {
			c.came(1)
		}
	}
}

// TestMoving moves connections of all kinds to and fro while they are used. Nothing is lost, doubled or cut, and the
// books of the two processes add up to those of one.
func TestMoving(t *testing.T) {
	for _, test := range []struct {
		name    string
		factory driver.Factory
		direct  bool
	}{{"epoll", epoll.Factory, false}, {"uring", uring.Factory, false}, {"uring direct", uring.Factory, true}} {
		t.Run(test.name, func(t *testing.T) {
			if s := test.factory.Probe(); !s.OK {
				t.Skipf("the driver does not work here: %s; %s", s.Why, s.Fix)
			}
			streams, upgrades := listenEcho(t, false), listenEcho(t, true)
			two := &pair{t: t, over: make(chan struct{})}
			two.heard.L = &two.mu
			for i := range two.all {
				two.all[i] = start(t, test.factory, test.direct, streams, upgrades)
			}
			move(t, two)
			two.all[0].stop()
			two.all[1].stop()
			two.check()
		})
	}
}

// move begins the clients, moves them, and waits for them.
func move(t *testing.T, two *pair) {
	end := sync.OnceFunc(func() { close(two.over) })
	defer end()
	var all []*client
	results := make(chan error, len(kinds)*clients)
	for name, kind := range kinds {
		for i := range clients {
			n, err := net.Dial("tcp", two.all[0].addresses[kind.listener].String())
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			_ = n.SetDeadline(time.Now().Add(4 * patience))
			c := &client{Conn: n, in: bufio.NewReader(n), two: two, seed: uint64(i), moved: make(chan struct{}, 1)}
			all = append(all, c)
			go func() {
				err := kind.talk(c)
				if err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
				c.came(math.MaxInt32)
				results <- err
			}()
		}
	}
	before := make([]int, len(all))
	for round := range rounds {
		two.hear(all, before)
		two.depart(round%2, len(all))
		two.mu.Lock()
		for i, c := range all {
			before[i] = c.said
		}
		two.mu.Unlock()
		for _, c := range all {
			select {
			case c.moved <- struct{}{}:
			default:
			}
		}
	}
	two.hear(all, before)
	end()
	for range all {
		if err := await(t, results, "a client's end"); err != nil {
			t.Error(err)
		}
	}
	for _, c := range all {
		if c.RemoteAddr().String() == two.all[0].addresses[streamListener].String() {
			two.sent += uint64(c.sent)
		}
	}
}

// hear waits until something that each client has said since then has come back.
func (two *pair) hear(all []*client, since []int) {
	late := false
	defer time.AfterFunc(patience, func() {
		two.mu.Lock()
		defer two.mu.Unlock()
		late = true
		two.heard.Broadcast()
	}).Stop()
	two.mu.Lock()
	defer two.mu.Unlock()
	for i, c := range all {
		for c.said <= since[i] && c.said < math.MaxInt32 {
			if late {
				two.t.Fatal("what a client has said does not come back")
			}
			two.heard.Wait()
		}
	}
}

// check compares the books.
func (two *pair) check() {
	t := two.t
	var sum stream.Counts
	var received, back uint64
	var tunnels, records int
	for _, p := range two.all {
		for i, n := range p.streams.Counts() {
			sum[i] += n
		}
		for _, r := range p.records {
			received, back = received+r.Received, back+r.Sent
		}
		records, tunnels = records+len(p.records), tunnels+len(p.ended)
		if n := p.leased(); n != 0 {
			t.Errorf("%d connections to servers are counted", n)
		}
	}
	const sessions = 2 * clients
	if sum[stream.Sessions] != sessions || sum[stream.ClientEnds] != sessions || sum[stream.Open] != 0 ||
		sum[stream.MovedIn] != rounds*sessions || sum[stream.MovedOut] != rounds*sessions {
		t.Errorf("together they counted %v", sum)
	}
	if records != sessions || received != two.sent || back != two.sent || tunnels != clients {
		t.Errorf("%d records of %d bytes and %d back, %d sent; %d of tunnels", records, received, back, two.sent, tunnels)
	}
}
