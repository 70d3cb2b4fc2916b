package webtest

import (
	"bufio"
	"bytes"
	"io"
	"net/http"

	"github.com/myriad-server/myriad/conn"
)

// Answer is a response and its content.
type Answer struct {
	*http.Response
	Body string
}

// Ask sends one request to a handler on a connection of its own, and returns the answer as a client reads it.
func Ask(h conn.Handler, request string) (Answer, error) {
	c := New(h)
	c.Receive([]byte(request))
	answers, err := Read(c.Sent, method(request))
	if err != nil {
		return Answer{}, err
	}
	return answers[0], nil
}

// method is the method of a request.
func method(request string) string {
	name, _, _ := bytes.Cut([]byte(request), []byte(" "))
	return string(name)
}

// Read reads the answers to requests with the methods given out of what was sent. What is left over, as what is
// missing, is an error. An interim answer is passed over.
func Read(sent []byte, methods ...string) ([]Answer, error) {
	r := bufio.NewReader(bytes.NewReader(sent))
	answers := make([]Answer, 0, len(methods))
	for _, m := range methods {
		a, err := next(r, m)
		for err == nil && a.StatusCode < 200 {
			a, err = next(r, m)
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, a)
	}
	if _, err := r.Peek(1); err != io.EOF {
		return answers, io.ErrNoProgress
	}
	return answers, nil
}

// next reads one answer to a request with the method.
func next(r *bufio.Reader, method string) (Answer, error) {
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Answer{response, string(body)}, err
}
