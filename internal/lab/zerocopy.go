package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func zeroCopy() Experiment {
	return Experiment{
		Name: "zerocopy", Title: "Sending a file without copying it",
		Seeds: []string{"000"},
		Claim: "1 GB sent by read and write takes 12 s and 40 % of a processor over 1 Gbit/s; with sendfile, which never " +
			"brings the bytes to the application, 8 s and 5 %.",
		Varied: "the way in which a file is sent",
		Method: "The file lies in the page cache. A process of its own sends it over the loopback to a reader on the other " +
			"processor, which copies it out: the loopback has no card that could fetch the bytes itself, so one copy always " +
			"remains. The servers are this one with io_uring, which splices in the ring, and with epoll, which calls " +
			"sendfile. Then the same over a wire of 1 Gbit/s: two network namespaces, and the token bucket filter (tbf) " +
			"between them.",
		Takes: 80 * second, Quick: quickest, Full: 5 * minute, measure: measureZeroCopy, judge: judgeZeroCopy,
	}
}

func measureZeroCopy(ctx context.Context, s *Stand, r *Result) error {
	size := int64(1 << 30)
	if s.Quick {
		size = 64 << 20
	}
	name := filepath.Join(s.dir, "large.bin")
	if err := fill(name, size); err != nil {
		return err
	}
	defer func() { _ = os.Remove(name) }()
	t := r.table("sending", []string{"way"}, Column{"time", "s"}, Column{"CPU of the sender", "s"},
		Column{"CPU share of the sender", "%"}, Column{"throughput", "MiB/s"}, Column{"calls", "calls"})
	ways := append(Ways(), "server, ring splice", "server, sendfile")
	copied, notices := 0, 0
	for round := range s.Rounds {
		s.Tell("zerocopy: round %d", round+1)
		for _, i := range rotated(len(ways), round) {
			var d sent
			var read int64
			var err error
			if i < len(Ways()) {
				d, read, err = s.part(ctx, 0, func(address string) []string { return []string{"send", address, name, ways[i]} })
			} else {
				driver := []string{"uring", "epoll"}[i-len(Ways())]
				d, read, err = s.fetch(ctx, r, driver, filepath.Base(name))
			}
			if err != nil {
				return err
			}
			r.check(read == size && d.Bytes == size, "%s: %d bytes were sent and %d read, of %d", ways[i], d.Bytes, read, size)
			copied, notices = copied+d.Copied, notices+d.Notices
			t.add([]string{ways[i]}, d.Took.Seconds(), d.CPU.Seconds(), 100*d.CPU.Seconds()/d.Took.Seconds(),
				float64(size)/(1<<20)/d.Took.Seconds(), float64(d.Calls))
		}
	}
	if err := measureSlowFile(ctx, s, r, name); err != nil {
		return err
	}
	r.note("MSG_ZEROCOPY: of %d notices, %d said that the kernel had copied the bytes after all, as it must where "+
		"they are "+
		"for a socket of the same machine. Calls of a server are not counted (0).", notices, copied)
	for _, c := range []string{"CPU of the sender", "throughput"} {
		r.draw(Figure{Title: c, Table: t.Name, Column: c, Over: "way", Names: true})
	}
	return nil
}

const slowFile = "over a wire of 1 Gbit/s"

// measureSlowFile sends the file over a wire as fast as the text's. There the reader's copy is not made in the sender's
// call, as it is over the loopback.
func measureSlowFile(ctx context.Context, s *Stand, r *Result, name string) error {
	w, err := s.stretch(ctx, 1000)
	if err != nil {
		r.note("There is no slow wire: %v.", err)
		return ctx.Err()
	}
	t := r.table(slowFile, []string{"way"}, Column{"time", "s"}, Column{"CPU of the sender", "s"},
		Column{"CPU share of the sender", "%"}, Column{"throughput", "Mbit/s"})
	ways := []string{"read and write", "sendfile"}
	for round := range s.Rounds {
		for _, i := range rotated(len(ways), round) {
			d, err := w.send(ctx, s, "send", name, ways[i])
			if err != nil {
				return err
			}
			r.check(d.Bytes > 0, "%s, slow wire: %d bytes", ways[i], d.Bytes)
			t.add([]string{ways[i]}, d.Took.Seconds(), d.CPU.Seconds(), 100*d.CPU.Seconds()/d.Took.Seconds(),
				8*float64(d.Bytes)/1e6/d.Took.Seconds())
		}
	}
	r.draw(Figure{
		Title: "CPU share of the sender, over 1 Gbit/s", Table: t.Name, Column: "CPU share of the sender", Over: "way",
		Names: true,
	})
	return s.endAll()
}

