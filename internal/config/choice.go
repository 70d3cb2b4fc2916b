package config

// Protocol is what a listener speaks.
type Protocol string

// The protocols.
const (
	HTTP    Protocol = "http"
	Echo    Protocol = "echo"
	Discard Protocol = "discard"
	// StreamTCP and StreamUDP pass on bytes and datagrams without a look at them.
	StreamTCP Protocol = "tcp"
	StreamUDP Protocol = "udp"
)

// Values are the words that a file may say.
func (Protocol) Values() []string { return words(HTTP, StreamTCP, StreamUDP, Echo, Discard) }

// ProcessModel is how connections come to several worker processes.
type ProcessModel string

// The process models.
const (
	ProcessReusePort ProcessModel = "reuseport"
	ProcessShared    ProcessModel = "shared"
	ProcessPrefork   ProcessModel = "prefork"
	ProcessPorts     ProcessModel = "ports"
)

// Values are the words that a file may say.
func (ProcessModel) Values() []string {
	return words(ProcessReusePort, ProcessShared, ProcessPrefork, ProcessPorts)
}

// Accept is who accepts connections for the loops.
type Accept string

// The ways to accept.
const (
	AcceptAuto      Accept = "auto"
	AcceptReusePort Accept = "reuseport"
	AcceptAcceptor  Accept = "acceptor"
)

// Values are the words that a file may say.
func (Accept) Values() []string { return words(AcceptAuto, AcceptReusePort, AcceptAcceptor) }

// Direct is when the uring driver uses direct descriptors.
type Direct string

// The uses of direct descriptors.
const (
	DirectAuto   Direct = "auto"
	DirectAlways Direct = "always"
	DirectNever  Direct = "never"
)

// Values are the words that a file may say.
func (Direct) Values() []string { return words(DirectAuto, DirectAlways, DirectNever) }

// Trigger is how the epoll driver is told: once for a change, or as long as a descriptor is ready.
type Trigger string

// The triggers.
const (
	TriggerEdge  Trigger = "edge"
	TriggerLevel Trigger = "level"
)

// Values are the words that a file may say.
func (Trigger) Values() []string { return words(TriggerEdge, TriggerLevel) }

// Signal is how many signals the rtsig driver asks the kernel for.
type Signal string

// The kinds of signals.
const (
	SignalPerEvent      Signal = "per_event"
	SignalPerDescriptor Signal = "per_descriptor"
)

// Values are the words that a file may say.
func (Signal) Values() []string { return words(SignalPerEvent, SignalPerDescriptor) }

// AccessFormat is how a line of the access log is written.
type AccessFormat string

// The formats of the access log.
const (
	AccessOff      AccessFormat = "off"
	AccessJSON     AccessFormat = "json"
	AccessCombined AccessFormat = "combined"
)

// Values are the words that a file may say.
func (AccessFormat) Values() []string { return words(AccessOff, AccessJSON, AccessCombined) }

// LogFormat is how a message of the server is written.
type LogFormat string

// The formats of messages.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Values are the words that a file may say.
func (LogFormat) Values() []string { return words(LogText, LogJSON) }

// Level is the severity of a message, named as log/slog names it, in lower case.
type Level string

// The severities.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Values are the words that a file may say.
func (Level) Values() []string { return words(LevelDebug, LevelInfo, LevelWarn, LevelError) }

// Encoding is a content coding (RFC 9110, section 8.4.1) in which a file may lie ready.
type Encoding string

// The encodings.
const (
	Brotli Encoding = "br"
	Zstd   Encoding = "zstd"
	Gzip   Encoding = "gzip"
)

// Values are the words that a file may say.
func (Encoding) Values() []string { return words(Brotli, Zstd, Gzip) }

// AutoBool is a yes or no that may be left to the program.
type AutoBool string

// The answers.
const (
	Auto AutoBool = "auto"
	Yes  AutoBool = "true"
	No   AutoBool = "false"
)

// Values are the words that a file may say.
func (AutoBool) Values() []string { return words(Auto, Yes, No) }

// MarshalYAML writes true and false as booleans, as a person would.
func (a AutoBool) MarshalYAML() (any, error) {
	switch a {
	case Yes, No:
		return a == Yes, nil
	default:
		return string(a), nil
	}
}

// choice is a type that has a closed list of words.
type choice interface{ Values() []string }

func words[T ~string](values ...T) []string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return texts
}
