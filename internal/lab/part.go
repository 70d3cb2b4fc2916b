package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Part is a role of an experiment that no server of this project plays; it is run in a process of its own.
//
//	write ADDRESS BYTES PIECE BUFFER    writes so many bytes in such pieces, with such a send buffer (0: the system's)
//	send ADDRESS FILE HOW               sends a file, in one of the ways of Ways
//
//	drain ADDRESS                       reads what others send
//	users JSON                          asks as the users of a crew do
//	echo ADDRESS                        sends back what comes, by TCP and by UDP
//	upstream ADDRESS IDLE PAUSE         answers HTTP after a pause, and closes connections after so much idle time, in ms
//	forget ADDRESS TARGET IDLE MANNER   passes connections on, and forgets them; see forget
//
// Those that send and ask print what came of it as JSON; the others serve until a signal.
func Part(arguments []string, out io.Writer) error {
	if len(arguments) == 0 {
		return errors.New("no part is named")
	}
	var d any
	var err error
	switch a := arguments[1:]; {
	case arguments[0] == "write" && len(a) == 4:
		var n [3]int
		for i := range n {
			if n[i], err = strconv.Atoi(a[1+i]); err != nil {
				return err
			}
		}
		if n[1] < 1 {
			return errors.New("a piece must have a byte or more")
		}
		d, err = writePieces(a[0], n[0], n[1], n[2])
	case arguments[0] == "send" && len(a) == 3:
		d, err = sendFile(a[0], a[1], a[2])
	case arguments[0] == "drain" && len(a) == 1:
		return drain(a[0])
	case arguments[0] == "echo" && len(a) == 1:
		return echo(a[0])
	case arguments[0] == "users" && len(a) == 1:
		d, err = playUsers(a[0])
	case arguments[0] == "upstream" && len(a) == 3:
		return serveIdle(a[0], a[1], a[2])
	case arguments[0] == "forget" && len(a) == 4:
		return forget(a[0], a[1], a[2], a[3])
	default:
		err = fmt.Errorf("there is no part %q with %d arguments", arguments[0], len(a))
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(d)
}

// sent is what came of sending.
type sent struct {
	Bytes   int64         `json:"bytes"`
	Took    time.Duration `json:"took_nanoseconds"` // until the other side had everything
	CPU     time.Duration `json:"cpu_nanoseconds"`
	Calls   int64         `json:"calls"`  // counted here
	Writes  int64         `json:"writes"` // counted by the kernel: write(2) and what it accounts as such
	Notices int           `json:"notices"`
	Copied  int           `json:"copied"` // of the notices
}

// outlet is a connection whose other side reads everything and closes when it has seen the end.
type outlet struct {
	connection *net.TCPConn
	file       *os.File
	fd         int
	began      time.Time
	before     usage
}

func openOutlet(address string, buffer int) (*outlet, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	o := &outlet{connection: c.(*net.TCPConn)}
	if buffer > 0 {
		if err := o.connection.SetWriteBuffer(buffer); err != nil {
			return nil, err
		}
	}
	if o.file, err = blocking(o.connection); err != nil {
		return nil, err
	}
	o.fd = int(o.file.Fd())
	if o.before, err = used(os.Getpid()); err != nil {
		return nil, err
	}
	o.began = time.Now()
	return o, nil
}

// blocking is a connection as a file that the runtime's poller does not know: it takes late notices of MSG_ZEROCOPY for
// an error. A file is told to the poller when it is made of a descriptor that does not block.
func blocking(c *net.TCPConn) (*os.File, error) {
	polled, err := c.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = polled.Close() }()
	fd := int(polled.Fd())
	if err := sys.SetBlocking(fd, true); err != nil {
		return nil, err
	}
	again, err := sys.Duplicate(fd)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), "connection"), nil
}

// finish waits until the other side has everything.
func (o *outlet) finish(d *sent) error {
	if err := o.connection.CloseWrite(); err != nil {
		return err
	}
	after, err := used(os.Getpid()) // before the read below: it is none of the sending
	if err != nil {
		return err
	}
	var one [1]byte
	if _, err := o.file.Read(one[:]); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the other side did not end in order: %w", err)
	}
	d.Took = time.Since(o.began)
	d.CPU, d.Writes = after.time-o.before.time, after.writes-o.before.writes
	return errors.Join(o.file.Close(), o.connection.Close())
}

