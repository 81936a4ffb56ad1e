// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// maxLog bounds a log file. With the one before, kept beside it, that is room for
// days of transitions and for what one looks at after a failure.
const maxLog = 1 << 20

// logFile appends to a file of bounded size: a full one is kept once, with the
// ending .1, and a new one is begun.
type logFile struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p whole.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > maxLog {
		if err := errors.Join(os.Rename(l.path, l.path+".1"), l.file.Close(), l.open()); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// lastLines gives the end of a log, at most n lines, also from before it was begun
// anew. It is empty for one that can't be read.
func lastLines(path string, n int) []string {
	lines := endOf(path)
	if len(lines) < n {
		lines = append(endOf(path+".1"), lines...)
	}
	return lines[max(0, len(lines)-n):]
}

func endOf(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	const window = 8 << 10
	if info, err := f.Stat(); err == nil && info.Size() > window {
		_, _ = f.Seek(-window, io.SeekEnd)
	}
	data, _ := io.ReadAll(io.LimitReader(f, window))
	text := strings.TrimSpace(present.Text(string(data)))
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
