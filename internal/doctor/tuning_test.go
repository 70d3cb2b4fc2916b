package doctor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write docs/tuning.md anew")

const tuningPath = "../../docs/tuning.md"

// The head and the foot of the document; a ' stands for the backquote that Go cannot write here.
var (
	tuningHead = strings.ReplaceAll(`# Tuning a host for many connections

What 'myriad doctor' looks at, why it matters, and what to do. The command says which of it is so on a host, with the
evidence, the cause, the fix and how to see that it worked; it changes nothing unless asked:

    myriad doctor                        # everything, counters over one second
    myriad doctor --pid 4711             # a process as well, of any program
    myriad doctor --check accept-queue   # one thing
    myriad doctor --target 1M            # what a million connections need, what there is, and the first wall
    myriad doctor --target 1M --diff     # what would be changed for it, and for what was found
    myriad doctor --target 1M --apply    # change it: /etc/sysctl.d/90-myriad.conf, the limits of the service, and now
    myriad doctor --undo                 # put everything back

'--apply' only ever raises a value. It keeps the old ones in '/var/lib/myriad/doctor.json' before it touches anything,
and replaces each file as a whole, so that it can be taken back whenever it was interrupted. What would lower a value,
and what is no sysctl and no limit (a card, a control group, the clock), is for the operator to do: the fix is the
command. The states of connections and what piles of them mean are in [states.md](states.md), what a million of them
takes in [million.md](million.md).

`, "'", "`")

	tuningFoot = strings.ReplaceAll("\nThis file is written by 'go test ./internal/doctor -run TestTuning -update' from "+
		"the checks; a test fails when it is stale.\n", "'", "`")
)

// A provocation is how a test makes what a check looks for, and how it mends it.
type provocation struct{ check, made, found, mended, test string }

// provocations are the conditions that are made for real: the rows of testdata/provocations.md. Those on hosts of
// files are in testdata/hosts.
func provocations(t *testing.T) (list []provocation) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "provocations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if i < 2 {
			continue // the head of the table
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			t.Fatalf("line %d of the provocations: %q", i+1, line)
		}
		for n := range cells {
			cells[n] = strings.Trim(cells[n], " `")
		}
		list = append(list, provocation{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return list
}

// onFiles are the provocations of a check on hosts of files.
func onFiles(t *testing.T, check string) (list []provocation) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "hosts", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		state := readState(t, name)
		if state.check != check {
			continue
		}
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		about, _, _ := strings.Cut(string(archive.Comment), "\n")
		list = append(list, provocation{
			check: check, made: "files: " + about, found: state.harm, mended: "the fix, in files",
			test: "TestChecksOnFakeHosts/" + strings.TrimSuffix(filepath.Base(name), ".txtar"),
		})
	}
	return list
}

// needs says what a check asks for.
func (c *Check) needs() string {
	var list []string
	for _, n := range []struct {
		need Need
		text string
	}{
		{NeedsProcess, "looks at one process (`--pid`)"},
		{NeedsRates, "compares two moments"},
		{NeedsSockets, "lists the sockets of the host"},
		{NeedsLinks, "is about links that lead out of the host"},
	} {
		if c.Needs&n.need != 0 {
			list = append(list, n.text)
		}
	}
	if list == nil {
		return ""
	}
	return "It " + strings.Join(list, ", and ") + ".\n\n"
}

// wrapped breaks a paragraph for those who read the document as text.
func wrapped(text string) string {
	const width = 118
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func TestTuningIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(tuningHead + "## The checks\n\n")
	for _, c := range Checks() {
		fmt.Fprintf(&b, "- [%s](#%s)\n", c.Name, c.Name)
	}
	b.WriteByte('\n')
	for _, c := range Checks() {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n%s", c.Name, wrapped(c.About), c.needs())
	}
	b.WriteString("## How each is tested\n\n" + wrapped("Each check has to find what a test makes, and to find "+
		"nothing once that is mended. Limits of a process, a namespace, a control group or a link are made for real. "+
		"Hardware that a test cannot count on, and settings of the whole host, are in hosts of files.") + "\n\n")
	b.WriteString("| check | made by | found | mended by | test |\n|---|---|---|---|---|\n")
	for _, c := range Checks() {
		all := slices.DeleteFunc(provocations(t), func(p provocation) bool { return p.check != c.Name })
		if all = append(all, onFiles(t, c.Name)...); len(all) == 0 {
			t.Errorf("nothing says how %s is provoked", c.Name)
		}
		for _, p := range all {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` |\n", c.Name, p.made, p.found, p.mended, p.test)
		}
	}
	b.WriteString(tuningFoot)
	text := b.String()
	if *update {
		if err := os.WriteFile(tuningPath, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tuningPath)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s is stale, go test -update writes it anew (-file +now):\n%s", tuningPath, diff)
	}
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// TestTuningNamesTestsThatAre keeps the table honest: every test in it exists, and every check in it, too.
func TestTuningNamesTestsThatAre(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tests, checks := map[string]bool{}, map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
			tests[match[1]] = true
		}
	}
	for _, c := range Checks() {
		checks[c.Name] = true
	}
	for _, p := range provocations(t) {
		if !checks[p.check] || !tests[p.test] {
			t.Errorf("there is no check %s, or no %s", p.check, p.test)
		}
	}
}
