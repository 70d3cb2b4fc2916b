package proc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// pair are both ends of a channel, in one process.
func pair(t *testing.T) (a, b *Channel) {
	t.Helper()
	a, other, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = NewChannel(other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	return a, b
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// many are copies of one descriptor.
func many(t *testing.T, n int) []int {
	t.Helper()
	read, _ := pipe(t)
	list := make([]int, n)
	for i := range list {
		fd, err := sys.Duplicate(int(read.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		list[i] = fd
	}
	t.Cleanup(func() { closeAll(list...) })
	return list
}

func TestMessages(t *testing.T) {
	leaksNothing(t)
	tests := map[string]Message{
		"empty":            {Kind: 1},
		"text":             {Kind: 2, Payload: []byte("hello")},
		"longest":          {Kind: 65535, Payload: bytes.Repeat([]byte("x"), MostPayloadBytes)},
		"one descriptor":   {Kind: 3, Descriptors: many(t, 1)},
		"most descriptors": {Kind: 4, Payload: []byte("all"), Descriptors: many(t, MostDescriptors)},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			if err := a.Send(within(t), m); err != nil {
				t.Fatal(err)
			}
			got, err := b.Receive(within(t))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Kind != m.Kind || !bytes.Equal(got.Payload, m.Payload) || len(got.Descriptors) != len(m.Descriptors) {
				t.Errorf("got kind %d, %d bytes, %d descriptors", got.Kind, len(got.Payload), len(got.Descriptors))
			}
			for _, fd := range got.Descriptors {
				flags, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
				if err != nil || !bytes.Contains(flags, []byte("02000000")) { // O_CLOEXEC
					t.Fatalf("descriptor %d is not close-on-exec: %v\n%s", fd, err, flags)
				}
			}
		})
	}
}

// TestMessagesToAChild sends to another process and back.
func TestMessagesToAChild(t *testing.T) {
	leaksNothing(t)
	child := launch(t, command("echo"))
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	sent := Message{Kind: 9, Payload: []byte("with"), Descriptors: many(t, 7)}
	if err := child.Control().Send(within(t), sent); err != nil {
		t.Fatal(err)
	}
	m, err := child.Control().Receive(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Kind != 9 || string(m.Payload) != "with 7" || len(m.Descriptors) != 7 {
		t.Errorf("got kind %d, %q and %d descriptors", m.Kind, m.Payload, len(m.Descriptors))
	}
	if err := child.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := child.Control().Receive(within(t)); !errors.Is(err, io.EOF) {
		t.Errorf("after its death: %v, want the end", err)
	}
}

func TestMessagesThatAreTooLong(t *testing.T) {
	a, _ := pair(t)
	for name, m := range map[string]Message{
		"payload":     {Payload: make([]byte, MostPayloadBytes+1)},
		"descriptors": {Descriptors: make([]int, MostDescriptors+1)},
	} {
		if err := a.Send(within(t), m); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v, want %v", name, err, ErrTooLong)
		}
	}
}

// TestHostileFrames sends what is no message, each with a descriptor, which must be closed, and then one that is.
func TestHostileFrames(t *testing.T) {
	leaksNothing(t)
	frame := func(change func(b []byte)) []byte {
		b := make([]byte, frameBytes+2)
		binary.NativeEndian.PutUint32(b, frameMagic)
		b[4] = frameVersion
		binary.NativeEndian.PutUint32(b[8:], 2)
		binary.NativeEndian.PutUint16(b[12:], 1)
		change(b)
		return b
	}
	tests := map[string]struct {
		in []byte
		is error // nil: a VersionError
	}{
		"short":             {[]byte("x"), ErrFrame},
		"no magic":          {frame(func(b []byte) { b[0]++ }), ErrFrame},
		"longer":            {frame(func(b []byte) { b[8] = 3 }), ErrFrame},
		"shorter":           {frame(func(b []byte) { b[8] = 1 }), ErrFrame},
		"4 GiB":             {frame(func(b []byte) { binary.NativeEndian.PutUint32(b[8:], 1<<32-1) }), ErrFrame},
		"cut":               {append(frame(func([]byte) {}), make([]byte, MostPayloadBytes)...), ErrFrame},
		"fewer descriptors": {frame(func(b []byte) { b[12] = 0 }), ErrFrame},
		"more descriptors":  {frame(func(b []byte) { b[12] = 2 }), ErrDescriptorsLost},
		"another version":   {frame(func(b []byte) { b[4] = 2 }), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			passed := many(t, 1)
			before := openDescriptors(t)
			held := a.raw.Control(func(fd uintptr) {
				if err := sys.SendDescriptor(int(fd), test.in, passed...); err != nil {
					t.Error(err)
				}
			})
			if held != nil {
				t.Fatal(held)
			}
			_, err := b.Receive(within(t))
			var version *VersionError
			if test.is == nil && (!errors.As(err, &version) || version.Theirs != 2 || version.Ours != 1) ||
				test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %v", err, test.is)
			}
			if after := openDescriptors(t); after != before {
				t.Errorf("%d descriptors were open before and %d are after", before, after)
			}
			if err := a.Send(within(t), Message{Kind: 5}); err != nil {
				t.Fatal(err)
			}
			if m, err := b.Receive(within(t)); err != nil || m.Kind != 5 {
				t.Errorf("the next message: %v, %v", m, err)
			}
		})
	}
}

