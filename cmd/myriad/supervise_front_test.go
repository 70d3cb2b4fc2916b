package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sent is where the entry sends a client of HTTP, and what is answered there.
func (f *fleet) sent() (address, text string) {
	f.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + f.address + "/a?b")
	if err != nil {
		f.t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.Request.URL.RequestURI() != "/a?b" {
		f.t.Fatalf("%s was asked in the end: %v", answer.Request.URL, err)
	}
	return answer.Request.URL.Host, string(body)
}

// line is what the entry says to a client that is none of HTTP.
func (f *fleet) line() string {
	f.t.Helper()
	c := f.connect()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "WORKER\n"); err != nil {
		f.t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Replace(strings.TrimSpace(string(text)), " ", ":", 1)
}

// places asks until the entry has named as many addresses, and no others.
func (f *fleet) places(n int) (all []string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		all = nil
		for range 4 * n {
			address := f.line()
			if !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
		if len(all) == n && all[0] != "NONE" {
			slices.Sort(all)
			return all
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the entry names %q, not %d", all, n)
		}
	}
}

// TestPortsOfWorkers has the entry name the workers that there are.
func TestPortsOfWorkers(t *testing.T) {
	f := configured(t, "ports", `listeners: [{address: "127.0.0.1:0"}]`, "routes: [{respond: {body: one}}]")
	two := f.places(2)
	for range 4 {
		address, text := f.sent()
		if text != "one" || !slices.Contains(two, address) {
			t.Errorf("%q was answered at %s, want one of %q", text, address, two)
		}
	}
	pid, _ := f.pid(1)
	kill(t, pid)
	f.pid(3)
	if again := f.places(2); !slices.Equal(again, two) {
		t.Errorf("the workers are at %q, and were at %q", again, two)
	}
	f.signal(syscall.SIGTTIN)
	f.pid(4)
	three := f.places(3)
	f.signal(syscall.SIGTTOU)
	f.heard(`msg="worker has ended" worker=4`)
	f.places(2)
	for _, address := range three { // the port of a seat that is gone is served by another
		c, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	f.signal(syscall.SIGTERM)
	f.ends(0)
}

// TestPortsAboveTheEntry has the workers at the next ports.
func TestPortsAboveTheEntry(t *testing.T) {
	base := freePorts(t, 3)
	f := startFleet(t, "--listen", fmt.Sprint("127.0.0.1:", base), "--respond", "hi", "--processes", "2",
		"--process-model", "ports")
	want := []string{fmt.Sprint("127.0.0.1:", base+1), fmt.Sprint("127.0.0.1:", base+2)}
	if got := f.places(2); !slices.Equal(got, want) {
		t.Errorf("the workers are at %q, want %q", got, want)
	}
	f.signal(syscall.SIGTERM)
	f.ends(0)
}

// freePorts is the first of so many ports in a row that nobody uses now.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for base := 20_000 + int(time.Now().UnixNano()%8_000); base < 30_000; base += n {
		free := true
		for port := base; port < base+n && free; port++ {
			l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)).String())
			if free = err == nil; free {
				_ = l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no ports are free")
	return 0
}

// TestPreforkUnderEveryModel passes connections to workers of every model, and to every driver.
func TestPreforkUnderEveryModel(t *testing.T) {
	for _, flags := range [][]string{
		{"--model", "goroutine"},
		{"--model", "thread"},
		{"--model", "workpool"},
		{"--model", "single"},
		{"--driver", "uring"},
		{"--driver", "epoll"},
		{"--driver", "poll"},
		{"--driver", "select"},
		{"--driver", "rtsig"},
		{"--driver", "sweep"},
	} {
		t.Run(flags[1], func(t *testing.T) {
			f := startFleet(t, append([]string{
				"--listen", "127.0.0.1:0", "--respond", "hi", "--processes", "2", "--process-model", "prefork",
			}, flags...)...)
			for range 20 {
				c := f.connect()
				for range 2 {
					f.expect(c, "hi")
				}
				_ = c.Close()
			}
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

// TestListenersAlike has two listeners whose port the kernel chooses, and which are served differently; then only one.
func TestListenersAlike(t *testing.T) {
	for _, model := range []string{"prefork", "ports", "shared", "reuseport"} {
		t.Run(model, func(t *testing.T) {
			routes := "routes: [{respond: {body: hi}}]"
			f := configured(t, model, `listeners: [{address: "127.0.0.1:0"}, {address: "127.0.0.1:0", protocol: echo}]`,
				routes)
			text := f.heard("msg=serving")
			found := listening.FindAllStringSubmatch(text, -1)
			if len(found) != 2 {
				t.Fatalf("it listens at %q", found)
			}
			web, echo := strings.TrimPrefix(found[0][1], "http://"), strings.TrimPrefix(found[1][1], "tcp://")
			for range 8 { // of either worker
				f.speaks(web, echo)
			}
			f.write(`listeners: [{address: "127.0.0.1:0"}]`, routes)
			f.signal(syscall.SIGHUP)
			f.heard("msg=reloaded")
			for range 8 {
				f.speaks(web, "")
			}
			f.signal(syscall.SIGTERM)
			f.ends(0)
		})
	}
}

// speaks asks at one address, and has what is sent to the other one come back, if there is one. Either may be an entry.
func (f *fleet) speaks(web, echo string) {
	f.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + web + "/")
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || string(text) != "hi" {
		f.t.Fatalf("%q was answered: %v", text, err)
	}
	if echo == "" {
		return
	}
	f.address = echo
	c := f.connect()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	line := "WORKER\n"
	if _, err := io.WriteString(c, line); err != nil {
		f.t.Fatal(err)
	}
	back, err := c.in.ReadString('\n')
	if err != nil {
		f.t.Fatal(err)
	}
	if place := strings.Replace(strings.TrimSpace(back), " ", ":", 1); back != line && echo != place {
		f.speaks(web, place) // the entry has told where to go
	}
}