// fill makes a file that has no holes.
func fill(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i * 31)
	}
	for at := int64(0); at < size; at += int64(len(content)) {
		if _, err := f.Write(content[:min(int64(len(content)), size-at)]); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}

// fetch has a server send the file.
func (s *Stand) fetch(ctx context.Context, r *Result, driver, file string) (d sent, read int64, err error) {
	address, err := freeAddress()
	if err != nil {
		return d, 0, err
	}
	folder := filepath.Join(s.dir, "public")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return d, 0, err
	}
	_ = os.Remove(filepath.Join(folder, file))
	if err := os.Link(filepath.Join(s.dir, file), filepath.Join(folder, file)); err != nil {
		return d, 0, err
	}
	config := filepath.Join(s.dir, "files.yaml")
	text := fmt.Appendf(nil, "listeners: [{address: %q}]\nroutes:\n  - path: /status\n    status: {}\n  - files:\n"+
		"      root: %q\n", address, folder)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return d, 0, err
	}
	p, err := s.start(ctx, spec{name: driver, address: address, command: []string{
		s.Program, "serve", "--config", config, "--driver", driver, "--loops", "1",
	}})
	if err != nil {
		return d, 0, err
	}
	a, err := p.account(ctx)
	if err != nil {
		return d, 0, err
	}
	r.check(a.Driver == driver, "the file is sent by the driver %s: %s", driver, a.Driver)
	before, err := used(p.pid)
	if err != nil {
		return d, 0, err
	}
	began := time.Now()
	if read, err = download(ctx, address, "/"+file); err != nil {
		return d, 0, err
	}
	d.Took, d.Bytes = time.Since(began), read
	after, err := used(p.pid)
	if err != nil {
		return d, 0, err
	}
	d.CPU = after.time - before.time
	err = s.end(p)
	return d, read, err
}

// download reads an answer to its end, as the reader of the parts does.
func download(ctx context.Context, address, path string) (int64, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, address); err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(c, 256<<10)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server answers %s", response.Status)
	}
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, make([]byte, 256<<10))
}

func judgeZeroCopy(r *Result) Verdict {
	t := r.find("sending")
	plain := t.median("CPU of the sender", "read and write")
	of := func(way string) float64 { return t.median("CPU of the sender", way) / plain }
	faster := t.median("throughput", "sendfile") / t.median("throughput", "read and write")
	why := fmt.Sprintf("Against read and write, the sender's processor time is %.2f with sendfile, %.2f with splice, "+
		"%.2f with "+
		"mmap, %.2f with MSG_ZEROCOPY, %.2f of the server that splices in its ring, %.2f of the server that calls sendfile; "+
		"sendfile moves %.2f times as much in a second.", of("sendfile"), of("splice"), of("mmap and write"),
		of("MSG_ZEROCOPY"), of("server, ring splice"), of("server, sendfile"), faster)
	why += " It is not an eighth, as the text has it: over the loopback the copy for the reader is made in the sender's " +
		"call."
	cheaper := of("sendfile")
	if r.has(slowFile) {
		w := r.find(slowFile)
		get := func(column, way string) float64 { return w.median(column, way) }
		why += fmt.Sprintf(" Over 1 Gbit/s it takes %.1f s and %.1f %% of a processor by read and write, %.1f s and %.1f %% "+
			"by sendfile.", get("time", "read and write"), get("CPU share of the sender", "read and write"),
			get("time", "sendfile"), get("CPU share of the sender", "sendfile"))
		cheaper = min(cheaper, get("CPU of the sender", "sendfile")/get("CPU of the sender", "read and write"))
	}
	switch {
	case cheaper < 0.25 && faster > 1.2:
		return Verdict{Holds, why}
	case cheaper < 0.9:
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
