// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Progress is the progress of a run that is under way.
type Progress struct {
	Run    pipeline.Run
	Step   string // under way; empty before the first and after the last
	Number int    // of the step, from 1
	Of     int    // how many steps the stage has
	Line   string // the last of the log; what the step runs if it has printed nothing yet
	Dead   bool   // the process that ran it is gone, or has not renewed its lease: the next apply clears it away
}

// Progress returns the progress of the run of a stage, or of the bake of a name from
// pipeline.ImageRun; nil if none is under way.
func (r *Reports) Progress(ctx context.Context, st *pipeline.State, stage string) (*Progress, error) {
	if !st.RunsNow(stage) {
		return nil, nil
	}
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return nil, err
	}
	return r.progress(ctx, st, stage, leases)
}

// progress is Progress for who has the leases already.
func (r *Reports) progress(ctx context.Context, st *pipeline.State, stage string, leases []pipeline.Lease) (*Progress, error) {
	if !st.RunsNow(stage) {
		return nil, nil
	}
	name := st.Pipeline.Name
	run, err := r.ledger.Run(ctx, name, st.Latest[stage].ID)
	if err != nil || run.Status.Final() {
		return nil, err
	}
	p, of := &Progress{Run: run}, st.Stages[stage]
	if !of.Spread() { // else each target runs them
		p.Of = len(of.Steps)
	}
	if done := len(run.Steps); run.Phase == pipeline.PhaseSteps && done < p.Of {
		p.Step, p.Number = of.Steps[done].Name, done+1
	}
	key := lock.Run(name, run.Summary()).String()
	p.Dead = true
	for _, l := range leases {
		if l.Key == key && r.now().Before(l.Expires) && !r.dead(l.Holder.Process) {
			p.Dead = false
		}
	}
	line, at, err := r.lastLine(ctx, name, run.ID)
	if u := run.UnderWay; u != nil && u.From == at {
		line = strings.TrimPrefix(line, pipeline.StepHeader(u.Name)) // of a step that has printed nothing yet: what it runs
	}
	p.Line = line
	return p, err
}

// UnderWay returns the progress of the runs and bakes of a pipeline that are under way, the
// earliest first.
func (r *Reports) UnderWay(ctx context.Context, pipelineName string) ([]Progress, error) {
	st, err := r.states.State(ctx, pipelineName)
	if err != nil {
		return nil, err
	}
	var all []Progress
	for name := range st.Latest {
		p, err := r.Progress(ctx, st, name)
		if err != nil {
			return nil, err
		}
		if p != nil && !p.Dead {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b Progress) int { return strings.Compare(a.Run.ID, b.Run.ID) })
	return all, nil
}

// tailSize is how much of the end of a log is read for its last line.
const tailSize = 8 << 10

// lastLine returns the last line of a log without its time, and where in the log it begins;
// empty if there is none yet.
func (r *Reports) lastLine(ctx context.Context, pipelineName, run string) (line string, at int64, err error) {
	log, err := r.logs.Open(ctx, pipelineName, run)
	if pipeline.IsNotFound(err) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer log.Close()
	tail, size, err := readTail(log)
	if err != nil {
		return "", 0, err
	}
	whole := bytes.TrimRight(tail, "\n")
	begin := bytes.LastIndexByte(whole, '\n') + 1
	line, at = string(whole[begin:]), size-int64(len(tail)-begin)
	if stamp, rest, ok := strings.Cut(line, " "); ok {
		if _, err := time.Parse(time.RFC3339, stamp); err == nil {
			line = rest
		}
	}
	return strings.TrimSpace(present.Text(line)), at, nil
}

// readTail reads the end of a log, and returns the log's size, too.
func readTail(log io.ReadSeeker) (tail []byte, size int64, err error) {
	if size, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, 0, err
	}
	if _, err = log.Seek(max(size-tailSize, 0), io.SeekStart); err != nil {
		return nil, 0, err
	}
	tail, err = io.ReadAll(io.LimitReader(log, min(size, tailSize)))
	return tail, size, err
}

