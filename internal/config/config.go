// Package config is the configuration of the server: what a YAML file and the flags may say, and nothing else.
//
// The types are the file: a struct is a mapping, its yaml tags are the keys, its doc comments are the descriptions that
// the JSON Schema and docs/config.md print, its min and max tags are the bounds. All that makes a key stands beside it,
// so adding one is adding one field.
//
// A configuration is made in four steps, each in one place: the defaults (defaults.go), the file (decode.go), the flags
// (override.go) and the check (check.go and rules.go). A value that reaches the rest of the program has passed them
// all.
//
// Every problem of a file is reported, not only the first, each with file, line and column, an excerpt, and what to
// write instead. Zero never means "without end": where a limit may be lifted the word is "unlimited", where a feature
// may be left out it is "off", and where the program may choose it is "auto".
package config

// Config is a whole configuration. Default makes one; Load makes one from a file and flags.
type Config struct {
	// Sockets to listen on.
	Listeners []Listener `yaml:"listeners"`
	// What to do with a request: the first route that matches answers it, and without one the answer is 404.
	Routes []Route `yaml:"routes"`
	// Sets of endpoints that routes and listeners proxy to, by name.
	Upstreams map[string]Upstream `yaml:"upstreams,omitempty"`
	// How much a client may ask for, and how much it may make the server hold.
	Limits Limits `yaml:"limits"`
	// How long anything may take.
	Timeouts Timeouts `yaml:"timeouts"`
	// How the kernel tells the server about its connections, and who runs them.
	Engine Engine `yaml:"engine"`
	// One line for every request.
	AccessLog AccessLog `yaml:"access_log"`
	// What the server says about itself on standard error.
	Log Log `yaml:"log"`
	// What the server tells clients about itself.
	Server Server `yaml:"server"`
	// Where the admin API listens, which docs/admin.md describes: "unix:PATH" for a socket that only the server's user may
	// use, "127.0.0.1:PORT" or "[::1]:PORT" where every user of the machine may, or "off". "auto" is a socket in the
	// runtime directory, where the commands that ask a running server find it: $XDG_RUNTIME_DIR/myriad, or else
	// /run/myriad for root and myriad-UID in the directory of temporary files for others.
	Admin AutoOrOffOrAddress `yaml:"admin"`
	// Whether the time of each request and the causes of failures are counted, for GET /metrics of the admin API. All
	// other counters are kept in any case.
	Metrics bool `yaml:"metrics"`
	// The connections of each loop, those that are not idle, whose last 32 events are kept, at some 600 bytes each: they
	// are logged when the connection or an answer fails, and the admin API tells them. Where more are at work at a time,
	// only so many are recorded. "off" keeps none, but for connections that are traced through the admin API.
	Recorder CountOrOff `yaml:"recorder" min:"1" max:"1000000"`
	// Which requests are followed through several programs, and where that is told.
	Tracing Tracing `yaml:"tracing"`
	// How worker processes and machines tell each other what clients have used of rates. Without it nothing runs for it,
	// and each counts for itself. Written as "bus: {}" where nothing else is to be said.
	Bus *Bus `yaml:"bus,omitempty"`
	// A file for the number of the process that takes the signals. It is locked for as long as the process lives: a second
	// server with the same file does not start. Empty is none.
	PIDFile string `yaml:"pid_file"`

	source *source // where each key was said, for the positions of problems; nil when built in code
}

// Limits bound what clients may ask for and hold.
type Limits struct {
	// Connections at a time, over all listeners; of each worker, where engine.processes has some. "auto" takes what the
	// descriptor limit allows. A proxy may have as many to its upstreams beside these.
	Connections CountOrAuto `yaml:"connections" min:"1" max:"100000000"`
	// Bytes of a request's head: request line and fields together. At most engine.block. Beyond it the answer is 431.
	Head Size `yaml:"head" min:"256" max:"1MiB"`
	// Bytes of a request's target. Beyond it the answer is 414.
	Target Size `yaml:"target" min:"16" max:"1MiB"`
	// Fields of a request's head. Beyond it the answer is 431.
	Fields int `yaml:"fields" min:"1" max:"10000"`
	// Bytes of a request's body. One that announces more is answered with 413 before any of it is read, and so is one that
	// comes in chunks and turns out to be more while a route waits for it. A route that takes no body (files, respond,
	// redirect, status) has answered before it comes: the body is read and thrown away, up to this limit and at most
	// 256KiB, so that the connection can be used again. What is more ends the connection, as timeouts.linger says.
	Body SizeOrUnlimited `yaml:"body" min:"0" max:"1PiB"`
	// Requests that one connection may make before it is closed, after the answer to the last.
	RequestsPerConnection int `yaml:"requests_per_connection" min:"1" max:"1000000000"`
	// Bytes queued for a client that reads slowly; at this many the connection is not read from until some have left.
	OutputPerConnection Size `yaml:"output_per_connection" min:"4KiB" max:"1GiB"`
}

