package drivertest

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

func sendNothing(r *rig) {
	near, far := pair(r)
	if n := r.ok(driver.Op{Code: driver.Send, FD: near}); n != 0 {
		r.Fatalf("%d bytes of nothing", n)
	}
	if n := r.ok(driver.Op{Code: driver.Send, FD: near, Rest: [][]byte{nil, {}}}); n != 0 {
		r.Fatalf("%d bytes of empty pieces", n)
	}
	r.ok(driver.Op{Code: driver.Send, FD: near, Rest: [][]byte{nil, []byte("a"), nil, []byte("b")}})
	if got := r.read(far, 2, 2); string(got) != "ab" {
		r.Fatalf("%q", got)
	}
}

func sendSlowly(r *rig) {
	for _, connect := range []func(*rig) (int, int){pair, tcpPair} {
		near, far := connect(r)
		r.small(near)
		want := r.bytes(1 << 20)
		send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: want})
		r.silent(send)
		r.same("the far end", r.read(far, len(want), 16<<10), want)
		if c := r.finish(send); c.Err != nil || c.Result != len(want) {
			r.Fatalf("sent: %+v", c)
		}
	}
}

func sendPieces(r *rig) {
	for round := range 20 {
		near, far := pair(r)
		r.small(near)
		var want []byte
		pieces := make([][]byte, 1+r.random.IntN(driver.RestMax+1))
		for i := range pieces {
			if r.random.IntN(4) > 0 {
				pieces[i] = r.bytes(r.random.IntN(20000))
			}
			want = append(want, pieces[i]...)
		}
		send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: pieces[0], Rest: pieces[1:]})
		r.same("the far end", r.read(far, len(want), 512+r.random.IntN(16<<10)), want)
		if c := r.finish(send); c.Err != nil || c.Result != len(want) {
			r.Fatalf("round %d, sent: %+v of %d", round, c, len(want))
		}
		r.close(near)
		r.drop(far)
	}
}

// sendCorked wants the two sends of a connection in order; the kernel may hold the
// first one back until the second.
func sendCorked(r *rig) {
	near, far := tcpPair(r)
	r.ok(driver.Op{Code: driver.Send, FD: near, Buf: []byte("head"), Corked: true})
	r.ok(driver.Op{Code: driver.Send, FD: near, Buf: []byte("body")})
	if got := r.read(far, 8, 100); string(got) != "headbody" {
		r.Fatalf("%q", got)
	}
}

func sendBroken(r *rig) {
	near, far := pair(r)
	r.small(near)
	send := r.start(driver.Op{Code: driver.Send, FD: near, Buf: r.bytes(1 << 20)})
	r.silent(send)
	r.drop(far)
	c := r.finish(send)
	if c.Err != syscall.EPIPE && c.Err != syscall.ECONNRESET || c.Result <= 0 || c.Result >= 1<<20 {
		r.Fatalf("a send to a peer that left: %+v", c)
	}
	if c := r.do(driver.Op{Code: driver.Send, FD: near, Buf: []byte("x")}); c.Err == nil {
		r.Fatal("a send to nobody succeeds")
	}
}

// file is a temporary file with the bytes in it.
func (r *rig) file(content []byte) int {
	r.Helper()
	name := filepath.Join(r.TempDir(), "file")
	r.must(os.WriteFile(name, content, 0o600))
	return r.mine(sys.OpenRead(name))
}

// fileBytes is the sum of a flight's results so far.
func fileBytes(parts []*flight) (n int) {
	for _, f := range parts {
		n += f.total
	}
	return n
}

// sendFile sends until everything is taken: a completion may be partial, and then
// the caller goes on from there.
func (r *rig) sendFile(op driver.Op, work func() bool) {
	r.Helper()
	want := len(op.Buf) + op.Len
	parts := []*flight{r.start(op)}
	next := op
	r.until("the file is sent", func() bool {
		f := parts[len(parts)-1]
		if f.over && f.last.Err != nil {
			r.Fatalf("after %d of %d bytes: %v", fileBytes(parts), want, f.last.Err)
		}
		if taken := f.total; f.over && fileBytes(parts) < want {
			if taken == 0 {
				r.Fatal("a partial completion of nothing")
			}
			head := min(taken, len(next.Buf))
			next.Buf = next.Buf[head:]
			next.Off, next.Len = next.Off+int64(taken-head), next.Len-(taken-head)
			parts = append(parts, r.start(next))
		}
		return work() && fileBytes(parts) == want && parts[len(parts)-1].over
	})
}

