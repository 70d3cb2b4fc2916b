package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build compiles an example of this module, once.
func (s *Stand) build(ctx context.Context, folder string) (string, error) {
	if binary, ok := s.built[folder]; ok {
		return binary, nil
	}
	binary := filepath.Join(s.dir, filepath.Base(folder))
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, folder)
	command.Dir, command.Env = s.Source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s, for which --source must be the folder of this module: %w\n%s", folder, err,
			bytes.TrimSpace(out))
	}
	s.built[folder] = binary
	return binary, nil
}

// finish runs a process to its end and returns what it has written to its standard output. An exit code other than zero
// is an error beside that.
func (s *Stand) finish(ctx context.Context, p spec) (string, error) {
	said, _, err := s.finished(ctx, p)
	return said, err
}

// finished also returns the process, for what it has used.
func (s *Stand) finished(ctx context.Context, p spec) (string, *process, error) {
	file := filepath.Join(s.dir, p.name+".out")
	out, err := os.Create(file)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = out.Close() }()
	p.out = out
	q, err := s.start(ctx, p)
	if err != nil {
		return "", nil, err
	}
	select {
	case <-q.ended:
	case <-ctx.Done():
		return "", q, context.Cause(ctx)
	}
	s.forget(q)
	text, err := os.ReadFile(file)
	if err == nil && q.why != nil {
		err = fmt.Errorf("%s: %w: %s", p.name, q.why, q.said())
	}
	return string(text), q, err
}
