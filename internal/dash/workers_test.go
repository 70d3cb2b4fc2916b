package dash_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/dash/browser"
)

// worker is what the API tells of one.
func worker(number, seat int, state, why string, restarts int) string {
	return fmt.Sprintf(`{"worker": %d, "slot": %d, "seat": %d, "pid": %d, "state": %q, "why": %q, "generation": 1,
		"uptime_seconds": 200, "restarts": %d, "connections": 1234, "requests_per_second": 56.7, "processors": 0.5,
		"resident_bytes": 10485760}`, number, number, seat, 1000+number, state, why, restarts)
}

// workers is what the API tells of several.
func workers(condition string, ready, desired int, all ...string) string {
	return fmt.Sprintf(`{"condition": %q, "process_model": "reuseport", "ready": %d, "desired": %d, "workers": [%s]}`,
		condition, ready, desired, strings.Join(all, ","))
}

// supervised is what a supervisor tells.
func supervised(all string) told {
	server := proxying()
	server["GET /v1/status"] = strings.Replace(server["GET /v1/status"], `"pid": 1`, `"pid": 1, "workers": 2`, 1)
	server["GET /v1/workers"] = all
	server["GET /v1/events"] = strings.Replace(server["GET /v1/events"], `"loops": []`, `"loops": [{"worker": 3, "loop": 1,
		"busy_share": 0.5, "open": 1, "turns_per_second": 1, "turn_microseconds": 1, "completions_per_turn": 1}]`, 1)
	server["GET /v1/events"] = strings.ReplaceAll(server["GET /v1/events"], "\n\t\t", " ")
	return server
}

// shown are the rows of the workers as a browser shows them: cells that are hidden are left out.
const shown = "[...document.querySelectorAll('#workers tbody tr')].map((r) => [...r.cells]" +
	".filter((c) => c.offsetWidth > 0).map((c) => c.innerText.trim()).join('|')).join(' / ')"

// TestWorkers lists the workers of a supervisor in the order of their seats, says how many serve, and can be reached by
// a key.
func TestWorkers(t *testing.T) {
	b := browser.Start(t)
	server := supervised(workers("rolling", 1, 2,
		worker(2, 1, "serving", "", 0), worker(3, 0, "draining", "replaced", 2)))
	at, _ := server.serve(t, "127.0.0.1:0")
	for _, test := range []struct {
		look browser.Look
		rows string
	}{
		{
			browser.Look{Width: 1400, Height: 900},
			"3|3|1003|draining replaced|1,234|57|50 %|10.0 MiB|2|3 min 20 s / " +
				"2|2|1002|serving|1,234|57|50 %|10.0 MiB|0|3 min 20 s",
		},
		{
			browser.Look{Width: 360, Height: 740, Phone: true, Dark: true},
			"3|draining|1,234|57|50 % / 2|serving|1,234|57|50 %",
		},
	} {
		p := b.Open("http://"+at, test.look)
		p.Await(shown + " === '" + test.rows + "'")
		p.Await("document.querySelector('#workers .problem').textContent === '1 of 2 serve, rolling, reuseport'")
		p.Await("document.querySelector('#loops tbody td').textContent === '3 · 1'")
		if got := p.Eval("document.documentElement.scrollWidth"); got != float64(test.look.Width) {
			t.Errorf("the page is %v wide on a screen of %d", got, test.look.Width)
		}
		serving := "document.querySelector('#workers .state[data-state=serving]')"
		color := p.Eval("getComputedStyle(" + serving + ", '::before').backgroundColor")
		if light := color == "rgb(43, 154, 107)"; light == test.look.Dark {
			t.Errorf("dark: %t, and the colors are light: %t", test.look.Dark, light)
		}
		p.Press("w")
		p.Await("document.activeElement.id === 'workers'")
		if bad := p.Complaints(); len(bad) > 0 {
			t.Errorf("the page complains: %q", bad)
		}
	}
}

// TestWorkersComeAndGo follows what a supervisor tells, and shows nothing of workers behind a server that has none.
func TestWorkersComeAndGo(t *testing.T) {
	b := browser.Start(t)
	server := supervised(workers("crash loop", 0, 1, worker(7, 0, "killed", "it hangs", 5)))
	at, end := server.serve(t, "127.0.0.1:0")
	p := b.Open("http://"+at, browser.Look{Width: 1400, Height: 900})
	p.Await("document.querySelector('#workers .problem').textContent === '0 of 1 serve, crash loop, reuseport'")
	p.Await("document.querySelector('#workers .restarted').cells[8].textContent === '5'")
	end()
	p.Await("document.body.classList.contains('stale')")
	server["GET /v1/workers"] = workers("running", 1, 1, worker(8, 0, "serving", "", 5))
	_, end = server.serve(t, at)
	p.Await(shown + ".startsWith('8|8|1008|serving|') && document.querySelectorAll('#workers tbody tr').length === 1")
	p.Await("document.querySelector('#workers .soft').textContent === '1 of 1 serve, running, reuseport'")
	end()
	p.Await("document.body.classList.contains('stale')")
	alone := proxying()
	alone.serve(t, at)
	p.Await("document.getElementById('workers').hidden && document.getElementById('to-workers').hidden")
}
