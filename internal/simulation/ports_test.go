// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// record is a process's way to the ledger.
type record struct {
	*process
	pipeline.Ledger
}

func (r record) Append(ctx context.Context, b pipeline.Batch) (sealed []pipeline.Event, err error) {
	kinds := ""
	for _, e := range b.Events {
		kinds += " " + string(e.Kind)
		if run := e.Facts.Run; run != nil {
			kinds += fmt.Sprintf("(%s %s %s)", run.Stage, run.Phase, run.Status)
		}
	}
	err = r.call(ctx, "append"+kinds, true, func() error {
		if err := r.unseen(ctx, b); err != nil {
			return err
		}
		sealed, err = r.Ledger.Append(context.WithoutCancel(ctx), b)
		return err
	})
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range sealed {
			r.acked[fmt.Sprintf("%s/%d", e.Pipeline, e.Seq)] = e.Hash
		}
	}
	return sealed, err
}

// unseen records a violation if the ledger accepts a decision that lifts a rejection which
// its person did not see.
func (r record) unseen(ctx context.Context, b pipeline.Batch) error {
	for _, e := range b.Events {
		d := e.Facts.Decision
		if d == nil || d.Result == pipeline.Rejected {
			continue
		}
		st, err := r.Ledger.State(context.WithoutCancel(ctx), b.Pipeline)
		if err != nil {
			return err
		}
		id := pipeline.StageBuild(d.Stage, d.Build)
		version := st.Version(pipeline.RecordDecision, id)
		taken := b.Expect[pipeline.Key{Kind: pipeline.RecordDecision, ID: id}] == version
		if st.Decisions[id].Result == pipeline.Rejected && version > r.looked && taken {
			r.violation("%s lifts the rejection of %s of event %d, and saw event %d last", r, id, version, r.looked)
		}
	}
	return nil
}

func (r record) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (l pipeline.Lease, err error) {
	return l, r.call(ctx, "acquire "+key, true, func() error {
		before, err := r.Leases(ctx)
		if err != nil {
			return err
		}
		if l, err = r.Ledger.Acquire(context.WithoutCancel(ctx), key, h, ttl); err != nil {
			return err
		}
		for _, b := range before {
			if b.Key == key && time.Now().Before(b.Expires) && !r.dead.has(b.Holder.PID) {
				r.violation("%s took %s from %s, whose process lives and has until %s", r, key, b.Holder.Actor, b.Expires)
			}
		}
		r.renewed[l.Fence()] = lease{by: r.id, taken: time.Now(), expires: l.Expires}
		return nil
	})
}

func (r record) Renew(ctx context.Context, l pipeline.Lease, ttl time.Duration) (renewed pipeline.Lease, err error) {
	return renewed, r.call(ctx, "renew "+l.Key, true, func() error {
		if renewed, err = r.Ledger.Renew(context.WithoutCancel(ctx), l, ttl); err == nil {
			known := r.renewed[l.Fence()]
			known.expires = renewed.Expires
			r.renewed[l.Fence()] = known
		}
		return err
	})
}

func (r record) Release(ctx context.Context, l pipeline.Lease) error {
	return r.call(ctx, "release "+l.Key, true, func() error { return r.Ledger.Release(context.WithoutCancel(ctx), l) })
}

func (r record) State(ctx context.Context, name string) (st *pipeline.State, err error) {
	return st, r.call(ctx, "state", false, func() error { st, err = r.Ledger.State(ctx, name); return err })
}

func (r record) Head(ctx context.Context, name string) (head int64, err error) {
	return head, r.call(ctx, "head", false, func() error { head, err = r.Ledger.Head(ctx, name); return err })
}

func (r record) Newest(ctx context.Context, name string) (a pipeline.Anchor, err error) {
	return a, r.call(ctx, "newest", false, func() error { a, err = r.Ledger.Newest(ctx, name); return err })
}

func (r record) Run(ctx context.Context, name, id string) (run pipeline.Run, err error) {
	return run, r.call(ctx, "run", false, func() error { run, err = r.Ledger.Run(ctx, name, id); return err })
}

// step is a step that is under way.
type step struct {
	stage string
	by    *process
	lease pipeline.Fence
}

// runner executes steps, which take time.
type runner struct{ *process }

func (runner) Check(pipeline.RunnerKind) error { return nil }

