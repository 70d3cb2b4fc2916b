package proc

import (
	"bytes"
	"io"
	"os"
	"strconv"
)

// What a child writes into its ready pipe, once: one line. It fits into a pipe at once, so neither side waits for the
// other half of it.
const (
	readyLine     = "ready\n"
	failedPrefix  = "failed "
	mostLineBytes = 4096 // PIPE_BUF of pipe(7)
)

// Failure is what a child said about why it cannot become ready.
type Failure struct{ Text string }

// Error is the child's own words.
func (f *Failure) Error() string { return f.Text }

// hear reads the line.
func hear(pipe *os.File) error {
	line := make([]byte, 0, mostLineBytes)
	for len(line) < cap(line) && !bytes.HasSuffix(line, []byte("\n")) {
		n, err := pipe.Read(line[len(line):cap(line)])
		line = line[:len(line)+n]
		if err != nil {
			if err != io.EOF && n == 0 && len(line) == 0 {
				return ErrSilent // closed under it
			}
			break
		}
	}
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	quoted, failed := bytes.CutPrefix(text, []byte(failedPrefix))
	switch {
	case string(line) == readyLine:
		return nil
	case !whole && len(line) < cap(line):
		return ErrSilent
	case failed:
		if said, err := strconv.Unquote(string(quoted)); err == nil {
			return &Failure{Text: said}
		}
	}
	return &Failure{Text: "it said neither that it is ready nor why not: " + strconv.QuoteToASCII(string(text))}
}

// failedLine is the line for a failure, with as much of the text as fits into it.
func failedLine(err error) []byte {
	text := err.Error()
	for {
		line := failedPrefix + strconv.QuoteToASCII(text) + "\n"
		if len(line) <= mostLineBytes {
			return []byte(line)
		}
		// A character takes ten bytes when it is quoted, so this ends soon, and well above a useful length.
		text = text[:min(len(text)*3/4, mostLineBytes)]
	}
}
