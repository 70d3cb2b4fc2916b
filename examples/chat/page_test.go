package main

import (
	"flag"
	"fmt"
	"testing"

	"github.com/myriad-server/myriad/internal/dash/browser"
)

// pictureFlag has TestPage write the picture of docs/bus.md.
var pictureFlag = flag.String("picture", "", "where the picture of the page goes")

// TestPage has two people talk in two windows of a browser, over two workers, one of which is killed. What is said
// meanwhile waits in the window, and comes in its order.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	c := startTeam(t, 2)
	workers := []int{c.await(c.ready), c.await(c.ready)}
	people := []string{"ann", "bob"}
	var windows []*browser.Tab
	for i, name := range people {
		look := browser.Look{Width: 520, Height: 420, Dark: i > 0}
		w := b.Open("http://"+c.address+"/?room=lobby&name="+name, look)
		w.Await("document.getElementById('state').textContent === 'connected'")
		windows = append(windows, w)
	}
	say := func(w *browser.Tab, text string) {
		w.Write(text)
		w.Press("Enter")
	}
	hears := func(text string) {
		t.Helper()
		for _, w := range windows {
			w.Await(fmt.Sprintf("document.getElementById('said').innerText.includes(%q)", text))
			w.Await("document.querySelectorAll('.waits').length === 0")
		}
	}
	say(windows[0], "Is anybody on the other worker?")
	hears("Is anybody on the other worker?")
	say(windows[1], "I am, wherever that is.")
	hears("I am, wherever that is.")
	for i, pid := range workers { // at the end of it, both have lost theirs
		kill(t, pid)
		for j, w := range windows {
			say(w, fmt.Sprintf("Worker %d was killed (%s).", i+1, people[j]))
		}
		c.await(c.ready)
	}
	for i := range workers {
		for _, name := range people {
			hears(fmt.Sprintf("Worker %d was killed (%s).", i+1, name))
		}
	}
	const lines = "[...document.querySelectorAll('#said li')].map((l) => l.innerText).join('|')"
	if ann, bob := windows[0].Eval(lines), windows[1].Eval(lines); ann != bob {
		t.Errorf("ann sees %q, and bob %q", ann, bob)
	}
	for i, w := range windows {
		if *pictureFlag != "" {
			w.Picture(fmt.Sprintf("%s-%s.png", *pictureFlag, people[i]))
		}
	}
}
