// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// livePoller looks at repositories and at the ledger.
type livePoller struct {
	open    func(context.Context) (*app.App, error)
	dir     string
	once    bool     // there will be no second look
	app     *app.App // nil before the first apply has made what it opens
	tips    map[string]tip
	watches map[string]*lock.Watch // by pipeline
	only    context.Context        // ends when a watch is lost
	lost    context.CancelCauseFunc
	drift   driftChecks
}

// tip is what a ref stood for when a source was last looked at, and what that meant.
type tip struct {
	text     string
	snapshot source.Snapshot
}

// Lock implements poller.
func (l *livePoller) Lock(ctx context.Context, pipelines []string) (context.Context, error) {
	if len(pipelines) == 0 {
		return ctx, nil // Terraform's own lock is all that there is
	}
	if err := l.ready(ctx); err != nil || l.app == nil {
		return ctx, err
	}
	if l.only == nil || l.only.Err() != nil {
		l.unlock()
		l.only, l.lost = context.WithCancelCause(ctx)
		l.watches = map[string]*lock.Watch{}
	}
	for _, name := range slices.Sorted(slices.Values(pipelines)) {
		if l.watches[name] != nil {
			continue
		}
		leased, watch, err := l.app.Engine.Watch(ctx, name, "watch of "+l.dir)
		if err != nil {
			l.unlock()
			return nil, err
		}
		lost := l.lost
		context.AfterFunc(leased, func() { lost(context.Cause(leased)) })
		l.watches[name] = watch
	}
	return l.only, nil
}

// Publish implements poller. Others see it in the lease of the watch, so that it ends with
// the watcher however that ends.
func (l *livePoller) Publish(text string) {
	if l.only == nil {
		return
	}
	for _, watch := range l.watches {
		watch.Doing(l.only, text)
	}
}

func (l *livePoller) unlock() {
	for _, name := range slices.Sorted(maps.Keys(l.watches)) {
		l.watches[name].End(context.Background())
	}
	l.watches = nil
	if l.lost != nil {
		l.lost(nil)
	}
	l.only, l.lost = nil, nil
}

// ready opens the ledger where there is one.
func (l *livePoller) ready(ctx context.Context) error {
	if l.app != nil {
		return nil
	}
	a, err := l.open(ctx)
	if pipeline.IsNotFound(err) {
		return nil
	}
	l.app = a
	return err
}

// Close implements poller.
func (l *livePoller) Close(ctx context.Context) error {
	l.drift.end(l.once)
	l.unlock()
	if l.app == nil {
		return nil
	}
	a := l.app
	l.app, l.tips = nil, nil
	return a.Close(ctx)
}