func (runner) Survey(context.Context, string, []pipeline.Step) (pipeline.ReportFiles, error) {
	return pipeline.ReportFiles{"surveyed": {}}, nil
}

func (r runner) Run(ctx context.Context, req pipeline.StepRequest) (pipeline.StepResult, error) {
	result := pipeline.StepResult{Name: req.Step.Name, Status: pipeline.RunPassed, Attempts: 1}
	var takes time.Duration
	err := r.call(ctx, "begin step", true, func() error {
		r.begin(ctx, req)
		takes = r.between(time.Millisecond, 50*time.Second)
		return nil
	})
	if err == nil {
		err = r.pass(ctx, takes)
	}
	fails := false
	if err == nil {
		err = r.call(ctx, "end step", true, func() error {
			fails = !r.calm && r.random.IntN(10) == 0
			return nil
		})
	}
	r.mu.Lock()
	delete(r.steps, req.Run)
	r.mu.Unlock()
	switch {
	case err != nil:
		result.Status = pipeline.RunCancelled
		return result, err
	case fails:
		result.Status = pipeline.RunFailed
		return result, pipeline.Errorf(pipeline.CodeFailed, "step", "step %q failed", req.Step.Name)
	case req.Step.Command == "make":
		return result, os.WriteFile(filepath.Join(req.Checkout, "out"), []byte(req.Env["PENSTOCK_REVISION"]), 0o600)
	}
	return result, nil
}

// begin notes that a step runs. Another step of the stage may run only if its process is
// dead, or had not renewed its lease when this one took it.
func (r runner) begin(ctx context.Context, req pipeline.StepRequest) {
	stage := req.Env["PENSTOCK_STAGE"]
	key := "shop/stage/" + stage
	own := pipeline.Fence{Key: key}
	for f, l := range r.renewed { // its lease is the newest that its process took
		if f.Key == key && l.by == r.id && f.Token > own.Token {
			own = f
		}
	}
	for run, other := range r.steps {
		displaced := own.Token < other.lease.Token // it was paused before this, and will hear of that
		if other.stage != stage || run == req.Run || displaced || r.dead.has(other.by.id) {
			continue
		}
		if until := r.renewed[other.lease].expires; until.After(r.renewed[own].taken) {
			r.violation("%s runs stage %s (%s) while %s runs it (%s), and had its lease until %s", r, stage, req.Run, other.by, run, until)
		}
	}
	r.steps[req.Run] = step{stage, r.process, own}
}

type sources struct{ *process }

func (sources) Checkout(_ context.Context, r pipeline.CheckoutRequest) error {
	return errors.Join(os.Mkdir(r.Dir, 0o700), os.WriteFile(filepath.Join(r.Dir, "f"), []byte(r.Commit), 0o600))
}

func (sources) Describe(_ context.Context, repository, commit string) (pipeline.Revision, error) {
	return pipeline.Revision{Repository: repository, Commit: commit, Author: "Ada <ada@example.com>"}, nil
}

func (sources) Compare(context.Context, string, string, string, *pipeline.Paths) (pipeline.Comparison, error) {
	return pipeline.Comparison{}, nil
}

// artifacts are never removed: the store has no fences, and its content can be made again.
type artifacts struct{ *process }

func (a artifacts) Put(_ context.Context, path string) (pipeline.Artifact, error) {
	data, err := os.ReadFile(path)
	return pipeline.Artifact{Digest: "sha256:" + string(data), Name: "out", Size: int64(len(data))}, err
}

func (artifacts) Get(_ context.Context, a pipeline.Artifact) (string, error) { return a.Digest, nil }
func (artifacts) URL(a pipeline.Artifact) string                             { return a.Digest }
func (artifacts) Remove(context.Context, string) error                       { return nil }
func (artifacts) List(context.Context) ([]string, error)                     { return nil, nil }

type logs struct{}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

func (logs) Create(context.Context, string, string) (io.WriteCloser, error) {
	return discard{io.Discard}, nil
}

func (logs) Open(context.Context, string, string) (io.ReadSeekCloser, error) {
	return nil, pipeline.Errorf(pipeline.CodeNotFound, "read log", "there is none")
}
func (logs) Location(name, run string) string             { return name + "/" + run }
func (logs) Remove(context.Context, string, string) error { return nil }
