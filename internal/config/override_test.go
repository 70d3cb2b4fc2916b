package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSet(t *testing.T) {
	c := Default()
	c.Routes = []Route{RespondRoute("hello")}
	for _, step := range []struct {
		text string
		got  func() any
		want any
	}{
		{"timeouts.idle=15m", func() any { return c.Timeouts.Idle }, Duration(15 * time.Minute)},
		{"timeouts.request=unlimited", func() any { return c.Timeouts.Request }, DurationOrUnlimited(Unlimited)},
		{" limits.connections = 12", nil, "digits"},
		{"limits.connections=12", func() any { return c.Limits.Connections }, CountOrAuto(12)},
		{"limits.connections=auto", func() any { return c.Limits.Connections }, CountOrAuto(0)},
		{"limits.fields=7", func() any { return c.Limits.Fields }, 7},
		{"engine.driver=epoll", func() any { return c.Engine.Driver }, "epoll"},
		{"engine.accept=acceptor", func() any { return c.Engine.Accept }, AcceptAcceptor},
		{"access_log.sample=0.5", func() any { return c.AccessLog.Sample }, 0.5},
		{"server.name=", func() any { return c.Server.Name }, ""},
		{"server.name=a=b: c", func() any { return c.Server.Name }, "a=b: c"},
		{"listeners[0].backlog=512", func() any { return c.Listeners[0].Backlog }, 512},
		{"listeners[0].address=udp://:53", func() any { return c.Listeners[0].Address.Network }, UDP},
		{"listeners[0].keepalive.enabled=false", func() any { return c.Listeners[0].KeepAlive.Enabled }, false},
		{"listeners[0].keepalive={count: 2}", func() any { return c.Listeners[0].KeepAlive.Count }, 2},
		{"routes[0].methods=[GET, HEAD]", func() any { return c.Routes[0].Methods }, []string{"GET", "HEAD"}},
		{"routes[0].methods[1]=PUT", func() any { return c.Routes[0].Methods }, []string{"GET", "PUT"}},
		{"routes[0].headers.X-A=b", func() any { return c.Routes[0].Headers["X-A"] }, "b"},
		{`routes[0].headers["X-C"]=d`, func() any { return c.Routes[0].Headers["X-C"] }, "d"},
		{"routes[0].files.root=testdata", func() any { return c.Routes[0].Files.Index }, []string{"index.html"}},
		{`routes[0].files.mime[".x.y"]=a/b`, func() any { return c.Routes[0].Files.MIME[".x.y"] }, "a/b"},
		{"routes[0].status={}", func() any { return c.Routes[0].Status }, &Status{}},
		{"listeners=[{address: ':81'}, {address: ':82'}]", func() any { return c.Listeners[1].Backlog }, 4096},
		{"routes=[]", func() any { return c.Routes }, []Route{}},
	} {
		err := Set(c, step.text)
		if step.got == nil {
			if err == nil || !strings.Contains(err.Error(), step.want.(string)) {
				t.Errorf("%s: got %v, want an error with %q", step.text, err, step.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", step.text, err)
		} else if diff := cmp.Diff(step.want, step.got()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.text, diff)
		}
	}
}

func TestEveryKeyCanBeSet(t *testing.T) {
	full, err := Load("testdata/full.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	visitTypes(reflect.TypeFor[Config](), "", func(path string, field reflect.StructField) {
		if isCollection(field.Type) && !isText(field.Type) || field.Type.Kind() == reflect.Pointer {
			return
		}
		count++
		text := map[string]string{"bool": "true", "int": "1", "float64": "1", "string": "x"}[field.Type.Name()]
		switch zero := reflect.Zero(field.Type).Interface().(type) {
		case choice:
			text = zero.Values()[0]
		case worded:
			text = "1s"
			if strings.HasPrefix(field.Type.Name(), "Size") || strings.HasPrefix(field.Type.Name(), "Count") {
				text = "1"
			}
		case Duration:
			text = "1s"
		case Size:
			text = "1"
		case Address:
			text = ":1"
		case AutoOrOffOrAddress:
			text = "off"
		case FileMode:
			text = "0600"
		case Key:
			text = "path"
		case Destination, IP:
			text = map[bool]string{true: "::1", false: "localhost:1"}[zero == any(IP{})]
		}
		if err := Set(full, path+"="+text); err != nil {
			t.Errorf("%s=%s: %v", path, text, err)
		}
	})
	if count < 60 {
		t.Errorf("only %d keys were tried", count)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"timeouts.idle", "--set timeouts.idle: there is no value\n" +
			"    write a key, = and a value, as in timeouts.idle=15m"},
		{"timeouts.idel=1s", "--set timeouts.idel=1s: there is no key \"idel\" in timeouts\n    did you mean idle?"},
		{"timeout.idle=1s", "--set timeout.idle=1s: there is no key \"timeout\"\n    did you mean timeouts?"},
		{"backlog=1", "--set backlog=1: there is no key \"backlog\"\n    did you mean listeners[0].backlog?"},
		{"timeouts.idle=15", "--set timeouts.idle=15: \"15\" has no unit\n    did you mean 15s?"},
		{"=1", "--set =1: \"\" is not a key\n" +
			"    write names joined by dots, such as timeouts.idle or listeners[0].backlog"},
		{"a..b=1", "--set a..b=1: \"a..b\" is not a key\n    write names joined by dots, such as timeouts.idle or " +
			"listeners[0].backlog"},
		{"listeners[1].backlog=1", "--set listeners[1].backlog=1: listeners has no item 1\n    the last is listeners[0]; " +
			"to add one, write the whole list"},
		{"routes[0].path=/", "--set routes[0].path=/: routes has no item 0\n" +
			"    write the whole list, as in routes=[...]"},
		{"routes[+].path=/", "--set routes[+].path=/: \"+\" is not the number of a list item\n" +
			"    count from 0, as in listeners[0]; to add an item, write the whole list"},
		{"listeners.backlog=1", "--set listeners.backlog=1: listeners is a list\n" +
			"    name an item, as in listeners[0]"},
		{"limits[0].head=1", "--set limits[0].head=1: limits is not a list\n    leave out [0]"},
		{"limits.head.bytes=1", "--set limits.head.bytes=1: limits.head has no keys\n    leave out bytes"},
		{"limits=3", "--set limits=3: this is a single value, keys are wanted\n" +
			"    the keys are connections, head, target, " +
			"fields, body, requests_per_connection, output_per_connection"},
		{"limits={haed: 3}", "--set limits={haed: 3}: limits.haed: there is no such key\n    did you mean head?"},
		{"routes=[{", "--set routes=[{: syntax: could not find flow mapping end token '}'"},
		{"listeners[0].nodelay=off", "--set listeners[0].nodelay=off: \"off\" is neither true nor false\n" +
			"    did you mean false?"},
		{"engine=", "--set engine=: there is no value\n    write one, or leave the key out"},
	} {
		if err := Set(Default(), test.text); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestOverridesOfLoad(t *testing.T) {
	c, err := Load("testdata/full.yaml", []Override{
		SetFlag("timeouts.idle=1m"),
		{Flag: "--loops 3", Path: "engine.loops", Value: 3},
		{Flag: "--driver poll", Path: "engine.driver", Value: "poll"},
		{Flag: "--listen :81", Path: "listeners", Value: []Listener{Listen(":81")}},
		{Flag: "--respond hi", Path: "routes", Value: []Route{RespondRoute("hi")}},
		SetFlag("listeners[0].backlog=9"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Timeouts.Idle != Duration(time.Minute) || c.Engine.Loops != 3 || c.Engine.Driver != "poll" ||
		len(c.Listeners) != 1 || c.Listeners[0].Address.Port != 81 || c.Listeners[0].Backlog != 9 ||
		c.Routes[0].Respond.Body != "hi" || c.Timeouts.Head != Duration(5*time.Second) {
		t.Errorf("the flags did not win over the file, or more than them changed: %+v", c)
	}
}

func TestProblemsNameTheFlagThatSaidIt(t *testing.T) {
	_, _, err := known.Load("testdata/full.yaml", []Override{
		{Flag: "--driver epol", Path: "engine.driver", Value: "epol"},
		{Flag: "--listen nowhere", Path: "listeners", Value: []Listener{Listen("nowhere")}},
		SetFlag("limits.head=64KiB"),
		SetFlag("log.level=loud"),
		{Flag: "DIR", Path: "routes", Value: []Route{FilesRoute("/no/such/directory")}},
	})
	want := `--listen nowhere: listeners[0].address: "nowhere" is not an address
    ` + addressMend + `

--set limits.head=64KiB: limits.head: a head of 64KiB does not fit in a block (engine.block) of 8KiB
    lower limits.head to 8KiB, or raise engine.block to 64KiB

--driver epol: engine.driver: there is no driver "epol"
    did you mean epoll?

DIR: routes[0].files.root: "/no/such/directory" cannot be served: no such file or directory
    write the path of a directory that exists

--set log.level=loud: log.level: "loud" is not a choice
    write one of debug, info, warn, error`
	if diff := cmp.Diff(sorted(want), sorted(err.Error())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// sorted makes problems comparable whose order is not promised: those of flags.
func sorted(text string) map[string]bool {
	set := make(map[string]bool)
	for _, problem := range strings.Split(text, "\n\n") {
		set[problem] = true
	}
	return set
}
