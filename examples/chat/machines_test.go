package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// host is a network namespace that stands for a machine.
type host struct {
	name, address string // what is behind the link
	chat          string // where people connect, within
}

// invoke runs a command of ip(8).
func invoke(t *testing.T, words ...string) {
	t.Helper()
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// twoHosts are two machines with a link between them.
func twoHosts(t *testing.T) (hosts [2]host) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip to make network namespaces with: apt-get install iproute2")
	}
	for i := range hosts {
		h := &hosts[i]
		h.name = fmt.Sprintf("chat-%d-%d", os.Getpid(), i)
		h.address, h.chat = fmt.Sprintf("10.203.0.%d", i+1), fmt.Sprintf("127.0.0.1:%d", 8081+i)
		invoke(t, "netns", "add", h.name)
		t.Cleanup(func() { invoke(t, "netns", "del", h.name) })
		invoke(t, "-n", h.name, "link", "set", "lo", "up")
	}
	invoke(t, "link", "add", "name", "wire", "netns", hosts[0].name, "type", "veth",
		"peer", "name", "wire", "netns", hosts[1].name)
	for _, h := range hosts {
		invoke(t, "-n", h.name, "address", "add", h.address+"/24", "dev", "wire")
		invoke(t, "-n", h.name, "link", "set", "wire", "up")
	}
	return hosts
}

// runs starts the program on a machine. await returns when it says what is awaited.
func (h *host) runs(t *testing.T, awaited string, arguments ...string) (await func()) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", h.name, path}, arguments...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "CHAT_BUS_TOKEN=hush")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	open, ended := make(chan struct{}), make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		said := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if !said && strings.Contains(lines.Text(), awaited) {
				close(open)
				said = true
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended, which Wait tells
		<-ended
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s %v: %v\n%s", h.name, arguments, err, log.String())
		}
	})
	return func() {
		t.Helper()
		select {
		case <-open:
		case <-ended:
			t.Fatal("a program has ended")
		case <-time.After(6 * hang):
			t.Fatal("a program is not ready")
		}
	}
}

// dial connects from within the machine on which somebody listens at the address.
func dial(hosts [2]host) dialer {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: the thread ends with the goroutine, as it is not where it was
			for _, h := range hosts {
				if h.chat == address {
					if err = sys.EnterNetwork("/run/netns/" + h.name); err == nil {
						c, err = new(net.Dialer).DialContext(ctx, network, address)
					}
				}
			}
		}()
		<-done
		return c, err
	}
}

// TestTwoMachines has people on two machines talk while the link between them is cut, and when it is whole again. The
// first one has the majority of the cluster, so it goes on; what is said on the other waits until the link is back.
// Nothing is lost or heard twice, and the order is the same for everybody.
func TestTwoMachines(t *testing.T) {
	hosts := twoHosts(t)
	buses := []string{hosts[0].address + ":6222", hosts[1].address + ":6222", hosts[0].address + ":6223"}
	names := []string{"one", "two", "third"}
	cluster := func(i int) []string {
		list := []string{"--name", names[i], "--cluster", buses[i], "--dir", t.TempDir()}
		for _, b := range buses {
			list = append(list, "--route", b)
		}
		return list
	}
	serve := func(i int) []string {
		return append([]string{"serve", "--workers", "2", "--copies", "3", "--listen", hosts[i].chat}, cluster(i)...)
	}
	for _, await := range []func(){ // all of them come together before any of them can be used
		hosts[0].runs(t, "the bus runs", append([]string{"bus"}, cluster(2)...)...),
		hosts[0].runs(t, "open for everybody", serve(0)...),
		hosts[1].runs(t, "open for everybody", serve(1)...),
	} {
		await()
	}
	people := &crowd{
		Address: []string{hosts[0].chat, hosts[1].chat}, Users: 40, Rooms: 2, Talkers: 2,
		Every: 50 * time.Millisecond, Words: 30, Within: 6 * hang, dial: dial(hosts),
	}
	people.spoken = func(number int) {
		switch number { // of one who is where the majority is
		case 5:
			invoke(t, "-n", hosts[1].name, "link", "set", "wire", "down")
		case 15:
			invoke(t, "-n", hosts[1].name, "link", "set", "wire", "up")
		}
	}
	everybodyHears(t, people, 2*2*30, 20)
}
