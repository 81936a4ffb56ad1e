// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	// After the tree has ended, output is in the pipe already, and more can only
	// come from a process that escaped or could not be ended. So it is awaited
	// for no longer than drainTime, and taken up to drainSize, which is more than
	// a pipe holds.
	drainTime = 2 * time.Second
	drainSize = 4 << 20
)

// output carries one output of the command from a pipe to its writer.
type output struct {
	pipe  *os.File
	to    io.Writer
	ended atomic.Bool
	done  chan error
}

// end says that the tree has ended.
func (o *output) end() {
	o.ended.Store(true)
	_ = o.pipe.SetReadDeadline(time.Now().Add(drainTime))
}

// copy moves everything to the writer. Where that fails it reads on, as a full
// pipe would block the command, and returns the error at the end.
func (o *output) copy() {
	var failed error
	buffer := make([]byte, 32<<10)
	for left := drainSize; left > 0; {
		if o.ended.Load() {
			_ = o.pipe.SetReadDeadline(time.Now().Add(drainTime))
		}
		n, err := o.pipe.Read(buffer)
		if n > 0 && failed == nil {
			failed = write(o.to, buffer[:n])
		}
		if err != nil {
			break
		}
		if o.ended.Load() {
			left -= n
		}
	}
	_ = o.pipe.Close()
	o.done <- failed
}

func write(to io.Writer, b []byte) error {
	n, err := to.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// same reports whether two writers are one; those that can't be compared are not.
func same(a, b io.Writer) bool {
	defer func() { _ = recover() }()
	return a == b
}