// TestDescriptorsLost receives more descriptors than the process may have.
func TestDescriptorsLost(t *testing.T) {
	leaksNothing(t)
	a, b := pair(t)
	passed := many(t, 20)
	before := openDescriptors(t)
	if err := a.Send(within(t), Message{Descriptors: passed}); err != nil {
		t.Fatal(err)
	}
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	// The limit is of numbers, and those of the test's own are below it without a gap but for a few.
	if err := sys.SetLimit(sys.LimitDescriptors, uint64(passed[len(passed)-1]+3), hard); err != nil {
		t.Fatal(err)
	}
	_, err = b.Receive(within(t))
	if err := sys.SetLimit(sys.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrDescriptorsLost) {
		t.Errorf("got %v, want %v", err, ErrDescriptorsLost)
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors were open before and %d are after", before, after)
	}
}

func TestChannelEnds(t *testing.T) {
	leaksNothing(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		is   error
		does func(own, other *Channel)
	}{
		"deadline":       {soon, context.DeadlineExceeded, func(_, _ *Channel) {}},
		"ended before":   {ended, context.Canceled, func(_, _ *Channel) {}},
		"other side":     {within(t), io.EOF, func(_, other *Channel) { other.Close() }},
		"own side":       {within(t), os.ErrClosed, func(own, _ *Channel) { own.Close() }},
		"own side later": {within(t), os.ErrClosed, func(own, _ *Channel) { go own.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			test.does(b, a)
			if _, err := b.Receive(test.ctx); !errors.Is(err, test.is) {
				t.Errorf("got %v, want %v", err, test.is)
			}
		})
	}
	t.Run("cancelled while it waits, and used again", func(t *testing.T) {
		a, b := pair(t)
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		if _, err := b.Receive(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := a.Send(within(t), Message{Kind: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Receive(within(t)); err != nil {
			t.Errorf("the next message: %v", err)
		}
	})
	t.Run("full", func(t *testing.T) {
		a, b := pair(t)
		soon, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		var err error
		sent := 0
		for ; err == nil; sent++ {
			err = a.Send(soon, Message{Payload: []byte(strings.Repeat("x", 10_000))})
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d messages: %v", sent, err)
		}
		for range sent - 1 {
			if _, err := b.Receive(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
		if err := a.Send(within(t), Message{}); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("after the other side has gone: %v", err)
		}
	})
}

// FuzzFrame takes apart what a process that has gone wrong might send: a message that comes of it is within the limits
// and says what it says.
func FuzzFrame(f *testing.F) {
	whole := make([]byte, frameBytes+3)
	binary.NativeEndian.PutUint32(whole, frameMagic)
	whole[4], whole[8] = frameVersion, 3
	f.Add(whole, uint8(0), false, false)
	f.Add(whole[:frameBytes], uint8(1), true, false)
	f.Add([]byte{}, uint8(1), false, true)
	f.Fuzz(func(t *testing.T, in []byte, descriptors uint8, cut, lost bool) {
		got := sys.Passed{Bytes: len(in), Descriptors: make([]int, descriptors), Cut: cut, Lost: lost}
		m, err := decode(in, got)
		if err != nil {
			return
		}
		if cut || lost || len(m.Payload) != len(in)-frameBytes || !bytes.Equal(m.Payload, in[frameBytes:]) ||
			len(m.Descriptors) != int(descriptors) {
			t.Errorf("%d bytes with %d descriptors were taken for %+v", len(in), descriptors, m)
		}
	})
}

// BenchmarkDescriptors hands over a message full of descriptors and closes them at the other end.
func BenchmarkDescriptors(b *testing.B) {
	near, far, err := NewPair()
	if err != nil {
		b.Fatal(err)
	}
	other, err := NewChannel(far)
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	defer other.Close()
	m := Message{Kind: 64, Descriptors: make([]int, MostDescriptors)} // all of them the standard input
	ctx := context.Background()
	for b.Loop() {
		if err := near.Send(ctx, m); err != nil {
			b.Fatal(err)
		}
		got, err := other.Receive(ctx)
		if err != nil {
			b.Fatal(err)
		}
		got.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MostDescriptors, "ns/descriptor")
}
