package proof

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/config"
)

// TestDatagrams asks a server of datagrams through the proxy: each client gets its own answers.
func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("re: "), buffer[:n]...), from)
		}
	})
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	p := startStream(t, config.StreamUDP, []string{server.LocalAddr().String()}, []string{"udp://127.0.0.1:0"})
	address := strings.TrimPrefix(p.URLs()[0], "udp:")
	address = strings.TrimPrefix(address, "//")
	var running sync.WaitGroup
	for number := range 20 {
		running.Go(func() {
			if err := converse(address, number, 200); err != nil {
				t.Errorf("client %d: %v", number, err)
			}
		})
	}
	running.Wait()
}

// converse sends datagrams one by one and wants the answer to each.
func converse(address string, number, times int) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	buffer := make([]byte, 64<<10)
	for n := range times {
		question := strings.Repeat(fmt.Sprintf("%d/%d ", number, n), 1+n)
		if _, err := io.WriteString(c, question); err != nil {
			return err
		}
		got, err := c.Read(buffer)
		if err != nil {
			return fmt.Errorf("question %d: %w", n, err)
		}
		if string(buffer[:got]) != "re: "+question {
			return fmt.Errorf("question %d: another answer: %.60q", n, buffer[:got])
		}
	}
	return nil
}
