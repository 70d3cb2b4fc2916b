package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A backend is a server that people run, with a log of the requests that it saw.
type backend struct {
	name    string
	address string
	// seen are the requests, as "METHOD TARGET", of a server that has been left alone for a moment.
	seen func() []string
}

// backends are started with a folder to serve.
var backends = []struct {
	name  string
	start func(t *testing.T, folder string) *backend
}{
	{"go", startGo},
	{"nginx", startNginx},
	{"python", startPython},
	{"gunicorn", startGunicorn},
}

// needs skips a test without the program.
func needs(t testing.TB, program, why string) string {
	t.Helper()
	for _, folder := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin"} { // Debian's, not one of the user's
		name := filepath.Join(folder, program)
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	t.Skipf("%s is not installed: %s", program, why)
	return ""
}

// ownHost is where programs listen at ports that tests choose: clients of this machine take theirs at 127.0.0.1, and
// one of these may get any port that is free before a program does.
const ownHost = "127.0.0.17"

// freePort is one of ownHost that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", ownHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts a program that listens, and ends it with the test. What it says goes to out.
func run(t testing.TB, address string, out io.Writer, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(context.Background(), program, arguments...)
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = command.Process.Kill()
			<-ended
		}
	})
	network := "tcp"
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", name
	}
	await(t, func() bool {
		c, err := net.Dial(network, address)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}, func() string { return fmt.Sprintf("%s on %s: %v", program, address, out) })
	return command
}

// A journal is what a program says, to be read while it is said.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends to the journal.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// String is all that was said.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// quoted are the request lines in a log that writes them in quotes, without their versions.
func quoted(log string) (seen []string) {
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, `"`); ok {
			if request, _, ok := strings.Cut(rest, `"`); ok {
				words := strings.Split(request, " ")
				seen = append(seen, strings.Join(words[:min(2, len(words))], " "))
			}
		}
	}
	return seen
}

const nginxConfiguration = `
daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	types { text/plain txt; text/html html; image/png png; }
	client_max_body_size 16m; keepalive_requests 1000000; merge_slashes off;
	server {
		listen %[4]s:%[2]d;
		root %[3]s;
		location /echo { return 200 "$request_method $request_uri $http_x_echo\n"; }
		location /gone { return 410 "gone\n"; }
		location /moved { return 302 /files/small.txt; }
		location /nothing { return 204; }
	}
}
`

func startNginx(t *testing.T, folder string) *backend {
	program := needs(t, "nginx", "apt-get install nginx")
	home, port := t.TempDir(), freePort(t)
	configuration := fmt.Sprintf(nginxConfiguration, home, port, folder, ownHost)
	if err := os.WriteFile(home+"/nginx.conf", []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint(ownHost, ":", port)
	run(t, address, new(journal), program, "-p", home, "-c", home+"/nginx.conf", "-e", home+"/error.log")
	return &backend{"nginx", address, func() []string {
		text, err := os.ReadFile(home + "/access.log")
		if err != nil {
			t.Fatal(err)
		}
		return quoted(string(text))
	}}
}

func startPython(t *testing.T, folder string) *backend {
	program := needs(t, "python3", "apt-get install python3")
	port, log := freePort(t), new(journal)
	address := fmt.Sprint(ownHost, ":", port)
	run(t, address, log, program, "-u", "-m", "http.server", fmt.Sprint(port), "--bind", ownHost,
		"--directory", folder)
	return &backend{"python", address, func() []string { return quoted(log.String()) }}
}

// flaskApplication echoes what it got, in an order of its own.
const flaskApplication = `
import hashlib, sys
from flask import Flask, request, Response
app = Flask(__name__)
OWN = ("X-Forwarded-", "Via", "Connection", "Transfer-Encoding", "Te", "Forwarded", "Expect")
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]

@app.route("/", defaults={"path": ""}, methods=METHODS)
@app.route("/<path:path>", methods=METHODS)
def echo(path):
    body = request.get_data()
    print('"%s %s"' % (request.method, request.environ["RAW_URI"]), file=sys.stderr, flush=True)
    lines = [request.method, request.environ["RAW_URI"], str(len(body)), hashlib.sha256(body).hexdigest()]
    for name, value in sorted(request.headers.items()):
        if not name.startswith(OWN) and (name != "Content-Length" or body):
            lines.append(name + ": " + value)
    text = "\n".join(lines) + "\n"
    status = int(request.args.get("status", "200"))
    if status == 204 or status == 304:
        return Response(status=status, headers={"X-Length": str(len(text))})
    if "stream" in request.args:
        answer = Response((line + "\n" for line in lines), status=status, mimetype="text/plain")
    else:
        answer = Response(text, status=status, mimetype="text/plain")
        answer.add_etag()
        answer = answer.make_conditional(request.environ, accept_ranges=True, complete_length=len(text))
    answer.headers.add("X-Twice", "one")
    answer.headers.add("X-Twice", "two")
    return answer
`

func startGunicorn(t *testing.T, _ string) *backend {
	program := needs(t, "gunicorn", "apt-get install gunicorn python3-flask")
	home, port, log := t.TempDir(), freePort(t), new(journal)
	if err := os.WriteFile(home+"/echo.py", []byte(flaskApplication), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint(ownHost, ":", port)
	run(t, address, log, program, "--chdir", home, "--bind", address, "--worker-class", "gthread", "--threads", "8",
		"--keep-alive", "5", "--worker-tmp-dir", home, "--log-level", "warning", "echo:app")
	return &backend{"gunicorn", address, func() []string { return quoted(log.String()) }}
}

func startGo(t *testing.T, folder string) *backend {
	var mu sync.Mutex
	var seen []string
	files := http.StripPrefix("/files", http.FileServer(http.Dir(folder+"/files")))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.RequestURI)
		mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/files/") {
			files.ServeHTTP(w, r)
			return
		}
		goEcho(w, r)
	}))
	t.Cleanup(server.Close)
	return &backend{"go", server.Listener.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}}
}

// ownFields are those that a proxy adds, or that belong to one connection. An expectation is met by the proxy where the
// content has come already.
var ownFields = []string{
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "Connection", "Te", "Forwarded", "Expect",
}

// goEcho answers with what it got: its form is asked for in the query.
func goEcho(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	fields := r.Header.Clone()
	for _, name := range ownFields {
		fields.Del(name)
	}
	if len(content) == 0 {
		fields.Del("Content-Length")
	}
	_ = fields.Write(&text)
	_ = r.Trailer.Write(&text)
	fmt.Fprintf(&text, "%d %s\n", len(content), content)
	query := r.URL.Query()
	w.Header()["X-Twice"] = []string{"one", "two"}
	w.Header().Set("Content-Type", "text/plain")
	if query.Has("trailer") {
		w.Header().Set("Trailer", "X-Trailer")
		defer w.Header().Set("X-Trailer", "at the end")
	}
	if query.Has("hint") {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	status := 200
	_, _ = fmt.Sscan(query.Get("status"), &status)
	w.WriteHeader(status)
	if status == 204 || status == 304 {
		return
	}
	for part := range slices.Chunk([]byte(text.String()), 100) {
		_, _ = w.Write(part)
		if query.Has("stream") {
			w.(http.Flusher).Flush()
		}
	}
}

// folderOf makes a folder to serve.
func folderOf(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(folder+"/files", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{
		"empty.txt": 0, "small.txt": 26, "page.html": 4000, "large.png": 300_000, "with space.txt": 10,
	} {
		text := bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), size/26+1)[:size]
		if err := os.WriteFile(folder+"/files/"+name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		if err := os.Chtimes(folder+"/files/"+name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
