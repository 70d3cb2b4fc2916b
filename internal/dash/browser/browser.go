// Package browser has tests look at pages as people do: in a Chromium without a window, which is spoken to over its
// DevTools protocol.
package browser

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// hang is how long a test waits for what must happen.
const hang = 90 * time.Second

// Browser is a Chromium without a window, spoken to over its DevTools protocol.
type Browser struct {
	t  *testing.T
	ws *websocket.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	told    map[string][]string // by session: what the pages complained about
}

// reply is an answer of the browser, or an event.
type reply struct {
	ID      int             `json:"id"`
	Session string          `json:"sessionId"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start starts a browser that ends with the test, or skips the test where there is none.
func Start(t *testing.T) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium to look at the page with: apt-get install chromium")
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--hide-scrollbars", "--disable-background-networking", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir())
	errors, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	where, silent := make(chan string, 1), make(chan struct{})
	t.Cleanup(func() { // all of its processes must be gone before its folder is removed
		select {
		case <-silent:
		case <-time.After(hang):
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	})
	go func() {
		defer close(silent)
		lines := bufio.NewScanner(errors)
		for lines.Scan() {
			if _, address, found := strings.Cut(lines.Text(), "DevTools listening on "); found {
				where <- address
			}
		}
	}()
	b := &Browser{t: t, waiting: map[int]chan reply{}, told: map[string][]string{}}
	select {
	case address := <-where:
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		if b.ws, _, err = websocket.Dial(ctx, address, nil); err != nil {
			t.Fatal(err)
		}
	case <-time.After(hang):
		t.Fatal("chromium does not start")
	}
	b.ws.SetReadLimit(64 << 20)
	done := make(chan struct{})
	go func() { defer close(done); b.read() }()
	t.Cleanup(func() {
		text, _ := json.Marshal(map[string]any{"id": -1, "method": "Browser.close"})
		_ = b.ws.Write(context.Background(), websocket.MessageText, text)
		<-done
		_ = b.ws.CloseNow()
	})
	return b
}

// read hands answers to those who wait for them, and keeps complaints.
func (b *Browser) read() {
	for {
		_, text, err := b.ws.Read(context.Background())
		if err != nil {
			return
		}
		var r reply
		if err := json.Unmarshal(text, &r); err != nil {
			continue
		}
		b.mu.Lock()
		switch r.Method {
		case "Runtime.exceptionThrown", "Log.entryAdded":
			b.told[r.Session] = append(b.told[r.Session], string(r.Params))
		}
		if c := b.waiting[r.ID]; c != nil {
			delete(b.waiting, r.ID)
			c <- r
		}
		b.mu.Unlock()
	}
}

// ask has the browser do something, in a page if session is not empty.
func (b *Browser) ask(session, method string, params any) json.RawMessage {
	b.t.Helper()
	answer := make(chan reply, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waiting[id] = answer
	b.mu.Unlock()
	text, err := json.Marshal(map[string]any{"id": id, "sessionId": session, "method": method, "params": params})
	if session == "" {
		text, err = json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.ws.Write(b.t.Context(), websocket.MessageText, text); err != nil {
		b.t.Fatal(err)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			b.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		return r.Result
	case <-time.After(hang):
		b.t.Fatalf("%s: no answer", method)
	}
	return nil
}

// Tab is a page in the browser.
type Tab struct {
	*Browser
	session string
}

// Look is how a page is looked at.
type Look struct {
	Width, Height int
	Phone, Dark   bool
}

// Open opens a page.
func (b *Browser) Open(url string, l Look) *Tab {
	b.t.Helper()
	var target struct {
		ID string `json:"targetId"`
	}
	var attached struct {
		ID string `json:"sessionId"`
	}
	parse(b.t, b.ask("", "Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	parse(b.t, b.ask("", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}), &attached)
	p := &Tab{b, attached.ID}
	scale := 1
	if l.Phone {
		scale = 2
	}
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	p.do("Runtime.enable", nil)
	p.do("Log.enable", nil)
	p.do("Page.enable", nil)
	p.do("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": l.Width, "height": l.Height, "deviceScaleFactor": scale, "mobile": l.Phone,
	})
	p.do("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	})
	p.do("Page.navigate", map[string]any{"url": url})
	p.Await("document.readyState === 'complete'")
	return p
}

func parse(t *testing.T, text json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

func (p *Tab) do(method string, params map[string]any) json.RawMessage {
	p.t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	return p.ask(p.session, method, params)
}

// Eval is the value of a JavaScript expression, or of what it promises.
func (p *Tab) Eval(expression string) any {
	p.t.Helper()
	var answer struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	parse(p.t, p.do("Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true,
	}), &answer)
	if e := answer.Exception; e != nil {
		p.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	return answer.Result.Value
}

// Await waits until an expression is true.
func (p *Tab) Await(expression string) {
	p.t.Helper()
	if seen := p.Eval(fmt.Sprintf(`new Promise((resolve) => {
		const until = performance.now() + %d;
		const look = () => {
			let seen = false;
			try { seen = Boolean(%s); } catch { /* not yet */ }
			if (seen || performance.now() > until) resolve(seen);
			else setTimeout(look, 20);
		};
		look();
	})`, (hang * 2 / 3).Milliseconds(), expression)); seen != true {
		p.t.Fatalf("it never came to be: %s; the page says %q; complaints: %q", expression,
			p.Eval("document.body.innerText.slice(0, 2000)"), p.Complaints())
	}
}

// Press presses a key.
func (p *Tab) Press(key string) {
	p.t.Helper()
	press := map[string]any{"type": "keyDown", "key": key, "text": key}
	switch key {
	case "Enter":
		press["text"], press["code"], press["windowsVirtualKeyCode"] = "\r", "Enter", 13
	case "Escape":
		press["type"], press["code"], press["windowsVirtualKeyCode"] = "rawKeyDown", "Escape", 27
		delete(press, "text")
	}
	p.do("Input.dispatchKeyEvent", press)
	press["type"] = "keyUp"
	delete(press, "text")
	p.do("Input.dispatchKeyEvent", press)
}

// Write types a text.
func (p *Tab) Write(text string) {
	p.t.Helper()
	p.do("Input.insertText", map[string]any{"text": text})
}

// Picture writes what is to be seen to a file.
func (p *Tab) Picture(file string) {
	p.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	parse(p.t, p.do("Page.captureScreenshot", map[string]any{"format": "png"}), &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Complaints are exceptions, refusals of the policy, and answers that were errors.
func (p *Tab) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told[p.session]
}
