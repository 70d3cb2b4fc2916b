package dash_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/dash"
	"github.com/myriad-server/myriad/internal/dash/browser"
)

// hang is how long a test waits for what must happen.
const hang = 30 * time.Second

// hello answers every request.
var hello = config.Route{Respond: &config.Respond{Status: 200, Body: "hello", Type: "text/plain"}}

// serve serves the text "hello" with a dashboard, until the test ends, and returns where both are.
func serve(t *testing.T) (address, admin string) {
	t.Helper()
	a := apptest.Start(t, slog.New(slog.DiscardHandler), []config.Override{
		{Flag: "routes", Path: "routes", Value: []config.Route{hello}},
	}, "listeners[0].address=127.0.0.1:0", "timeouts.drain=1s")
	api := control.New(a.App, new(slog.LevelVar))
	for _, pattern := range dash.Patterns {
		api.Mount(pattern, "the dashboard", dash.Handler())
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	var at config.AutoOrOffOrAddress
	if err := at.UnmarshalText([]byte("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	admin, err := api.Start(at)
	if err != nil {
		t.Fatal(err)
	}
	return a.Address(), admin
}

// client connects from an address of this machine, and asks so many times.
func client(t *testing.T, from, to string, requests int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	answers := bufio.NewReader(c)
	for range requests {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	return c
}

// ended waits until the server has ended a connection.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("the connection goes on")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the connection is not closed")
	}
}

const rows = "document.querySelectorAll('#table tbody tr').length"

// TestSearchSortClose looks at a server as an operator does: it finds some of its connections, sorts them, and closes
// one by the keyboard and the others at once.
func TestSearchSortClose(t *testing.T) {
	b := browser.Start(t)
	address, admin := serve(t)
	for range 70 {
		client(t, "127.0.0.1", address, 1)
	}
	var some []net.Conn
	for i := range 4 {
		some = append(some, client(t, "127.0.0.7", address, 2+3*i))
	}
	p := b.Open("http://"+admin+"/", browser.Look{Width: 1500, Height: 1000})
	p.Await(rows + " === 50 && document.getElementById('matched').textContent === '74 open'")
	p.Await("document.getElementById('link').dataset.state === 'live'")
	p.Await("document.querySelector('#tiles b').textContent === '74'")
	p.Press("n")
	p.Await(rows + " === 24")

	p.Press("/")
	p.Write("127.0.0.7 idle")
	p.Await(rows + " === 4 && document.getElementById('matched').textContent === '4 found'")
	p.Press("Enter")
	p.Eval("document.querySelector('[data-sort=requests] button').click()")
	order := func(conns ...net.Conn) string {
		var all []string
		for _, c := range conns {
			all = append(all, c.LocalAddr().String())
		}
		return "[...document.querySelectorAll('#table tbody tr td:nth-child(4)')].map((c) => c.textContent).join() === '" +
			strings.Join(all, ",") + "'"
	}
	p.Await(order(some[3], some[2], some[1], some[0]))
	p.Eval("document.querySelector('[data-sort=requests] button').click()")
	p.Await(order(some[0], some[1], some[2], some[3]))
	p.Eval("document.activeElement.blur()")

	p.Press("j")
	p.Press("j")
	p.Press("x")
	p.Await("document.getElementById('dialog').open && document.getElementById('dialog-body').textContent.includes('" +
		some[1].LocalAddr().String() + "')")
	p.Press("Escape")
	p.Await("!document.getElementById('dialog').open")
	p.Press("x")
	p.Await("document.getElementById('dialog').open")
	p.Press("Enter")
	ended(t, some[1])
	p.Await(order(some[0], some[2], some[3]))
	p.Await("document.querySelector('#ended tbody').textContent.includes('" + some[1].LocalAddr().String() + "')")
	p.Await("document.querySelector('#ended .cause').textContent === 'operator'")

	p.Eval("document.getElementById('close-all').click()")
	p.Await("document.getElementById('dialog-title').textContent === 'Close 3 connections?'")
	p.Eval("document.getElementById('dialog-yes').click()")
	p.Await(rows + " === 0")
	for _, c := range []net.Conn{some[0], some[2], some[3]} {
		ended(t, c)
	}
	p.Press("/")
	p.Eval("document.getElementById('search').select()")
	p.Write("nonsense")
	p.Await("document.getElementById('search-problem').textContent.includes('there is no state')")
	for _, complaint := range p.Complaints() {
		closed := strings.Contains(complaint, "404 (Not Found)") && strings.Contains(complaint, "/v1/conns/")
		if !closed && !strings.Contains(complaint, "400 (Bad Request)") && !strings.Contains(complaint, "/v1/doctor") {
			t.Errorf("the page complains: %s", complaint)
		}
	}
}

// TestPhone fits on a narrow page, and keeps its most telling columns.
func TestPhone(t *testing.T) {
	b := browser.Start(t)
	address, admin := serve(t)
	client(t, "127.0.0.1", address, 3)
	p := b.Open("http://"+admin+"/", browser.Look{Width: 360, Height: 740, Phone: true, Dark: true})
	p.Await(rows + " === 1")
	if got := p.Eval("document.documentElement.scrollWidth"); got != 360.0 {
		t.Errorf("the page is %v wide on a screen of 360", got)
	}
	if got := p.Eval("getComputedStyle(document.body).backgroundColor"); got == "rgb(244, 245, 248)" {
		t.Error("the page is light in the dark")
	}
	p.Eval("document.querySelector('#table tbody .close').scrollIntoView()")
	p.Await("[...document.querySelectorAll('#table tbody td')].filter((c) => c.offsetWidth > 0).length >= 5")
}

// TestOtherSites closes nothing when the page of another site asks: neither by a form nor by a script.
func TestOtherSites(t *testing.T) {
	b := browser.Start(t)
	address, admin := serve(t)
	c := client(t, "127.0.0.1", address, 1)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<form method="post" action="http://%s/v1/conns/close?all=true" target="f"></form>
			<iframe name="f"></iframe>`, admin)
	}))
	defer evil.Close()
	p := b.Open(evil.URL, browser.Look{Width: 800, Height: 600})
	p.Eval(`fetch('http://` + admin + `/v1/conns/close?all=true', {method: 'POST', mode: 'no-cors'}).then(() => 1)`)
	p.Eval(`new Promise((done) => {
		document.querySelector('iframe').onload = done;
		document.forms[0].submit();
	}).then(() => 1)`)
	if seen := p.Eval(`fetch('http://` + admin + `/v1/conns').then(() => 'read', () => 'refused')`); seen != "refused" {
		t.Errorf("another site has %v the connections", seen)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || answer.StatusCode != 200 {
		t.Errorf("another site has closed the connection: %v", err)
	} else {
		_ = answer.Body.Close()
	}
}
