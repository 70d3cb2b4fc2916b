package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files and docs/config.md anew")

var known = Known{
	Drivers:  []string{"uring", "epoll", "rtsig", "poll", "select", "sweep"},
	Models:   []string{"single", "thread", "goroutine", "workpool", "reactor"},
	Loopless: []string{"single", "thread", "goroutine", "workpool"},
	Policies: []string{"least_connections", "round_robin", "maglev", "random"},
}

var sameConfig = cmp.Options{
	cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty(), cmpopts.EquateComparable(IP{}, Subnet{}),
}

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is stale, go test -update writes it anew (-file +now):\n%s", path, diff)
	}
}

func report(warnings []Problem, err error) string {
	var text strings.Builder
	for _, warning := range warnings {
		text.WriteString("warning: " + warning.Error() + "\n\n")
	}
	if err != nil {
		text.WriteString(err.Error() + "\n")
	} else {
		text.WriteString("This can be run.\n")
	}
	return text.String()
}

func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, warnings, err := known.Load(file, nil)
			if (c == nil) != (err != nil) {
				t.Errorf("configuration %v with error %v", c != nil, err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", report(warnings, err))
			var problems Problems
			if err != nil && !errors.As(err, &problems) {
				t.Fatalf("the error is a %T", err)
			}
			for _, problem := range problems {
				if problem.Line < 1 || problem.Column < 1 || problem.File != file || problem.Excerpt == "" {
					t.Errorf("a problem without a place: %#v", problem)
				}
			}
		})
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	_, err := Load("testdata/absent.yaml", nil)
	want := "testdata/absent.yaml: the file cannot be read: no such file or directory\n" +
		"    check the path; without a file the defaults are taken"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err = Load("testdata", nil); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory was read: %v", err)
	}
}

func TestFileThatIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, make([]byte, largestFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "262145 bytes") {
		t.Errorf("got %v", err)
	}
	if _, _, err := known.Parse("many.yaml", "routes: ["+strings.Repeat("{},", mostItems+1)+"]", nil); err == nil ||
		!strings.Contains(err.Error(), "the list has 10001 items") {
		t.Errorf("got %v", err)
	}
	var problems Problems
	_, _, err := known.Parse("wrong.yaml", strings.Repeat("wrong: 1\n", 2*mostProblems), nil)
	if !errors.As(err, &problems) || len(problems) != mostProblems || problems[mostProblems-1].Line != mostProblems {
		t.Errorf("got %d problems", len(problems))
	}
}

func TestDefault(t *testing.T) {
	warnings, err := Check(Default(), known)
	if err != nil {
		t.Fatalf("the defaults cannot be run: %v", err)
	}
	if len(warnings) != 1 || warnings[0].Path != "routes" {
		t.Errorf("the only warning should be that there are no routes: %v", warnings)
	}
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c, sameConfig); diff != "" {
		t.Errorf("loading nothing is not the default:\n%s", diff)
	}
}

func TestMarshalledConfigurationLoadsEqual(t *testing.T) {
	full, err := Load("testdata/full.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	commandLine := Default()
	commandLine.Routes = []Route{FilesRoute("testdata"), RespondRoute("hello\nworld: \"x\"\t# no comment")}
	commandLine.Listeners = append(commandLine.Listeners, Listen("unix:@a b"), Listen("[::1]:0"))
	for name, c := range map[string]*Config{"default": Default(), "full": full, "command line": commandLine} {
		text, err := Marshal(c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, _, err := Known{}.Parse(name, string(text), nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		} else if diff := cmp.Diff(c, again, sameConfig); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s\n%s", name, diff, text)
		}
	}
}

// TestByteOrderMark has a file say the same, in the same places, with a byte order mark and without.
func TestByteOrderMark(t *testing.T) {
	for _, text := range []string{
		"engine: {driver: poll}\nroutes: [{respond: {body: a}}]\n",
		"engin: {}\n",
		"engine:\r\n  driver: none\r\n",
		"",
	} {
		plain, warnings, err := known.Parse("a.yaml", text, nil)
		want := report(warnings, err)
		marked, warnings, err := known.Parse("a.yaml", "\ufeff"+text, nil)
		if diff := cmp.Diff(want, report(warnings, err)); diff != "" {
			t.Errorf("%q is read otherwise with a mark (-without +with):\n%s", text, diff)
		}
		if diff := cmp.Diff(plain, marked, sameConfig); diff != "" {
			t.Errorf("%q means something else with a mark (-without +with):\n%s", text, diff)
		}
	}
	if _, _, err := known.Parse("a.yaml", "\ufeff\ufeffengine: {driver: poll}\n", nil); err == nil {
		t.Error("a second mark is taken for a first")
	}
}
