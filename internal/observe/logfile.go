package observe

import (
	"os"
	"sync"
)

// logMode is who may read a log that is made: it tells what people do.
const logMode = 0o640

// LogFile is a file that lines are appended to, and that is opened anew when it has been moved away. What one Write
// takes goes to one file. Its methods may be called from any goroutine.
type LogFile struct {
	path string
	mu   sync.Mutex
	file *os.File // nil: closed
}

// OpenLogFile opens the file at path, and makes it if it is not there.
func OpenLogFile(path string) (*LogFile, error) {
	file, err := openLog(path)
	if err != nil {
		return nil, err
	}
	return &LogFile{path: path, file: file}, nil
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, logMode)
}

// Path is where the file was opened.
func (l *LogFile) Path() string { return l.path }

// Write appends to the file. The error is os.ErrClosed after Close.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, os.ErrClosed
	}
	return l.file.Write(p)
}

// Reopen opens the path again and closes the file that was open. On an error that file is kept. It waits for a Write
// that has begun.
func (l *LogFile) Reopen() error {
	file, err := openLog(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		_ = file.Close()
		return os.ErrClosed
	}
	old := l.file
	l.file = file
	return old.Close()
}

// Close closes the file. A second Close does nothing.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}
