package http1_test

import (
	"fmt"

	"github.com/myriad-server/myriad/proto/http1"
)

// A request arrives in two pieces; its content is taken from its chunks, and an answer is written.
func Example() {
	var request http1.Request
	var body http1.BodyDecoder
	in := []byte("POST /echo?loud HTTP/1.1\r\nHost: example.org:8080\r\nTransfer-Enc")
	n, err := request.Parse(in, nil)
	fmt.Println(n, err)

	in = append(in, "oding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"...)
	if n, err = request.Parse(in, nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s %s %s\n", request.Method, request.Path(), request.Query(), request.Host())

	var content []byte
	body.Start(&request)
	for in = in[n:]; !body.Done(); {
		payload, used, _, err := body.Decode(in)
		if err != nil {
			fmt.Println(err)
			return
		}
		content = append(content, payload...)
		in = in[used:]
	}

	out := http1.AppendStatus(nil, 200)
	out = http1.AppendField(out, "Content-Type", "text/plain\r\nSet-Cookie: injected")
	out = http1.AppendLength(out, int64(len(content)))
	out = http1.AppendHeadEnd(out)
	fmt.Printf("%q\n", append(out, content...))
	// Output:
	// 0 <nil>
	// POST /echo loud example.org
	// "HTTP/1.1 200 OK\r\nContent-Type: text/plain  Set-Cookie: injected\r\nContent-Length: 11\r\n\r\nhello world"
}
