package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// passedSockets are descriptors of sockets of every kind, and of what is none, by their names.
type passedSockets struct {
	t   *testing.T
	fds map[string]int
	at  map[string]string // where each is, as a listener is configured
}

func openPassed(t *testing.T) *passedSockets {
	t.Helper()
	p := &passedSockets{t: t, fds: map[string]int{}, at: map[string]string{}}
	folder := t.TempDir()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	p.take("tcp", tcp, err)
	p.at["tcp"] = tcp.Addr().String()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	p.take("udp", udp, err)
	p.at["udp"] = "udp://" + udp.LocalAddr().String()
	six, err := net.Listen("tcp", ":0") // or IPv4 alone, where there is no IPv6
	p.take("six", six, err)
	p.at["six"] = six.Addr().String()
	stream, err := net.Listen("unix", filepath.Join(folder, "stream"))
	p.take("unix", stream, err)
	p.at["unix"] = "unix:" + filepath.Join(folder, "stream")
	abstract := fmt.Sprintf("@myriad-%d", os.Getpid())
	hidden, err := net.Listen("unix", abstract)
	p.take("abstract", hidden, err)
	p.at["abstract"] = "unix:" + abstract
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(folder, "datagrams"))
	p.take("unixgram", datagrams, err)
	p.at["unixgram"] = "unix:" + filepath.Join(folder, "datagrams")
	client, err := net.Dial("tcp", tcp.Addr().String())
	p.take("connection", client, err)
	file, err := os.Create(filepath.Join(folder, "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	p.fds["file"] = int(file.Fd())
	return p
}

// take keeps a descriptor of a socket for the test.
func (p *passedSockets) take(name string, socket any, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	file, err := socket.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = file.Close() })
	p.t.Cleanup(func() { _ = socket.(interface{ Close() error }).Close() })
	p.fds[name] = int(file.Fd())
}

// TestLentSocketComesBack hands over in vain, and serves at the socket of a service manager as before.
func TestLentSocketComesBack(t *testing.T) {
	p := openPassed(t)
	own, err := sys.Duplicate(p.fds["unix"])
	if err != nil {
		t.Fatal(err)
	}
	plan := testPlan(t, "listeners[0].address="+p.at["unix"], "routes=[{respond: {body: x}}]")
	if _, err := plan.Activate([]proc.Named{{Name: "web", FD: own}}); err != nil {
		t.Fatal(err)
	}
	r := serving(t, plan)
	for range 3 {
		handOverInVain(t, r, nil)
		if status, body, _ := r.get("/"); status != 200 || body != "x" {
			t.Errorf("afterwards the answer is %d %q", status, body)
		}
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil // for who waits for it too
	c, err := net.Dial("unix", strings.TrimPrefix(p.at["unix"], "unix:"))
	if err != nil {
		t.Fatalf("the file is gone with the server: %v", err)
	}
	_ = c.Close()
}

// everywhere is a configuration with listeners at all of them.
func (p *passedSockets) everywhere() []string {
	return []string{
		`listeners=[{address: "` + p.at["tcp"] + `"}, {address: "` + p.at["udp"] + `", protocol: echo}, ` +
			`{address: "` + p.at["six"] + `"}, {address: "` + p.at["abstract"] + `"}, ` +
			`{address: "` + p.at["unixgram"] + `", protocol: udp, upstream: other}]`,
		`upstreams={other: {to: ["127.0.0.1:9"]}}`, "admin=" + p.at["unix"],
	}
}

// TestActivate finds the listeners of sockets that are passed, and says of the others what would fit.
func TestActivate(t *testing.T) {
	p := openPassed(t)
	tests := []struct {
		name, passed string
		lines        []string
		lent         string // the names of the sockets, by listener
		admin        string
		warns, fails string
	}{
		{name: "nothing", lent: "- - - - -"},
		{
			name: "all", passed: "six unixgram tcp unix abstract udp", lent: "tcp udp six abstract unixgram",
			admin: "unix",
		},
		{name: "one", passed: "udp", lent: "- udp - - -"},
		{
			name: "reuseport is wanted", passed: "tcp", lines: []string{"listeners[0].reuseport=true"},
			lent: "tcp - - - -", warns: "listeners[0] is served from the one socket",
		},
		{
			name: "nothing is at that address", passed: "tcp", lines: []string{"listeners[0].address=127.0.0.1:1"},
			fails: "it is at tcp 127.0.0.1:",
		},
		{
			name: "another type", passed: "tcp",
			lines: []string{`listeners=[{address: "udp://` + p.at["tcp"] + `", protocol: echo}]`},
			fails: "listens at udp 127.0.0.1:",
		},
		{name: "no admin API", passed: "unix", lines: []string{"admin=off"}, fails: "it is at unix /"},
		{name: "twice", passed: "tcp tcp", fails: "listeners[0] has one already"},
		{name: "twice for the admin API", passed: "unix unix", fails: "it is for the admin API, as descriptor"},
		{name: "a connection", passed: "connection", fails: "it does not listen"},
		{name: "a file", passed: "file", fails: "socket operation on non-socket"},
		{
			name: "signals have one owner", passed: "tcp", lines: []string{"engine.driver=rtsig", "engine.processes=2"},
			fails: "write engine.process_model: prefork",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan := planned(t, roomy(), append(p.everywhere(), test.lines...)...)
			var passed []proc.Named
			for name := range strings.FieldsSeq(test.passed) {
				passed = append(passed, proc.Named{Name: "myriad.socket", FD: p.fds[name]})
			}
			admin, err := plan.Activate(passed)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) ||
					!strings.Contains(err.Error(), `the socket "myriad.socket"`) {
					t.Errorf("it fails with %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil || admin != p.fds[test.admin] {
				t.Errorf("the admin API has %d, want %d: %v", admin, p.fds[test.admin], err)
			}
			for i, name := range strings.Fields(test.lent) {
				if plan.lent[i] != p.fds[name] {
					t.Errorf("listeners[%d] has %d, want %d", i, plan.lent[i], p.fds[name])
				}
			}
			if warned := strings.Join(plan.Warnings, ""); !strings.Contains(warned, test.warns) {
				t.Errorf("the warnings are %q, want %q", warned, test.warns)
			}
		})
	}
}
