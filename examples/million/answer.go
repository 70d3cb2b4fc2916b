package main

import (
	"bytes"

	"github.com/myriad-server/myriad/internal/crowd"
)

const (
	loopbackHost = "127.0.0.1"           // where the servers listen
	statusOK     = "HTTP/1.1 200 OK\r\n" // how a good answer begins
)

// answerOf is what answers of so many bytes with a body look like: only the date in them changes.
func answerOf(size int, body []byte) crowd.Answer {
	return crowd.Answer{Size: size, Good: func(p []byte) bool {
		return bytes.HasPrefix(p, []byte(statusOK)) && bytes.HasSuffix(p, body)
	}}
}