// receiver collects at the far end, at most step bytes a turn.
func (r *rig) receiver(fd, n, step int) (got *[]byte, work func() bool) {
	got = new([]byte)
	room := make([]byte, step)
	return got, func() bool {
		k, err := sys.Recv(fd, room, 0)
		if err == nil {
			*got = append(*got, room[:k]...)
		} else if err != syscall.EAGAIN {
			r.Fatalf("the far end: %v", err)
		}
		return len(*got) == n
	}
}

func fileWhole(r *rig) {
	content := r.bytes(6 << 20)
	fd := r.file(content)
	for _, connect := range []func(*rig) (int, int){pair, tcpPair} {
		for _, part := range []struct{ head, off, size int }{
			{0, 0, len(content)}, {300, 0, len(content)}, {17, 4097, 123457}, {1 << 20, 5, 5}, {9, len(content), 0},
		} {
			near, far := connect(r)
			head := r.bytes(part.head)
			want := slices.Concat(head, content[part.off:part.off+part.size])
			got, work := r.receiver(far, len(want), 1<<20)
			r.sendFile(driver.Op{
				Code: driver.SendFile, FD: near, Buf: head, From: fd, Off: int64(part.off), Len: part.size,
			}, work)
			r.same("the far end", *got, want)
			r.close(near)
			r.drop(far)
		}
	}
}

// fileSlowly stops reading halfway: what was taken by then must have been reported.
func fileSlowly(r *rig) {
	content := r.bytes(1 << 20)
	fd := r.file(content)
	near, far := tcpPair(r)
	r.small(near)
	send := r.start(driver.Op{Code: driver.SendFile, FD: near, Buf: []byte("head"), From: fd, Len: len(content)})
	want := slices.Concat([]byte("head"), content)
	half := r.read(far, len(want)/2, 8<<10)
	r.until("progress is reported", func() bool { return send.total > 0 })
	if send.over {
		r.Skip("the driver completes partially; the case of whole files covers how that goes on")
	}
	rest := r.read(far, len(want)-len(half), 8<<10)
	r.same("the far end", slices.Concat(half, rest), want)
	if c := r.finish(send); c.Err != nil || send.total != len(want) {
		r.Fatalf("%d of %d bytes reported, the last: %+v", send.total, len(want), c)
	}
}

func fileEmpty(r *rig) {
	fd := r.file(nil)
	near, far := pair(r)
	if n := r.ok(driver.Op{Code: driver.SendFile, FD: near, From: fd}); n != 0 {
		r.Fatalf("%d bytes of nothing", n)
	}
	if n := r.ok(driver.Op{Code: driver.SendFile, FD: near, Buf: []byte("head"), From: fd}); n != 4 {
		r.Fatalf("%d bytes of 4", n)
	}
	if got := r.read(far, 4, 100); string(got) != "head" {
		r.Fatalf("%q", got)
	}
}

func fileShrunk(r *rig) {
	content := r.bytes(100_000)
	fd := r.file(content)
	near, far := pair(r)
	send := r.start(driver.Op{Code: driver.SendFile, FD: near, Buf: []byte("head"), From: fd, Len: 2 * len(content)})
	got, work := r.receiver(far, 4+len(content), 64<<10)
	r.until("what there is has come", work)
	if c := r.finish(send); c.Err != driver.ErrShrunk || send.total != 4+len(content) {
		r.Fatalf("%d bytes, then %+v", send.total, c)
	}
	r.same("the far end", *got, slices.Concat([]byte("head"), content))
}

func fileBroken(r *rig) {
	content := r.bytes(1 << 20)
	fd := r.file(content)
	near, far := pair(r)
	r.small(near)
	send := r.start(driver.Op{Code: driver.SendFile, FD: near, From: fd, Len: len(content)})
	r.read(far, 1000, 1000)
	r.drop(far)
	if c := r.finish(send); c.Err != syscall.EPIPE && c.Err != syscall.ECONNRESET {
		r.Fatalf("a file to a peer that left: %+v", c)
	}
}