func writePieces(address string, bytes, piece, buffer int) (*sent, error) {
	o, err := openOutlet(address, buffer)
	if err != nil {
		return nil, err
	}
	d, content := &sent{}, make([]byte, piece)
	for d.Bytes < int64(bytes) {
		n, err := o.file.Write(content[:min(piece, bytes-int(d.Bytes))])
		if err != nil {
			return nil, err
		}
		d.Bytes += int64(n)
		d.Calls++
	}
	err = o.finish(d)
	return d, err
}

// Ways are how a file may be sent.
func Ways() []string {
	return []string{"read and write", "mmap and write", "sendfile", "splice", "MSG_ZEROCOPY"}
}

const sendPiece = 1 << 20

func sendFile(address, name, way string) (*sent, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	send := map[string]func(*outlet, *os.File, int64, *sent) error{
		"read and write": sendByRead, "mmap and write": sendByMap, "sendfile": sendBySendFile, "splice": sendBySplice,
		"MSG_ZEROCOPY": sendByZeroCopy,
	}[way]
	if send == nil {
		return nil, fmt.Errorf("there is no way %q; there are %q", way, Ways())
	}
	o, err := openOutlet(address, 0)
	if err != nil {
		return nil, err
	}
	d := &sent{}
	if err := send(o, f, info.Size(), d); err != nil {
		return nil, fmt.Errorf("%s: %w", way, err)
	}
	if d.Bytes != info.Size() {
		return nil, fmt.Errorf("%s: %d of %d bytes were sent", way, d.Bytes, info.Size())
	}
	err = o.finish(d)
	return d, err
}

// sendPieceSmall is the buffer of a copy by hand: what the text calls the fast one.
const sendPieceSmall = 64 << 10

func sendByRead(o *outlet, f *os.File, _ int64, d *sent) error {
	buffer := make([]byte, sendPieceSmall)
	for {
		n, err := f.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := o.file.Write(buffer[:n]); err != nil {
			return err
		}
		d.Bytes += int64(n)
		d.Calls += 2
	}
}

func sendByMap(o *outlet, f *os.File, size int64, d *sent) error {
	content, err := sys.MapFile(int(f.Fd()), int(size))
	if err != nil {
		return err
	}
	defer func() { _ = sys.Unmap(content) }()
	for d.Bytes < size {
		n, err := o.file.Write(content[d.Bytes:min(size, d.Bytes+sendPiece)])
		if err != nil {
			return err
		}
		d.Bytes += int64(n)
		d.Calls++
	}
	return nil
}

func sendBySendFile(o *outlet, f *os.File, size int64, d *sent) error {
	from := int(f.Fd())
	for d.Bytes < size {
		n, err := sys.SendFile(o.fd, from, d.Bytes, sendPiece)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		d.Bytes += int64(n)
		d.Calls++
	}
	return nil
}

func sendBySplice(o *outlet, f *os.File, _ int64, d *sent) error {
	read, write, err := sys.RoomyPipe()
	if err != nil {
		return err
	}
	defer func() { _, _ = sys.Close(read), sys.Close(write) }()
	for {
		n, err := sys.SpliceWait(write, int(f.Fd()), sendPiece)
		d.Calls++
		if err != nil || n == 0 {
			return err
		}
		for n > 0 {
			m, err := sys.SpliceWait(o.fd, read, n)
			if err != nil {
				return err
			}
			n -= m
			d.Bytes += int64(m)
			d.Calls++
		}
	}
}

func sendByZeroCopy(o *outlet, f *os.File, size int64, d *sent) error {
	content, err := sys.MapFile(int(f.Fd()), int(size))
	if err != nil {
		return err
	}
	defer func() { _ = sys.Unmap(content) }()
	if err := sys.ZeroCopy(o.fd); err != nil {
		return err
	}
	notices := func() error {
		calls, copied, err := sys.ZeroCopyNotices(o.fd)
		d.Notices, d.Copied = d.Notices+calls, d.Copied+copied
		return err
	}
	for d.Bytes < size {
		n, err := sys.SendZeroCopy(o.fd, content[d.Bytes:min(size, d.Bytes+sendPiece)])
		if err != nil && err != syscall.ENOBUFS {
			return err
		}
		d.Calls++
		if err == nil {
			d.Bytes += int64(n)
		}
		if err := notices(); err != nil {
			return err
		}
	}
	return nil
}
