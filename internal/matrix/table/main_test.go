package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ran is what go test -json says of subtests, each as "action name"; skipped ones give a reason.
func ran(lines ...string) string {
	var b strings.Builder
	put := func(action, name, output string) {
		const form = `{"Action":"%s","Package":"p","Test":"TestMatrix%s","Output":"%s"}` + "\n"
		fmt.Fprintf(&b, form, action, name, output)
	}
	for _, line := range lines {
		action, name, _ := strings.Cut(line, " ")
		put("run", name, "")
		switch action {
		case "skip":
			put("output", name, `    a_test.go:12: there is a reason\n`)
		case "fail":
			put("output", name, `    a_test.go:12: it is wrong\n`)
		}
		if action != "run" {
			put(action, name, "")
		}
	}
	return b.String()
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := run(strings.NewReader(ran(
		"pass ", "pass /reactor_epoll", "pass /reactor_epoll/http", "pass /reactor_epoll/http/a_row",
		"pass /reactor_epoll/http/another", "pass /reactor_epoll/http/another/inside",
		"pass /single_blocking", "pass /single_blocking/http", "pass /single_blocking/http/a_row",
		"skip /single_blocking/http/another", "skip /single_epoll",
	)), &b)
	if err != nil {
		t.Fatal(err)
	}
	want := `# Behaviours, drivers and models

| model | epoll | blocking |
|---|:-:|:-:|
| reactor | 2 pass |  |
| single | 1 | 1 pass |

| behaviour | reactor epoll | single blocking |
|---|:-:|:-:|
| http: a row | pass | pass |
| http: another | pass | 1 |

A number is the reason why there is nothing to test:

1. there is a reason
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFailuresAreTold(t *testing.T) {
	const suite, row = "/reactor_epoll/http", "/reactor_epoll/http/a_row"
	for name, test := range map[string]struct{ in, cell string }{
		"failed":  {ran("fail ", "fail /reactor_epoll", "fail "+suite, "fail "+row), "**FAIL** 1 of 1"},
		"died":    {ran("run ", "run /reactor_epoll", "run "+suite, "run "+row), "**FAIL** 1 of 1"},
		"outside": {ran("fail ", "fail /reactor_epoll", "fail "+suite, "pass "+row), "**FAIL** 0 of 1"},
		"package": {ran("pass ", "pass /reactor_epoll", "pass "+row) + `{"Action":"fail","Package":"p"}`, "1 pass"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := run(strings.NewReader(test.in), &b); err == nil {
				t.Errorf("no error for:\n%s", b.String())
			}
			if !strings.Contains(b.String(), "| "+test.cell+" |") {
				t.Errorf("the table is\n%s", b.String())
			}
		})
	}
}

func TestNothingIsNoTable(t *testing.T) {
	for name, in := range map[string]string{
		"no input":    "",
		"no build":    `{"Action":"build-output","Output":"columns.go:1: syntax error\n"}` + "\n",
		"no JSON":     "go: no such tool\n",
		"only a test": ran("pass "),
	} {
		var b strings.Builder
		if err := run(strings.NewReader(in), &b); err == nil {
			t.Errorf("%s: no error, and the table\n%s", name, b.String())
		}
	}
}
