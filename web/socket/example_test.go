package socket_test

import (
	"bytes"
	"fmt"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
	"github.com/myriad-server/myriad/web/webtest"
)

// shout answers each text in capitals. It remembers with each connection how often it did.
type shout struct{ socket.Defaults }

func (shout) Opened(c *socket.Conn) { c.Attach(new(int)) }

func (shout) Message(c *socket.Conn, opcode ws.Opcode, p []byte) {
	*c.Attached().(*int)++
	if err := c.Send(opcode, bytes.ToUpper(p)); err != nil {
		c.Close(ws.CodeTryLater, "too slow")
	}
}

func (shout) Closed(c *socket.Conn, code ws.Code, reason string) {
	fmt.Println("closed with", code, reason, "behind", *c.Attached().(*int), "message")
}

// A service under a path of a server, and a client made of the codec. Here both sit on a connection in memory; a
// myriad.Server takes the same handler with its field HTTP.
func ExampleService() {
	service := socket.New(shout{}, socket.Options{Deflate: &ws.Deflate{}})
	server := &web.Server{Root: web.HandlerFunc(func(x *web.Exchange) {
		if string(x.Path()) == "/shout" {
			service.Serve(x)
			return
		}
		x.Fail(404)
	})}
	c := webtest.New(server.Handler())

	request := ws.Request{Host: "example.org", Target: "/shout", Random: [16]byte{1, 2, 3}}
	c.Receive(request.Append(nil))
	status, _, _ := bytes.Cut(c.Sent, []byte("\r\n"))
	fmt.Printf("%s\n", status)
	c.Sent = nil

	client := ws.Encoder{Masks: ws.NewMasks([32]byte{1})} // a real client takes a seed of crypto/rand
	var answers ws.Decoder
	answers.Start(ws.NewRules(ws.Limits{}, true), ws.Extension{})
	c.Receive(client.AppendMessage(nil, ws.Text, []byte("hello")))
	opcode, payload, _, err := answers.Next(c.Sent)
	fmt.Printf("%v %s %v\n", opcode, payload, err)
	c.Receive(client.AppendClose(nil, ws.CodeNormal, "done"))
	// Output:
	// HTTP/1.1 101 Switching Protocols
	// text HELLO <nil>
	// closed with 1000 done behind 1 message
}