// Timeouts bound how long anything may take.
type Timeouts struct {
	// A request's head, from its first byte to its last. Beyond it the answer is 408.
	Head Duration `yaml:"head" min:"1ms" max:"24h"`
	// Silence within a request's body. Beyond it the answer is 408; where the answer has been given already and the body
	// is only thrown away, the connection is closed.
	Body Duration `yaml:"body" min:"1ms" max:"24h"`
	// Silence between requests on a connection that is kept alive.
	Idle Duration `yaml:"idle" min:"1ms" max:"24h"`
	// A client that takes none of the bytes that are queued for it. What counts is what its machine acknowledges, however
	// little; it is looked at now and then, so the end may come after up to twice the time, and never before it. Only when
	// engine.blocks are short fifteen seconds are enough.
	Write Duration `yaml:"write" min:"1ms" max:"24h"`
	// A whole request, from the first byte of its head until its answer has been queued. What is queued then goes out as
	// fast as the client takes it, bounded by write.
	Request DurationOrUnlimited `yaml:"request" min:"1ms" max:"24h"`
	// A graceful stop: connections that are still busy after it are closed. "0s" closes them at once.
	Drain Duration `yaml:"drain" min:"0s" max:"24h"`
	// Reading on after the last answer while the client may still be sending, so that it sees the answer and not a reset.
	// It is told at once that no more will come, and the end of its request, or of what it sends, ends the wait.
	Linger Duration `yaml:"linger" min:"0s" max:"1m"`
}

// Engine chooses the driver, the model and what they work with.
type Engine struct {
	// How the kernel tells: a driver's name, or "auto" for the best that this kernel has.
	Driver string `yaml:"driver"`
	// Who runs which connection: a model's name.
	Model string `yaml:"model"`
	// Event loops, each with its own driver and thread. "auto" is one for each processor that the process may use, and
	// 256 at most. Models without event loops refuse a number.
	Loops CountOrAuto `yaml:"loops" min:"1" max:"256"`
	// Worker processes. 0 has this process serve by itself. With more of them it supervises: it opens the sockets, starts
	// the workers, and starts one anew that has died. docs/workers.md describes it.
	Processes int `yaml:"processes" min:"0" max:"256"`
	// How connections come to the worker processes: "reuseport" gives each of them listening sockets of its own, and the
	// kernel spreads; under "shared" all accept from the same ones; under "prefork" the process above them accepts, places
	// by balance, and passes the connection on; under "ports" each serves at a port of its own, the next ones above the
	// listener's, where clients are told which worker has the fewest connections.
	ProcessModel ProcessModel `yaml:"process_model"`
	// Workers of the workpool model, one connection each.
	Workers int `yaml:"workers" min:"1" max:"100000"`
	// Accepted connections that wait for a worker of the workpool model.
	Queue int `yaml:"queue" min:"1" max:"1000000"`
	// Who accepts: "reuseport" gives each loop its own listening socket, "acceptor" has one accept for all loops.
	Accept Accept `yaml:"accept"`
	// The policy by which the acceptor places connections on loops.
	Balance string `yaml:"balance"`
	// Bytes of one block, the unit in which input is read. A request's head must fit in one. So must a datagram and 176
	// bytes beside it, under models with loops: a longer one is dropped whole.
	Block Size `yaml:"block" min:"4KiB" max:"1MiB"`
	// Blocks that one loop may hold at a time. Without a free block a connection is not read from until one comes back.
	Blocks int `yaml:"blocks" min:"16" max:"1048576"`
	// The uring driver's direct descriptors, which do not count against the descriptor limit.
	Direct Direct `yaml:"direct"`
	// The sweep driver's pause between two tries of everything.
	Sweep Duration `yaml:"sweep" min:"10us" max:"1s"`
	// The epoll driver's trigger.
	Trigger Trigger `yaml:"trigger"`
	// The rtsig driver's signals: one for every event, or at most one queued for each descriptor.
	Signal Signal `yaml:"signal"`
}

// AccessLog is one line for every request.
type AccessLog struct {
	// How a line is written; "off" writes none. A line is written when the last of an answer has been queued: of bytes
	// more than 64KiB, and of files more than 256KiB, the last 64KiB are queued when all before has left. Of an answer
	// that was cut off before, the line says how much of its content the kernel took, and why it was cut off:
	// "client_gone", "client_timeout", "client_stalled", "file_changed" or "stopping". A smaller one counts as sent.
	Format AccessFormat `yaml:"format"`
	// The file that lines are appended to. Empty is standard output. To rotate it, move it away and send the server SIGHUP
	// or SIGUSR1: it makes a new file under this path and writes on there, without losing or cutting a line; those of the
	// last moment before the signal may be in either file. SIGHUP has the configuration read again as well.
	Path string `yaml:"path"`
	// The share of requests that are logged: 1 is all of them, 0.01 one in a hundred.
	Sample float64 `yaml:"sample" min:"0.000001" max:"1"`
}

// Log is what the server says about itself.
type Log struct {
	// The least severe messages that are written.
	Level Level `yaml:"level"`
	// How a message is written.
	Format LogFormat `yaml:"format"`
}

// Server is what the server tells clients about itself.
type Server struct {
	// The Server field of answers. Empty leaves the field out.
	Name string `yaml:"name"`
}
