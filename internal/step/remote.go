// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// RatePerMachine is the rate, in requests per second, up to which one of the
// worker's machines makes a load where the profile does not say how many share it.
// The smallest build machine has two cores, and leaves room for slow answers.
const RatePerMachine = 500

// maxLate is how much later than the others a machine may begin with its share of a
// load: beyond that the rate would not be the one that was asked for.
const maxLate = 2 * time.Second

// The variables whose values are files of this machine.
const (
	artifactVariable = "PENSTOCK_ARTIFACT"
	programVariable  = "PENSTOCK_PROGRAM"
)

// The files in the tree of a machine that makes a share of a load.
const (
	shareFile = "share.json"
	tallyFile = "tally.json"
)

// token names one try of a step to the worker.
func token(req pipeline.StepRequest, try int) string {
	return fmt.Sprintf("%s/%s/%d", req.Run, req.Step.Name, try)
}

// runRemote runs a command on a machine of the worker's. The time-out is the
// command's, not that of the wait for the machine.
func (r *Runner) runRemote(ctx context.Context, req pipeline.StepRequest, try int, log *runlog.Log) outcome {
	tree := req.Checkout
	if tree == "" { // a run without a source
		empty, err := os.MkdirTemp("", "penstock-step-")
		if err != nil {
			return outcome{err: fmt.Errorf("make working directory: %w", err)}
		}
		defer func() { _ = os.RemoveAll(empty) }()
		tree = empty
	}
	work := pipeline.Work{
		Token: token(req, try), Tree: tree, Mask: newRedactor(req).Pieces(), Log: log,
		Command: pipeline.Command{
			Name: req.Step.Name, Line: req.Step.Command, Dir: req.Step.Directory,
			Env: variables(req), Secrets: req.Secrets, Timeout: limit(req.Step, pipeline.DefaultStepTimeout),
		},
	}
	if path := req.Env[artifactVariable]; path != "" && path == work.Env[artifactVariable] {
		work.Files = map[string]string{artifactVariable: path}
	}
	exit := process.Exit{Code: -1}
	exits, err := r.worker.Work(ctx, work)
	if err == nil {
		exit.Code = exits[0]
	}
	return conclude(ctx, work.Timeout, exit, err, log)
}

// share is what one machine makes of a load.
type share struct {
	Load   pipeline.Load `json:"load"` // with the machine's rate
	URL    string        `json:"url"`
	Host   string        `json:"host,omitempty"` // that requests to it are for; empty: that of URL
	Hits   uint64        `json:"hits"`
	Offset time.Duration `json:"offset"` // from the beginning of all to this machine's first request
}

// shares divides a load, so that the requests of all machines together are sent at
// the times at which one would send them.
func shares(whole share) []share {
	l := whole.Load
	n := uint64(l.Machines)
	if n == 0 {
		n = uint64(math.Ceil(l.Rate / RatePerMachine))
	}
	all := hits(l)
	n = min(max(n, 1), all)
	list := make([]share, n)
	for i := range list {
		part := l
		part.Rate = l.Rate / float64(n)
		list[i] = share{
			Load: part, URL: whole.URL, Host: whole.Host, Hits: (all - uint64(i) + n - 1) / n,
			Offset: time.Duration(float64(i) / l.Rate * float64(time.Second)),
		}
	}
	return list
}

// attackRemote makes the load on machines of the worker's, which run this program.
func (r *Runner) attackRemote(req pipeline.StepRequest, whole share, bound time.Duration) attack {
	return func(ctx context.Context, try int, log *runlog.Log) (*tally, error) {
		program, err := r.programFor(ctx)
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "penstock-load-")
		if err != nil {
			return nil, fmt.Errorf("make working directory: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		parts := shares(whole)
		log.Note("machines that make the load: %d", len(parts))
		var works []pipeline.Work
		for i, part := range parts {
			tree := filepath.Join(dir, fmt.Sprint(i+1))
			if err := writeJSON(tree, shareFile, part); err != nil {
				return nil, fmt.Errorf("make working directory: %w", err)
			}
			works = append(works, pipeline.Work{
				Token: fmt.Sprintf("%s/%d", token(req, try), i+1), Tree: tree, Files: map[string]string{programVariable: program},
				Log: prefixed{fmt.Sprintf("machine %d: ", i+1), log},
				Command: pipeline.Command{
					Name: req.Step.Name, Line: fmt.Sprintf(`"$%s" load < %s > %s`, programVariable, shareFile, tallyFile), Timeout: bound,
				},
			})
		}
		exits, err := r.worker.Work(ctx, works...)
		if err != nil {
			return nil, err
		}
		return gather(whole.Load, works, exits)
	}
}

// programFor returns the path of this program, if the worker's machines can run it.
func (r *Runner) programFor(ctx context.Context) (string, error) {
	system, arch, err := r.worker.System(ctx)
	if err != nil {
		return "", err
	}
	if system != runtime.GOOS || arch != runtime.GOARCH {
		return "", invalid("the machines for the load run programs for %s/%s, but this one is for %s/%s", system, arch, runtime.GOOS, runtime.GOARCH).
			WithHint("Run Terraform on %s/%s, or make the load on this machine.", system, arch).WithAdvice(pipeline.Set("runner", `"local"`, "the stage"))
	}
	if r.program != "" {
		return r.program, nil
	}
	return os.Executable()
}

// gather adds up what the machines measured.
func gather(l pipeline.Load, works []pipeline.Work, exits []int) (*tally, error) {
	all := newTally(l.Duration)
	for i, work := range works {
		if exits[i] != 0 {
			return nil, failed("machine %d of %d could not make its share of the load: exit status %d", i+1, len(works), exits[i])
		}
		data, err := readFile(work.Tree, tallyFile)
		part := newTally(l.Duration)
		if err == nil {
			err = json.Unmarshal(data, part)
		}
		if err == nil && (len(part.Counts.Histogram) != len(all.Counts.Histogram) || len(part.Windows) != len(all.Windows)) {
			err = errors.New("it has another version of Penstock")
		}
		if err != nil {
			return nil, failed("read what machine %d of %d measured: %w", i+1, len(works), err)
		}
		all.merge(part)
	}
	return all, nil
}

// MakeShare makes one machine's share of a load, which is read from in, and writes
// what it measured to out: `penstock load`, as the worker's machines run it. start is
// the value of pipeline.StartVariable, empty where no other machine takes part.
func MakeShare(ctx context.Context, start string, in io.Reader, out, progress io.Writer) error {
	const op = "make load"
	var s share
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "read the share: %w", err)
	}
	if start != "" {
		begin, err := time.Parse(time.RFC3339Nano, start)
		if err != nil {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%s: %w", pipeline.StartVariable, err)
		}
		if late := time.Since(begin); late > maxLate {
			return pipeline.Errorf(pipeline.CodeFailed, op, "this machine was ready %v after the others had begun", late.Round(time.Millisecond))
		}
		if err := pause(ctx, time.Until(begin.Add(s.Offset))); err != nil {
			return err
		}
	}
	tally, err := send(ctx, s, func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) })
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err)
	}
	if ctx.Err() != nil {
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	}
	return json.NewEncoder(out).Encode(tally)
}

func writeJSON(dir, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name), data, 0o600))
}

// prefixed begins each line with a prefix.
type prefixed struct {
	prefix string
	to     io.Writer
}

// Write takes whole lines.
func (p prefixed) Write(b []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		out.WriteString(p.prefix)
		out.Write(line)
	}
	if _, err := p.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// readFile reads a file that another machine left in a tree.
func readFile(tree, name string) ([]byte, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	file, err := regular.OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(file)
}
