package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDatagramsOfUnix passes datagrams on from Unix sockets to another, from where a process that was killed has left
// its file and from an abstract name.
func TestDatagramsOfUnix(t *testing.T) {
	known := Known()
	for _, driver := range known.Drivers {
		t.Run(driver, func(t *testing.T) {
			folder := t.TempDir()
			at := func(name string) *net.UnixAddr {
				if name[0] != '@' {
					name = filepath.Join(folder, name)
				}
				return &net.UnixAddr{Name: name, Net: "unixgram"}
			}
			stale, err := net.ListenUnixgram("unixgram", at("front"))
			if err != nil {
				t.Fatal(err)
			}
			stale.Close() // its file stays
			server, err := net.ListenUnixgram("unixgram", at("server"))
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan error, 1)
			go func() {
				p := make([]byte, 100)
				for {
					n, from, err := server.ReadFromUnix(p)
					if err != nil {
						answered <- nil
						return
					}
					server.WriteToUnix(append(p[:n], " back"...), from)
				}
			}()
			defer func() { server.Close(); <-answered }()
			abstract := fmt.Sprintf("@myriad-app-%d-%s", os.Getpid(), driver)
			r := start(t, fmt.Sprintf(`listeners=[
				{address: "unix:%s", protocol: udp, to: ["unix:%s"], mode: "0600"},
				{address: "unix:%s", protocol: udp, to: ["unix:%s"], datagrams: {sessions: 1}}]`,
				at("front").Name, at("server").Name, abstract, at("server").Name), "engine.driver="+driver, "engine.loops=2")
			if found, err := os.Stat(at("front").Name); err != nil || found.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", found.Mode(), err)
			}
			for i, front := range []string{"front", abstract} {
				c, err := net.DialUnix("unixgram", at(fmt.Sprint("client", i)), at(front))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				for _, text := range []string{"one", "", strings.Repeat("l", 90)} {
					got := make([]byte, 100)
					if _, err := c.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
					if n, err := c.Read(got); err != nil || string(got[:n]) != text+" back" {
						t.Fatalf("%q came back for %q, and %v", got[:n], text, err)
					}
				}
			}
			sessions := 0
			for _, of := range r.Datagrams() {
				sessions += int(of.Counts()[0])
			}
			if sessions != 2 {
				t.Errorf("%d sessions", sessions)
			}
		})
	}
}