// UnderWay implements poller. Before the first apply has ended it is whatever is under way
// on the local platform.
func (l *livePoller) UnderWay(ctx context.Context, pipelines []string) (all []report.Progress, err error) {
	if err := l.ready(ctx); err != nil || l.app == nil {
		return nil, err
	}
	if len(pipelines) == 0 && !l.app.OnAWS() {
		if pipelines, err = l.app.Engine.Reports.Names(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range pipelines {
		runs, err := l.app.Engine.Reports.UnderWay(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	return all, nil
}

// Look implements poller.
func (l *livePoller) Look(ctx context.Context, seen *State) ([]Reason, error) {
	if seen.Empty() {
		return []Reason{{Key: "first", Text: "nothing has been applied yet"}}, nil
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	if l.app == nil {
		return []Reason{{Key: "ledger", Text: "the ledger is gone"}}, nil
	}
	var reasons []Reason
	var due []pipeline.Stage
	for _, s := range seen.Sources {
		found, err := l.source(ctx, s)
		if err != nil {
			return nil, err
		}
		reasons = append(reasons, found...)
	}
	for _, name := range seen.Pipelines {
		st, err := l.app.Engine.State(ctx, name)
		if err != nil {
			return nil, err
		}
		if !st.Exists() {
			reasons = append(reasons, Reason{Key: "pipeline " + name, Text: fmt.Sprintf("pipeline %q is gone", name)})
			continue
		}
		l.app.Watch(st)
		reasons = append(reasons, stages(st)...)
		reasons = append(reasons, environments(st, seen.Environments)...)
		for _, s := range st.StagesInOrder() {
			for _, at := range s.AtPlaces() {
				if pipeline.DriftDue(st, at, time.Now()) {
					due = append(due, at)
				}
			}
		}
	}
	if len(reasons) == 0 {
		l.checkDrift(due)
		return nil, nil
	}
	return reasons, l.others(ctx, seen.Pipelines)
}

// checkDrift checks stages for drift, as long as this is the watcher. A plan checks them, too,
// so that nothing is checked here before an apply.
func (l *livePoller) checkDrift(due []pipeline.Stage) {
	if l.only == nil {
		return
	}
	stages := l.app.Engine.Stages
	l.drift.begin(l.only, due, func(ctx context.Context, s pipeline.Stage) {
		_, _, _ = stages.Drift(ctx, s.Pipeline, s.Name) // the next look tries again, and says what is wrong with the ledger
	})
}

// others says who else applies. What is to be done after that, or undone by it, nobody
// knows before; an apply that waited for Terraform's lock would undo a destroy.
func (l *livePoller) others(ctx context.Context, pipelines []string) error {
	leases, err := l.app.Engine.Reports.Leases(ctx)
	if err != nil {
		return err
	}
	for _, lease := range leases {
		key := pipeline.ParseLeaseKey(lease.Key)
		if slices.Contains(pipelines, key.Pipeline) && key.Applies() && time.Now().Before(lease.Expires) {
			return &pipeline.Error{Code: pipeline.CodeLocked, Op: "look", Err: &pipeline.LockedError{Lease: lease}}
		}
	}
	return nil
}

// source asks a repository whether there is a commit that touches a component.
func (l *livePoller) source(ctx context.Context, s Source) ([]Reason, error) {
	from := l.app.NewSource(l.dir)
	text, err := from.Tip(ctx, s.Query)
	if err != nil {
		return nil, err
	}
	last, ok := l.tips[s.Address]
	if !ok || text == "" || last.text != text {
		snapshot, err := from.Snapshot(ctx, s.Query)
		if err != nil {
			return nil, err
		}
		if l.tips == nil {
			l.tips = map[string]tip{}
		}
		last = tip{text, snapshot}
		l.tips[s.Address] = last
	}
	touched := last.snapshot.Components.Changed(s.Components)
	if len(touched) == 0 {
		return nil, nil
	}
	return []Reason{{
		Key:  fmt.Sprintf("source %s %s", s.Address, last.snapshot.Components),
		Text: fmt.Sprintf("commit %s by %s touches %s", last.snapshot.Commit[:10], last.snapshot.Author, strings.Join(touched, " and ")),
	}}, nil
}

// stages returns the stages that an apply would do something to. One whose pin is refused
// is none: its configuration has to change.
func stages(st *pipeline.State) []Reason {
	var reasons []Reason
	for _, m := range gate.Now(st).Moves() {
		if m.Refusal == nil && m.Action != gate.ActionNone {
			reasons = append(reasons, reasonOf(st, m))
		}
	}
	return reasons
}

// reasonOf says why an apply would do something to a stage.
func reasonOf(st *pipeline.State, m gate.Move) Reason {
	s, build := m.Stage, m.Candidate.ID
	r := Reason{Key: fmt.Sprintf("stage %s/%s %s %s", s.Pipeline, s.Name, m.Action, build), Text: fmt.Sprintf("stage %q can move", s.Name)}
	if why := m.Why.String(); why != "" {
		r.Text = fmt.Sprintf("stage %q: %s", s.Name, why)
	}
	if p, ok := st.Promotions[s.Name]; ok && p.Build == build && s.Pin == "" {
		r.Key += fmt.Sprintf(" promoted %d", st.Version(pipeline.RecordPromotion, s.Name))
		named := func(id string) string { return pipeline.BuildName(st.Builds[id].Number, id) }
		r.Text = fmt.Sprintf("stage %q: %s promoted %s", s.Name, p.Actor, named(p.Build))
		if current := st.Current[s.Name].Build; st.Builds[p.Build].Order < st.Builds[current].Order {
			r.Text = fmt.Sprintf("stage %q: %s rolled back from %s to %s", s.Name, p.Actor, named(current), named(p.Build))
			if p.Restore != nil {
				r.Text += fmt.Sprintf(", with the data of backup %s", p.Restore.Backup)
			}
		}
	}
	if retry, ok := st.Retries[s.Name]; ok && retry.Build == build {
		r.Key += fmt.Sprintf(" asked %d", st.Version(pipeline.RecordRetry, s.Name))
	}
	return r
}

// environments returns the self-service environments of the configuration that have
// ended since.
func environments(st *pipeline.State, seen []Environment) []Reason {
	var reasons []Reason
	for _, e := range seen {
		if e.Pipeline != st.Pipeline.Name || !(pipeline.Environment{Status: e.Status}).Alive() {
			continue
		}
		now, ok := st.PersonEnvironment(e.Name)
		if !ok {
			now.Status = pipeline.EnvGone
		}
		if !now.Alive() {
			reasons = append(reasons, Reason{
				Key:  fmt.Sprintf("environment %s/%s %s", e.Pipeline, e.Name, now.Status),
				Text: fmt.Sprintf("self-service environment %q is %s", e.Name, now.Status),
			})
		}
	}
	return reasons
}
