package socket

import (
	_ "embed"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

// client is a program for Python that speaks to an echo server with the library websockets.
//
//go:embed testdata/client.py
var client string

// page is a page that does the same in a browser, and sends its verdict to a second service.
//
//go:embed testdata/page.html
var page []byte

// debian is where Debian's own Python is, which finds Debian's libraries.
const debian = "/usr/bin/python3"

// TestPython has the library of Python speak to the server, with each kind of compression that it can ask for.
func TestPython(t *testing.T) {
	if err := exec.Command(debian, "-c", "import websockets").Run(); err != nil {
		t.Skip("there is no websockets for " + debian + ": apt-get install python3-websockets")
	}
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			for name, deflate := range map[string]*ws.Deflate{"forgets": {}, "keeps": {Keep: true}, "plain": nil} {
				o := echoes
				o.Deflate = deflate
				address := start(t, driver, socket.New(echo{}, o))
				out, err := exec.Command(debian, "-c", client, "ws://"+address, name).CombinedOutput()
				if err != nil || !strings.HasSuffix(string(out), "well\n") {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
			}
		})
	}
}

// verdicts takes what a page found out.
type verdicts struct {
	socket.Defaults
	came chan string
}

func (v verdicts) Message(c *socket.Conn, _ ws.Opcode, p []byte) {
	v.came <- string(p)
	c.Close(ws.CodeNormal, "")
}

// site answers for the page, the echo and the verdicts.
func site(v verdicts) web.Handler {
	echoing, judging := socket.New(echo{}, echoes), socket.New(v, socket.Options{})
	farewell := socket.New(goodbye{}, socket.Options{})
	return web.HandlerFunc(func(x *web.Exchange) {
		switch string(x.Path()) {
		case "/":
			x.Add("Content-Type", "text/html; charset=utf-8")
			x.Reply(page)
		case "/echo":
			echoing.Serve(x)
		case "/goodbye":
			farewell.Serve(x)
		case "/verdict":
			judging.Serve(x)
		default:
			x.Fail(404)
		}
	})
}

// goodbye closes every connection at once.
type goodbye struct{ socket.Defaults }

func (goodbye) Opened(c *socket.Conn)                   { c.Close(4321, "nichts für ungut") }
func (goodbye) Message(*socket.Conn, ws.Opcode, []byte) {}

// TestChromium has a page in a browser speak to the server.
func TestChromium(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium: apt-get install chromium")
	}
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			v := verdicts{came: make(chan string, 1)}
			address := start(t, driver, site(v))
			folder, err := os.MkdirTemp("", "myriad-socket-")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
				"--no-first-run", "--disable-background-networking", "--remote-debugging-port=0", "--user-data-dir="+folder,
				"http://"+address+"/")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				_ = os.RemoveAll(folder) // its children may still be writing there; what they leave is in the temporary folder
			})
			select {
			case verdict := <-v.came:
				if verdict != "well" {
					t.Error(verdict)
				}
			case <-time.After(patience):
				t.Error("the page tells nothing")
			}
		})
	}
}
