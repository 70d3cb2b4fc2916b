package app

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/driver/sim"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/route"
	"github.com/myriad-server/myriad/web/static"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestSim runs whole servers on the simulated kernel: 60 of them, or as many as SEEDS
// says, or the one of MYRIAD_SEED.
func TestSim(t *testing.T) {
	first, count := uint64(1), uint64(60)
	if text := os.Getenv("MYRIAD_SEED"); text != "" {
		first, count = numberOf(t, text), 1
	} else if text := os.Getenv("SEEDS"); text != "" {
		count = numberOf(t, text)
	}
	folder, wanted := t.TempDir(), &wants{}
	writeFiles(t, folder)
	wanted.learn(t, folder)
	var next atomic.Uint64
	for range min(runtime.GOMAXPROCS(0), int(count)) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for n := next.Add(1); n <= count && !t.Failed(); n = next.Add(1) {
				seed := first + n - 1
				if err := runSite(seed, folder, wanted); err != nil {
					t.Errorf("%v\nto replay: MYRIAD_SEED=%d go test -run TestSim ./internal/app", err, seed)
				}
			}
		})
	}
}

func numberOf(t *testing.T, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// site is a server on a simulated kernel, with its clients.
type site struct {
	kernel   *sim.Kernel
	rand     *rand.Rand // before the run
	loop     *loop.Loop
	pool     *buf.Pool
	meter    meter.Set
	listener *sim.Listener
	wanted   *wants
	left     int  // clients that have not finished
	lossy    bool // connections may end, and answers be 408, for reasons that lie in the faults
	stopped  bool
}

// runSite is one run. Its result is the first thing that went wrong.
func runSite(seed uint64, folder string, wanted *wants) (err error) {
	r := rand.New(rand.NewPCG(seed, 11))
	faults := sim.Draw(r)
	if r.IntN(2) == 0 {
		faults.Reset, faults.Jump, faults.AcceptError = 0, 0, 0
	}
	s := &site{rand: r, wanted: wanted, lossy: faults.Reset+faults.Jump+faults.AcceptError > 0}
	s.kernel = sim.New(sim.Options{
		Seed: seed, Faults: faults, ReceiveBytes: 1 << (8 + r.IntN(8)), SendBytes: 1 << (8 + r.IntN(10)),
	})
	defer func() {
		if p := recover(); p != nil {
			s.kernel.Fail("panic: %v\n%s", p, debug.Stack())
			err = s.kernel.Err()
		}
	}()
	root, files, err := siteRoot(folder)
	if err != nil {
		return err
	}
	defer files.Close()
	if err := s.build(siteServer(root, &s.meter)); err != nil {
		return err
	}
	s.invite()
	s.serve()
	return s.kernel.Err()
}

// build makes the loop.
func (s *site) build(server *web.Server) (err error) {
	size := 4096 << s.rand.IntN(3)
	if s.pool, err = buf.NewPool(size, 8192, buf.Heap); err != nil {
		return err
	}
	d, err := s.kernel.Open(driver.Options{Blocks: s.pool, Ops: 4096})
	if err != nil {
		return err
	}
	s.loop, err = loop.New(loop.Options{
		Driver: d, Blocks: s.pool, Meter: &s.meter, Connections: 1000, OutputBytes: 8 << 20, Clock: s.kernel.Clock,
	})
	if err != nil {
		return err
	}
	s.listener = s.kernel.Listen(256)
	_, err = s.loop.Listen(s.listener.Descriptor(), server.Handler())
	return err
}

// invite adds clients of every kind, and sometimes a stop in the middle.
func (s *site) invite() {
	r := s.rand
	s.left = 1 + r.IntN(1<<r.IntN(9))
	for range s.left {
		c := s.newClient()
		s.kernel.After(time.Duration(r.IntN(200e6)), func() { s.kernel.Dial(s.listener, c) })
	}
	if r.IntN(4) == 0 {
		s.kernel.After(time.Duration(r.IntN(300e6)), func() {
			s.stopped = true
			s.loop.Stop(false)
		})
	}
	// Those whose connection was reset behind their back never finish.
	s.kernel.After(15*time.Minute, func() { s.loop.Stop(false) })
	s.kernel.After(25*time.Minute, func() { s.loop.Stop(true) })
}

// finished is called by each client at its end.
func (s *site) finished() {
	if s.left--; s.left == 0 {
		s.loop.Stop(false)
	}
}

// serve runs the loop and checks what is left.
func (s *site) serve() {
	k := s.kernel
	if err := s.loop.Run(); err != nil {
		k.Fail("Run: %v", err)
		return
	}
	if err := s.loop.Close(); err != nil {
		k.Fail("Close: %v", err)
	}
	if s.left > 0 && !s.lossy && !s.stopped {
		k.Fail("%d clients never finished", s.left)
	}
	if n := s.pool.Lent(); n != 0 {
		k.Fail("%d blocks are lent", n)
	}
	if n := k.Descriptors(); n != 0 {
		k.Fail("%d descriptors are open", n)
	}
	s.meter.Publish()
	if n := s.meter.Snapshot()[meter.Open]; n != 0 {
		k.Fail("the meter counts %d open connections", n)
	}
}

// writeFiles makes the folder that is served: empty, small, of the size of a block, and large.
func writeFiles(t *testing.T, folder string) {
	for name, size := range fileSizes {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i*11 + i>>8)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var fileSizes = map[string]int{"empty.txt": 0, "small.html": 300, "block.bin": 4096, "large.bin": 150_000}

// siteRoot is the table of routes.
func siteRoot(folder string) (web.Handler, *static.Files, error) {
	files, err := static.Open(static.Options{Root: folder, Strip: "/files", MemoryFile: 1000, Entries: 16})
	if err != nil {
		return nil, nil, err
	}
	fixed, err := route.Respond{Body: "hello, world\n", Type: "text/plain"}.Handler()
	if err != nil {
		return nil, nil, err
	}
	wide, err := route.Respond{Body: strings.Repeat("0123456789abcdef", 4000), Type: "text/plain"}.Handler()
	if err != nil {
		return nil, nil, err
	}
	away, err := route.Redirect{To: "/elsewhere", Status: 302}.Handler()
	if err != nil {
		return nil, nil, err
	}
	table, err := route.New(
		route.Route{Path: "/fixed", Methods: []string{"GET"}, Handler: fixed},
		route.Route{Path: "/wide", Handler: wide},
		route.Route{Path: "/away", Handler: away},
		route.Route{Path: "/count", Methods: []string{"POST"}, Handler: web.HandlerFunc(countBody)},
		route.Route{Path: "/stream", Handler: web.HandlerFunc(streamPieces)},
		route.Route{Prefix: "/files/", Handler: files},
	)
	return table, files, err
}

// countBody answers with the length and the sum of a body.
func countBody(x *web.Exchange) {
	n, sum := 0, fnv.New32a()
	x.OnBody(func(chunk []byte, done bool) {
		n += len(chunk)
		_, _ = sum.Write(chunk)
		if done {
			x.Reply(fmt.Appendf(nil, "%d %08x", n, sum.Sum32()))
		}
	})
}

// streamBytes is the length of what streamPieces sends.
const streamBytes = 200_000

// streamPieces sends its content in pieces, as the client takes it.
func streamPieces(x *web.Exchange) {
	x.Begin(streamBytes)
	at := 0
	more := func() {
		for at < streamBytes && !x.Full() {
			piece := make([]byte, min(1777, streamBytes-at))
			for i := range piece {
				piece[i] = byte((at + i) % 251)
			}
			at += len(piece)
			x.Write(piece)
		}
		if at == streamBytes {
			at++
			x.End()
		}
	}
	x.OnFlushed(more)
	more()
}

func siteServer(root web.Handler, set *meter.Set) *web.Server {
	return &web.Server{
		Root: root, Name: "sim", Limits: web.Limits{HeadBytes: 2048, OutputBytes: 64 << 10},
		Meter: func() *meter.Set { return set },
	}
}

// want is a request, and the answer it must get. The date in it may be another.
type want struct {
	request, answer string
	closing         string // the answer when the server is stopping
	date            int    // where the date begins
	parting         int    // where the two answers begin to differ
}

// wants are all the requests that clients make.
type wants struct{ list []want }

// learn asks each request of a server in memory, whole and alone, and checks what can be known about the answer.
func (w *wants) learn(t *testing.T, folder string) {
	body := strings.Repeat("content ", 3000)
	chunked := "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(body))
	counted := fmt.Sprintf("%d %08x", len(body), sum.Sum32())
	for from := 0; from < len(body); from += 1000 {
		chunked += fmt.Sprintf("%x\r\n%s\r\n", 1000, body[from:from+1000])
	}
	for _, known := range []struct{ request, status, ending string }{
		{get("/fixed"), "200", "\r\n\r\nhello, world\n"},
		{"HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n", "200", "\r\n\r\n"},
		{"POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405", ""},
		{get("/wide"), "200", "0123456789abcdef"},
		{get("/away"), "302", ""},
		{get("/nowhere"), "404", ""},
		{get("/stream"), "200", ""},
		{get("/files/empty.txt"), "200", "\r\n\r\n"},
		{get("/files/small.html"), "200", ""},
		{get("/files/block.bin"), "200", ""},
		{get("/files/large.bin"), "200", ""},
		{get("/files/none"), "404", ""},
		{"GET /files/large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=1000-60999\r\n\r\n", "206", ""},
		{fmt.Sprintf("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body), "200", counted},
		{chunked + "0\r\n\r\n", "200", counted},
	} {
		root, files, err := siteRoot(folder)
		if err != nil {
			t.Fatal(err)
		}
		c := webtest.New(siteServer(root, &meter.Set{}).Handler())
		c.Receive([]byte(known.request))
		answer := string(c.Sent)
		date := strings.Index(answer, "\r\nDate: ")
		if !strings.HasPrefix(answer, "HTTP/1.1 "+known.status) || !strings.HasSuffix(answer, known.ending) || date < 0 {
			t.Fatalf("%.60q is answered with %.200q", known.request, answer)
		}
		closing := closingAnswer(root, known.request)
		parting := 0
		for answer[parting] == closing[parting] {
			parting++
		}
		w.list = append(w.list, want{known.request, answer, closing, date + len("\r\nDate: "), parting})
		if err := files.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// closingAnswer is what a server answers that was told to stop in the middle of the request.
func closingAnswer(root web.Handler, request string) string {
	c := webtest.New(siteServer(root, &meter.Set{}).Handler())
	c.Receive([]byte(request[:1]))
	c.Stop()
	c.Receive([]byte(request[1:]))
	return string(c.Sent)
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }
