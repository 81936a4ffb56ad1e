// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// validName is what a pipeline or a run may be called to become part of a path:
// no separator, and neither "." nor "..", nor hidden. nameLength leaves room for the
// extension on every file system.
var validName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

const nameLength = 128

// Logs keeps the logs of runs, each in a file of its own that only this user can
// read. It may be used concurrently, from several processes.
type Logs struct{ dir string }

var _ pipeline.Logs = (*Logs)(nil)

// NewLogs returns the logs in dir, which is made with the first log.
func NewLogs(dir string) *Logs { return &Logs{filepath.Clean(dir)} }

// Create opens the log of a run for appending, and makes it if there is none.
// CodeInvalid refuses names that can't be part of a path.
func (l *Logs) Create(ctx context.Context, name, run string) (io.WriteCloser, error) {
	const op = "create log"
	path, err := l.path(ctx, op, name, run)
	if err != nil {
		return nil, err
	}
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		switch {
		case err == nil:
			return file, nil
		case !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil: // else Remove just took the empty directory
			return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}
}

// Open reads the log of a run, from its beginning to where it ends now.
// CodeNotFound where there is none.
func (l *Logs) Open(ctx context.Context, name, run string) (io.ReadSeekCloser, error) {
	const op = "read log"
	path, err := l.path(ctx, op, name, run)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "run %q of pipeline %q has no log in %s", run, name, l.dir).
			WithHint("It was removed with its build, or is on another machine. The pipeline's `keep` says how many builds are retained.")
	case err != nil:
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	return file, nil
}

// Location returns the path of the log of a run, whether there is one or not.
func (l *Logs) Location(name, run string) string {
	return filepath.Join(l.dir, name, run+".log")
}

// Remove removes the log of a run, and the pipeline's directory with its last one.
// One that is not there is no error.
func (l *Logs) Remove(ctx context.Context, name, run string) error {
	const op = "remove log"
	path, err := l.path(ctx, op, name, run)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails while it holds other logs
	return nil
}

func (l *Logs) path(ctx context.Context, op, name, run string) (string, error) {
	if ctx.Err() != nil {
		return "", pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	}
	for _, part := range []struct{ what, value string }{{"pipeline", name}, {"run", run}} {
		if len(part.value) > nameLength || !validName.MatchString(part.value) {
			return "", pipeline.Errorf(pipeline.CodeInvalid, op, "%q can't be the name of a %s: it takes letters, digits, \".\", \"_\" and \"-\", at most 128, and begins with none of the last two but \"_\"", part.value, part.what)
		}
	}
	return l.Location(name, run), nil
}