// followPause is how often a log that may grow is looked at.
const followPause = 500 * time.Millisecond

// Follow writes the log of a run from an offset in bytes on to w, and what is added to it, until
// the run has ended. It returns CodeNotFound for a log that was collected.
func (r *Reports) Follow(ctx context.Context, pipelineName, run string, offset int64, w io.Writer) error {
	tick := time.NewTicker(max(followPause, r.headAge))
	defer tick.Stop()
	for ended := false; ; {
		now, err := r.ledger.Run(ctx, pipelineName, run)
		if err != nil {
			return err
		}
		n, err := r.copyLog(ctx, pipelineName, run, offset, w)
		if offset += n; err != nil && (now.Status.Final() || !pipeline.IsNotFound(err)) {
			return err
		}
		// One more look: a run that another process has ended may still have written
		// something.
		if ended && n == 0 {
			return nil
		}
		ended = now.Status.Final()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// StepLog writes the parts of the log of a run that belong to the steps of a name to w, as
// the run's record says. With follow it also writes what is added, until the run has ended.
// It reports whether there is any, and returns CodeNotFound for a log that was collected.
func (r *Reports) StepLog(ctx context.Context, pipelineName, run, step string, follow bool, w io.Writer) (found bool, err error) {
	tick := time.NewTicker(max(followPause, r.headAge))
	defer tick.Stop()
	var at int64 // up to where it is written
	for ended := false; ; {
		now, next, err := r.copyStep(ctx, pipelineName, run, step, at, w)
		waits := follow && !now.Status.Final() && pipeline.IsNotFound(err)
		if err != nil && !waits {
			return found, err
		}
		found = found || len(now.LogParts(step)) > 0
		// One more look: a run that another process has ended may still have written
		// something.
		if !follow || ended && next == at {
			return found, nil
		}
		at, ended = next, now.Status.Final()
		select {
		case <-ctx.Done():
			return found, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// copyStep writes the parts of a step beyond an offset. It returns the offset up to which it
// has written, with the run that named the parts.
func (r *Reports) copyStep(ctx context.Context, pipelineName, run, step string, at int64, w io.Writer) (now pipeline.Run, next int64, err error) {
	log, end, failed := r.sizedLog(ctx, pipelineName, run)
	if failed == nil {
		defer log.Close()
	}
	// The run is read after the log was opened: a step that is under way in it had not ended
	// when the bytes that are read now were written, so all of them are the step's.
	if now, err = r.ledger.Run(ctx, pipelineName, run); err != nil || failed != nil {
		return now, at, errors.Join(err, failed)
	}
	next = at
	for _, part := range now.LogParts(step) {
		from, to := max(part.From, at), end
		if part.To > 0 {
			to = min(part.To, end)
		}
		if to <= from {
			continue
		}
		if _, err := log.Seek(from, io.SeekStart); err != nil {
			return now, next, err
		}
		n, err := io.CopyN(w, log, to-from)
		if next = from + n; err == io.EOF {
			break // the rest is not there yet
		} else if err != nil {
			return now, next, err
		}
	}
	return now, next, nil
}

// sizedLog opens a log, and returns its present size.
func (r *Reports) sizedLog(ctx context.Context, pipelineName, run string) (log io.ReadSeekCloser, size int64, err error) {
	if log, err = r.logs.Open(ctx, pipelineName, run); err != nil {
		return nil, 0, err
	}
	if size, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, 0, errors.Join(err, log.Close())
	}
	return log, size, nil
}

// copyLog writes a log from an offset on, and returns how many bytes it wrote.
func (r *Reports) copyLog(ctx context.Context, pipelineName, run string, offset int64, w io.Writer) (int64, error) {
	log, err := r.logs.Open(ctx, pipelineName, run)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	if _, err = log.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, log)
}
