package proof

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// told is what the recorder says of a failed answer: its cause, and the words for the last events of the connection to
// the upstream, without their times and numbers.
var (
	toldAnswer = regexp.MustCompile(`msg="an answer failed" .*`)
	toldEvents = regexp.MustCompile(` events="([^"]*)"`)
	toldAsked  = regexp.MustCompile(` upstream_events="([^"]*)"`)
	toldEvent  = regexp.MustCompile(`^-?[0-9.a-zµ]+ ([a-z_]+)(.*)$`)
)

// lastEvents are the words for the last events that tell how an attempt ended, by the cause. What differs between two
// runs is not among them: how the bytes came in pieces, and when.
var lastEvents = map[string][]string{
	"closed_early":          {"peer_ended"},
	"reset":                 {"received connection reset by peer", "closing connection reset by peer"},
	"first_byte_timeout":    {"sent"},
	"between_bytes_timeout": {"received"},
	"malformed_head":        {"received"},
	"head_too_large":        {"received"},
	"malformed_body":        {"received"},
	"unexpected_upgrade":    {"received"},
}

// words are the events of a line, without times and numbers.
func words(line string, of *regexp.Regexp) (all []string) {
	found := of.FindStringSubmatch(line)
	if found == nil {
		return nil
	}
	for event := range strings.SplitSeq(found[1], "; ") {
		parts := toldEvent.FindStringSubmatch(event)
		if parts == nil {
			return []string{"not understood: " + event}
		}
		word := parts[1]
		if why := strings.TrimSpace(parts[2]); strings.Contains(why, "reset") {
			word += " " + why
		}
		all = append(all, word)
	}
	return all
}

// explains checks that the recorder has explained what became of a request, if it failed, and said nothing if it did
// not.
func (p *proxy) explains(fault string, want *outcome) {
	p.t.Helper()
	line := toldAnswer.FindString(p.errors.String())
	if want.cause == "" {
		if line != "" {
			p.t.Errorf("nothing failed, and the recorder says %s", line)
		}
		return
	}
	if !strings.Contains(line, fmt.Sprintf(" status=%d cause=%s ", want.status, want.cause)) {
		p.t.Errorf("the recorder says %q, and not %s", line, want.cause)
		return
	}
	client, asked := words(line, toldEvents), words(line, toldAsked)
	for _, word := range []string{"began", "waiting", "asked", "answered"} {
		if !slices.Contains(client, word) {
			p.t.Errorf("no %q is among the events of the client: %s", word, line)
		}
	}
	ends := lastEvents[want.cause]
	if len(ends) == 0 {
		p.t.Fatalf("nothing is known of the events of %s", want.cause)
	}
	if !slices.Contains(asked, "serving") ||
		!slices.ContainsFunc(ends, func(word string) bool { return slices.Contains(asked, word) }) {
		p.t.Errorf("none of %q is among the events of the upstream: %s", ends, line)
	}
	if last := client[len(client)-1]; last != "answered" && !want.broken {
		p.t.Errorf("the client's last event is %s", last)
	}
}

const explanationsPath = "../../docs/observability.md"

// TestFaultsAreExplained compares the table of docs/observability.md with the outcomes: each fault stands there with
// its status, its cause and the events that show it.
func TestFaultsAreExplained(t *testing.T) {
	text, err := os.ReadFile(explanationsPath)
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range outcomes {
		if row := o.row(name); !strings.Contains(string(text), row) {
			t.Errorf("docs/observability.md lacks\n%s", row)
		}
	}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 6 && strings.HasPrefix(line, "| `") {
			name := strings.Trim(strings.TrimSpace(cells[1]), "`")
			if _, known := outcomes[name]; !known && strings.TrimSpace(cells[3]) != "" {
				t.Errorf("docs/observability.md explains %s, which is no fault", name)
			}
		}
	}
}

// row is the line of the table for a fault.
func (o *outcome) row(name string) string {
	cause, shows := "none", "nothing: it is no failure for the client"
	if o.cause != "" {
		cause, shows = "`"+o.cause+"`", "`"+strings.Join(lastEvents[o.cause], "` or `")+"`"
	}
	return fmt.Sprintf("| `%s` | %d | %s | %s |", name, o.status, cause, shows)
}
