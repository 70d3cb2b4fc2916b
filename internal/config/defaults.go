package config

import (
	"math"
	"reflect"
	"time"
)

// Default is the configuration of a server that was told nothing: it listens on 127.0.0.1:8080 and has no routes.
func Default() *Config {
	return &Config{
		Listeners: []Listener{Listen("127.0.0.1:8080")},
		Routes:    []Route{},
		Limits: Limits{
			Head:                  16 << 10,
			Target:                8 << 10,
			Fields:                100,
			Body:                  1 << 20,
			RequestsPerConnection: 1_000_000_000,
			OutputPerConnection:   1 << 20,
		},
		Timeouts: Timeouts{
			Head:    Duration(10 * time.Second),
			Body:    Duration(30 * time.Second),
			Idle:    Duration(75 * time.Second),
			Write:   Duration(30 * time.Second),
			Request: DurationOrUnlimited(5 * time.Minute),
			Drain:   Duration(30 * time.Second),
			Linger:  Duration(2 * time.Second),
		},
		Engine: Engine{
			Driver:  "auto",
			Model:   "reactor",
			Workers: 128,

			ProcessModel: ProcessReusePort,
			Queue:        1024,
			Accept:       AcceptAuto,
			Balance:      "least_connections",
			Block:        16 << 10,
			Blocks:       4096,
			Direct:       DirectAuto,
			Sweep:        Duration(10 * time.Millisecond),
			Trigger:      TriggerEdge,
			Signal:       SignalPerEvent,
		},
		AccessLog: AccessLog{Format: AccessOff, Sample: 1},
		Log:       Log{Level: LevelInfo, Format: LogText},
		Server:    Server{Name: "myriad"},
		Metrics:   true,
		Recorder:  1024,
		Tracing:   Tracing{Endpoint: wordOff, Sample: 0.01, Service: "myriad"},
	}
}

// Unlimited is the value of a SizeOrUnlimited or DurationOrUnlimited that has no limit: every comparison with it does
// what it should without a special case.
const Unlimited = math.MaxInt64

// Listen is a listener at address with every option at its default. An address that cannot be read is kept as it is,
// and reported by Check.
func Listen(address string) Listener {
	return Listener{
		Address:  ParseAddress(address),
		Protocol: HTTP,
		Backlog:  4096,
		NoDelay:  true,
		KeepAlive: KeepAlive{
			Enabled:  true,
			Idle:     Duration(60 * time.Second),
			Interval: Duration(15 * time.Second),
			Count:    4,
		},
		Congestion: "auto",
		ReusePort:  Auto,
		Mode:       0o660,

		ProxyProtocol: ProxyProtocol{Accept: ProxyAcceptOff, Send: ProxySendOff},
		PerClient:     Unlimited,
		Datagrams:     Datagrams{Sessions: 4096},
	}
}

// FilesRoute is a route that answers every GET and HEAD with the files in dir, with every option at its default.
func FilesRoute(dir string) Route {
	files := defaultFiles()
	files.Root = dir
	return Route{Files: &files}
}

// RespondRoute is a route that answers everything with text, with every option at its default.
func RespondRoute(text string) Route {
	respond := defaultRespond()
	respond.Body = text
	return Route{Respond: &respond}
}

func defaultFiles() Files {
	return Files{
		Index:         []string{"index.html"},
		Precompressed: []Encoding{Brotli, Zstd, Gzip},
		Cache: FileCache{
			Entries:    1024,
			Valid:      Duration(time.Second),
			MemoryFile: 16 << 10,
			Memory:     64 << 20,
		},
	}
}

func defaultRespond() Respond {
	return Respond{Status: 200, Type: "text/plain; charset=utf-8"}
}

func defaultRedirect() Redirect {
	return Redirect{Status: 308}
}

// defaultOf is what a value of a type holds before a file or a flag says anything about it: list items and actions
// begin here, everything else begins in Default.
func defaultOf(t reflect.Type) reflect.Value {
	switch t {
	case reflect.TypeFor[Config]():
		return reflect.ValueOf(*Default())
	case reflect.TypeFor[Listener]():
		return reflect.ValueOf(Listen(""))
	case reflect.TypeFor[Files]():
		return reflect.ValueOf(defaultFiles())
	case reflect.TypeFor[Respond]():
		return reflect.ValueOf(defaultRespond())
	case reflect.TypeFor[Redirect]():
		return reflect.ValueOf(defaultRedirect())
	case reflect.TypeFor[Rate]():
		return reflect.ValueOf(defaultRate())
	case reflect.TypeFor[Cluster]():
		return reflect.ValueOf(defaultCluster())
	default:
		return defaultOfProxy(t)
	}
}
