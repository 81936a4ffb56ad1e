// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Progress is where a run stands that is under way.
type Progress struct {
	Run    pipeline.Run
	Step   string // under way; empty before the first and after the last
	Number int    // of the step, from 1
	Of     int    // how many steps the stage has
	Line   string // the last of the log; what the step runs where it printed nothing yet
	Dead   bool   // the process that ran it is gone, or has not renewed its lease: the next apply clears it away
}

// Progress gives where the run of a stage, or a bake by the name that pipeline.ImageRun returns, stands; nil where none is under way.
func (r *Reports) Progress(ctx context.Context, st *pipeline.State, stage string) (*Progress, error) {
	if !st.RunsNow(stage) {
		return nil, nil
	}
	name := st.Pipeline.Name
	run, err := r.ledger.Run(ctx, name, st.Latest[stage].ID)
	if err != nil || run.Status.Final() {
		return nil, err
	}
	p := &Progress{Run: run, Of: len(st.Stages[stage].Steps)}
	if done := len(run.Steps); run.Phase == pipeline.PhaseSteps && done < p.Of {
		p.Step, p.Number = st.Stages[stage].Steps[done].Name, done+1
	}
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return nil, err
	}
	key := lock.Run(name, run.Summary())
	p.Dead = true
	for _, l := range leases {
		if l.Key == key && r.now().Before(l.Expires) && !r.dead(l.Holder.Process) {
			p.Dead = false
		}
	}
	line, err := r.lastLine(ctx, name, run.ID)
	p.Line = strings.TrimPrefix(line, pipeline.StepHeader(p.Step)) // the command of a step that has printed nothing yet
	return p, err
}

// UnderWay gives where the runs and bakes of a pipeline stand that are under way, the
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

// lastLine gives the last line of a log without its time; empty where there is none yet.
func (r *Reports) lastLine(ctx context.Context, pipelineName, run string) (string, error) {
	log, err := r.logs.Open(ctx, pipelineName, run)
	if pipeline.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer log.Close()
	tail, err := readTail(log)
	if err != nil {
		return "", err
	}
	lines := bytes.Split(bytes.TrimRight(tail, "\n"), []byte("\n"))
	line := string(lines[len(lines)-1])
	if stamp, rest, ok := strings.Cut(line, " "); ok {
		if _, err := time.Parse(time.RFC3339, stamp); err == nil {
			line = rest
		}
	}
	return strings.TrimSpace(line), nil
}

// readTail reads the end of a log. Where that is far away it reads all, in little memory.
func readTail(log io.Reader) ([]byte, error) {
	if file, ok := log.(io.Seeker); ok {
		size, err := file.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = file.Seek(max(size-tailSize, 0), io.SeekStart)
		}
		if err != nil {
			return nil, err
		}
	}
	var tail []byte
	for buffer := make([]byte, tailSize); ; {
		n, err := log.Read(buffer)
		tail = append(tail, buffer[:n]...)
		tail = append([]byte(nil), tail[max(len(tail)-tailSize, 0):]...)
		if err == io.EOF {
			return tail, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// followPause is how often a log is looked at that may grow.
const followPause = 500 * time.Millisecond

// Follow writes the log of a run to w, and what is added to it, until the run has
// ended. A log that was collected is CodeNotFound.
func (r *Reports) Follow(ctx context.Context, pipelineName, run string, w io.Writer) error {
	tick := time.NewTicker(max(followPause, r.headAge))
	defer tick.Stop()
	var offset int64
	for ended := false; ; {
		now, err := r.ledger.Run(ctx, pipelineName, run)
		if err != nil {
			return err
		}
		n, err := r.copyLog(ctx, pipelineName, run, offset, w)
		if offset += n; err != nil && (now.Status.Final() || !pipeline.IsNotFound(err)) {
			return err
		}
		// One more look is for what a run writes yet that another process has ended.
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

// copyLog writes what a log has beyond an offset, and gives how much that is.
func (r *Reports) copyLog(ctx context.Context, pipelineName, run string, offset int64, w io.Writer) (int64, error) {
	log, err := r.logs.Open(ctx, pipelineName, run)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	if file, ok := log.(io.Seeker); ok {
		_, err = file.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, log, offset)
	}
	if err == io.EOF {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return io.Copy(w, log)
}
