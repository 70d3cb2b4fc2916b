package servetest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

func sendBlocks(t *testing.T, s Suite) {
	const size, blocks = 8192, 3
	lent := make(chan int, 1)
	v := start(t, s, nil, func() script {
		pool, err := buf.NewPool(size, blocks, sys.Map)
		if err != nil {
			t.Fatal(err)
		}
		return script{
			received: func(c conn.Conn, in []byte) int {
				at := int64(0)
				for range blocks {
					b := pool.Take()
					// The block goes out in two pieces with something of the connection's own between them.
					fill(b.Bytes()[:size/2], at)
					middle := []byte{pattern(at + size/2)}
					fill(b.Bytes()[size/2:], at+size/2+1)
					b.Hold()
					c.Send(b, 0, size/2)
					c.Write(middle)
					c.Send(b, size/2, size)
					at += size + 1
				}
				return len(in)
			},
			flushed: func(conn.Conn) { lent <- pool.Lent() },
		}
	})
	c := v.dial()
	for range 3 {
		send(t, c, []byte("go"))
		if err := wantStream(c, 0, blocks*(size+1)); err != nil {
			t.Fatal(err)
		}
		if n := await(t, lent, "Flushed"); n != 0 {
			t.Errorf("%d blocks are still held when all is flushed", n)
		}
	}
	_ = c.Close()
	v.stop()
}

// heldFile is a conn.File that counts.
type heldFile struct {
	file  *os.File
	holds atomic.Int64
}

func (f *heldFile) Descriptor() int { return int(f.file.Fd()) }
func (f *heldFile) Hold()           { f.holds.Add(1) }
func (f *heldFile) Release()        { f.holds.Add(-1) }

// makeFile makes a file with the first size bytes of the stream.
func makeFile(t *testing.T, size int64) *heldFile {
	t.Helper()
	content := make([]byte, size)
	fill(content, 0)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &heldFile{file: file}
}

func sendFiles(t *testing.T, s Suite) {
	const size, before, after = 3<<20 + 123, 1000, 77
	f := makeFile(t, size)
	v := start(t, s, nil, same(script{received: func(c conn.Conn, in []byte) int {
		head, tail := make([]byte, before), make([]byte, after)
		fill(head, 0)
		fill(tail, size)
		c.Write(head)
		for _, piece := range [][2]int64{{before, 1}, {before + 1, 4096}, {before + 4097, size - before - 4097}} {
			f.Hold()
			c.SendFile(f, piece[0], piece[1])
		}
		c.Write(tail)
		if c.Queued() != size+after {
			t.Errorf("%d bytes are queued; want %d", c.Queued(), size+after)
		}
		return len(in)
	}}))
	c := v.dial()
	for range 2 {
		send(t, c, []byte("go"))
		if err := wantStream(c, 0, size+after); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	v.stop()
	if n := f.holds.Load(); n != 0 {
		t.Errorf("the file is held %d times more often than released", n)
	}
}

func fileShrinks(t *testing.T, s Suite) {
	const size = 1 << 20
	f := makeFile(t, size)
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			f.Hold()
			c.SendFile(f, 0, 2*size)
			return len(in)
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	send(t, c, []byte("go"))
	got, _ := io.ReadAll(c) // a reset is as good as an end: what counts is that no byte was made up
	if wrong := check(got, 0); wrong >= 0 || len(got) > size {
		t.Errorf("%d bytes came of a file of %d; the first wrong one is at %d", len(got), size, wrong)
	}
	if why := await(t, ends, "Closed"); why == nil {
		t.Error("the connection ended in order")
	}
	v.stop()
	if n := f.holds.Load(); n != 0 {
		t.Errorf("the file is held %d times more often than released", n)
	}
}

func outputLimit(t *testing.T, s Suite) {
	ends := make(chan error, 1)
	limit := s.Site.Limits.OutputBytes
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			piece := make([]byte, 1024)
			for n := int64(0); n < 2*limit && c.State() == conn.Open; n += int64(len(piece)) {
				c.Write(piece)
			}
			if c.Queued() > limit+int64(s.Site.Limits.BlockBytes) {
				t.Errorf("%d bytes are queued, the limit is %d", c.Queued(), limit)
			}
			return len(in)
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	send(t, c, []byte("go"))
	if why := await(t, ends, "Closed"); !errors.Is(why, conn.ErrOutputLimit) {
		t.Errorf("the connection ended with %v; want %v", why, conn.ErrOutputLimit)
	}
	v.stop()
}
