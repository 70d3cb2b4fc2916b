// Command myriad is a web server for many connections.
//
// Exit codes: 0 when all went well, 1 when something failed while running, 2 when the command line or the
// configuration is wrong, and 128 and the number of the signal when a second signal cut a graceful stop short.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/myriad-server/myriad/internal/config"
)

// version is set by the linker.
var version = "unknown"

// commands is the command line: one field and one file for each subcommand.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Serve a folder, a fixed text, or what a configuration says."`
	Proxy   proxyCommand   `cmd:"" help:"Pass requests, connections or datagrams on to other servers."`
	Bench   benchCommand   `cmd:"" help:"Put a server under load, and report what came of it."`
	Lab     labCommand     `cmd:"" help:"Run the experiments behind the figures, and write their report."`
	Doctor  doctorCommand  `cmd:"" help:"Look for what this host denies a server of many connections, and how to mend it."`
	Check   checkCommand   `cmd:"" help:"Check a configuration, and say what it can hold."`
	Conns   connsCommand   `cmd:"" help:"List and close the connections of a running server."`
	Reload  reloadCommand  `cmd:"" help:"Have a running server read its configuration again."`
	Upgrade upgradeCommand `cmd:"" help:"Have a running server go on in a new process, with all its connections."`
	Top     topCommand     `cmd:"" help:"Show what a running server does, live in the terminal."`
	Workers workersCommand `cmd:"" help:"List the worker processes of a running server."`
	Scale   scaleCommand   `cmd:"" help:"Change the number of worker processes of a running server."`
	Drain   drainCommand   `cmd:"" help:"End a running server of worker processes in good order."`
	Drivers driversCommand `cmd:"" help:"List the drivers, and which of them work here."`
	Models  modelsCommand  `cmd:"" help:"List the models."`
	Schema  schemaCommand  `cmd:"" help:"Print the JSON Schema of the configuration."`
	Version versionCommand `cmd:"" help:"Print the version."`
	Bus     busCommand     `cmd:"" hidden:""`
}

// console is where a command speaks.
type console struct {
	out, err io.Writer
}

// The exit codes; see the package comment.
const (
	exitFailed = 1
	exitUsage  = 2
)

// coded is an error with an exit code of its own. Its text is all that the user sees.
type coded struct {
	error
	code int
}

// Unwrap is what went wrong.
func (c coded) Unwrap() error { return c.error }

// usage marks an error of the command line or the configuration.
func usage(err error) error { return coded{err, exitUsage} }

func main() { os.Exit(run(os.Args[1:], console{os.Stdout, os.Stderr})) }

// run is the program: it returns its exit code.
func run(arguments []string, c console) (code int) {
	var cli commands
	exited := -1
	// After --help the parser asks to exit, and goes on if it is not obeyed.
	parser, err := kong.New(&cli,
		kong.Name("myriad"),
		kong.Description("A web server for ten thousand connections and more."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if len(arguments) == 0 {
		arguments = []string{"--help"}
	}
	command, err := parser.Parse(joinNumbers(arguments))
	switch {
	case exited >= 0:
		return exited
	case err != nil:
		fmt.Fprintf(c.err, "myriad: %v (see myriad --help)\n", err)
		return exitUsage
	}
	command.Bind(c)
	if err := command.Run(); err != nil {
		return fail(c, err)
	}
	return 0
}

// joinNumbers joins a flag and a negative number behind it, as in --loops -1: to the parser that is a flag of one
// letter, and what it says of it helps nobody. No flag of ours is a digit, so nothing else can be meant.
func joinNumbers(arguments []string) []string {
	var joined []string
	for i, argument := range arguments {
		if argument == "--" {
			return append(joined, arguments[i:]...)
		}
		if last := len(joined) - 1; last >= 0 && negative(argument) && bare(joined[last]) {
			joined[last] += "=" + argument
			continue
		}
		joined = append(joined, argument)
	}
	return joined
}

// bare tells whether an argument is a flag without its value.
func bare(argument string) bool {
	return strings.HasPrefix(argument, "--") && !strings.Contains(argument, "=")
}

func negative(argument string) bool {
	return len(argument) > 1 && argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9'
}

// fail says what went wrong and returns the exit code. The problems of a configuration bring their places along.
func fail(c console, err error) (code int) {
	var problems config.Problems
	if errors.As(err, &problems) {
		fmt.Fprintf(c.err, "%s\n\n", problems)
		text := "1 problem"
		if len(problems) > 1 {
			text = fmt.Sprint(len(problems), " problems")
		}
		own := coded{code: exitFailed}
		errors.As(err, &own)
		err = coded{errors.New(text), own.code}
	}
	fmt.Fprintf(c.err, "myriad: %v\n", err)
	if own := (coded{}); errors.As(err, &own) {
		return own.code
	}
	return exitFailed
}
