// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// runLog is the log of a run, a bake or a launch. What the platform and its commands write to
// it is output: each line gets its time, and no line of it can be taken for one of Penstock's
// own. A step's runner writes finished lines to raw.
type runLog struct {
	*runlog.Log
	raw   *counted
	close func() error
}

// counted counts what is written.
type counted struct {
	to io.Writer
	n  atomic.Int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// newLog returns a log that is written to w and hides secrets, wherever they come from.
func (e *core) newLog(w io.WriteCloser, hide ...pipeline.Secret) *runLog {
	raw := &counted{to: w}
	return &runLog{runlog.New(raw, runlog.Options{Now: e.now, Hide: pipeline.NewRedactor(hide...)}), raw, w.Close}
}

// hiding returns the log for what comes from now on, in which other secrets may be.
func (e *core) hiding(l *runLog, hide ...pipeline.Secret) *runLog {
	_ = l.Finish() // a log that can't be written is no reason to stop
	return &runLog{runlog.New(l.raw, runlog.Options{Now: e.now, Hide: pipeline.NewRedactor(hide...)}), l.raw, l.close}
}

// noLog returns a log that is written nowhere.
func (e *core) noLog() *runLog {
	return &runLog{runlog.New(nil, runlog.Options{}), &counted{to: io.Discard}, func() error { return nil }}
}

// createLog opens the log of a run.
func (e *core) createLog(ctx context.Context, pipelineName, run string, hide ...pipeline.Secret) (*runLog, error) {
	file, err := e.logs.Create(ctx, pipelineName, run)
	if err != nil {
		return nil, err
	}
	return e.newLog(file, hide...), nil
}

// size returns how many bytes were written since the log was opened, including an unfinished
// line.
func (l *runLog) size() int64 {
	_ = l.Finish() // a log that can't be written is no reason to stop
	return l.raw.n.Load()
}

// Close ends the last line, and closes the log.
func (l *runLog) Close() error {
	_ = l.Finish()
	return l.close()
}
