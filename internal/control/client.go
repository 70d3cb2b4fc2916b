package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/config"
)

// Client asks the admin API of a running server.
type Client struct {
	// Where is its address, for people.
	Where string
	http  http.Client
	base  string
}

// Dial finds a server: the one at an address such as "unix:/run/myriad/7.sock", or, if that is empty, the only one in
// the runtime directory.
func Dial(address string) (*Client, error) {
	if address == "" || address == "auto" {
		return discover(Folder())
	}
	var at config.AutoOrOffOrAddress
	if err := at.UnmarshalText([]byte(address)); err != nil || at.Off {
		return nil, fmt.Errorf("--admin %s: that is no address of a server; write unix:PATH or 127.0.0.1:PORT", address)
	}
	if at.Address.Network == config.TCP {
		return &Client{Where: address, base: "http://" + at.Address.AddrPort().String()}, nil
	}
	return clientAt(at.Address.Path), nil
}

func clientAt(path string) *Client {
	c := &Client{Where: "unix:" + path, base: "http://localhost"}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return c
}

// discover looks for servers that answer.
func discover(folder string) (*Client, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.sock"))
	if err != nil {
		return nil, err
	}
	var alive []string
	var denied error
	for _, path := range paths {
		c, err := net.DialTimeout("unix", path, time.Second)
		switch {
		case err == nil:
			_ = c.Close()
			alive = append(alive, path)
		case errors.Is(err, fs.ErrPermission):
			denied = err
		}
	}
	switch {
	case len(alive) == 1:
		return clientAt(alive[0]), nil
	case len(alive) > 1:
		return nil, fmt.Errorf("%d servers of this user run: choose one with --admin unix:%s", len(alive),
			strings.Join(alive, " or --admin unix:"))
	case denied != nil:
		return nil, fmt.Errorf("%w; ask as the user that runs the server", denied)
	}
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; ask as the user that runs the server", err)
	}
	return nil, fmt.Errorf("no server of this user has its admin socket in %s; start one, ask as the user that runs it, "+
		"or name the socket with --admin unix:PATH", folder)
}

// Ask sends a request and reads its answer into v, if that is not nil. The text of the answer is returned as well.
func (c *Client) Ask(ctx context.Context, method, path string, query url.Values, v any) (text []byte, err error) {
	status, text, err := c.relay(ctx, method, path, query, nil)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK:
		var problem Problem
		if json.Unmarshal(text, &problem) != nil || problem.Text == "" {
			return nil, fmt.Errorf("%s answers %d %s: it is no admin API of this version", c.Where, status,
				http.StatusText(status))
		}
		if problem.Mend != "" {
			problem.Text += "; " + problem.Mend
		}
		return nil, errors.New(problem.Text)
	case v == nil:
		return text, nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s answers what is no admin API of this version: %w", c.Where, err)
	}
	return text, nil
}

// relay sends a request and reads the whole answer, whatever it is.
func (c *Client) relay(ctx context.Context, method, path string, query url.Values, content []byte,
) (status int, text []byte, err error) {
	response, err := c.open(ctx, method, path, query, content)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if text, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, c.explain(err)
	}
	return response.StatusCode, text, nil
}

// open sends a request. The answer's content is the caller's to read and to close.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, content []byte,
) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	return response, nil
}

// explain says what can be done about a server that does not answer.
func (c *Client) explain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	mend := "see its log"
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		mend = "no server listens there: start it, or name another place with --admin"
	case errors.Is(err, fs.ErrPermission):
		mend = "ask as the user that runs the server, or as root"
	}
	return fmt.Errorf("%s does not answer: %w; %s", c.Where, err, mend)
}
