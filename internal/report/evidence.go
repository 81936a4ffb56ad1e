// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// Evidence is what a person sees before deciding on a build at a stage: what is known of the
// build, beside the build that runs now, and who would carry the decision out.
type Evidence struct {
	Verb     string `json:"verb"` // approve, reject, promote, rollback, override
	Pipeline string `json:"pipeline"`
	Stage    string `json:"stage"`
	Build    Named  `json:"decided_build"` // that the decision is about
	// Against is the stage whose current build the build is compared with: Stage if people
	// move it, else the last that releases. It is empty if none holds a build.
	Against string `json:"against,omitempty"`
	Current *Named `json:"current_build,omitempty"` // that build; null for none
	// Diff is null if there is nothing to compare with. NoDiff says why.
	Diff           *Diff            `json:"diff,omitempty"`
	NoDiff         string           `json:"no_diff,omitempty"`                                     // why there is no comparison
	Infrastructure []Infrastructure `json:"infrastructure,omitempty" shape:"infrastructure_plans"` // what the module of the build would do in the next environments that it is released to
	Changes        []Change         `json:"component_changes"`                                     // by component, data and infrastructure first
	Tests          []Tests          `json:"stage_tests"`                                           // in the order of the stages
	Loads          []Load           `json:"loads"`                                                 // what the load steps measured, in the order of the stages
	Decisions      []Decided        `json:"decisions"`                                             // that count, by stage
	Gated          []Gated          `json:"gated"`                                                 // what stages of other pipelines had passed when the build entered stages that come after them, in the order of the stages
	Channels       []Published      `json:"channels"`                                              // where the build's image is published, by publisher
	Held           []Held           `json:"held"`                                                  // persistent environments that run the build, in the order of the stages
	// Rollback is the last one of the stage that the build is compared at; null if none is known.
	Rollback *Rollback `json:"last_rollback,omitempty"`
	Missing  int       `json:"missing_approvals"` // that the build still needs, with this one
	Next     []string  `json:"next_stages"`       // stages that the build may enter once it has passed
	// Pending is a promotion to another build that no apply has carried out yet.
	Pending *pipeline.Promotion `json:"pending_promotion,omitempty"`
	Applies Applies             `json:"applies"` // who would carry the decision out
	// Directory is the one of the configuration, in which `terraform apply` is run if nobody
	// watches. It may name a workspace, too.
	Directory string              `json:"directory,omitempty"`
	Host      string              `json:"host,omitempty"`   // the machine that has the directory; empty if it is not known
	Runner    pipeline.RunnerKind `json:"runner,omitempty"` // of the steps of the stage
	Run       string              `json:"run,omitempty"`    // that decides the result of the build there
}

// Named is a build as people name it.
type Named struct {
	ID      string    `json:"id"`
	Number  int64     `json:"number"` // in the pipeline, as people say it; 0 if it was collected
	Commit  string    `json:"commit"`
	Message string    `json:"message,omitempty"`
	Author  string    `json:"author,omitempty"`
	URL     string    `json:"url,omitempty"` // of the commit
	Made    time.Time `json:"created_at"`
}

// Change is what differs of a component.
type Change struct {
	Component string `json:"component"`  // data, infrastructure, configuration or application
	Files     int    `json:"file_count"` // 0 if they are not known
	Added     int    `json:"added"`      // lines
	Removed   int    `json:"removed"`
}

// Tests is what the tests of a stage counted.
type Tests struct {
	Stage string `json:"stage"`
	Run   string `json:"run"`
	Count
	Before *Count   `json:"before_counts,omitempty"` // of the current build at the same stage
	New    []string `json:"new_failures"`            // tests that failed, and did not with the current build
}

// Count counts tests.
type Count struct {
	Total   int `json:"total"`
	Failed  int `json:"failed"` // failures and errors
	Skipped int `json:"skipped"`
}

// Load is what a load step measured, beside its limits.
type Load struct {
	Stage         string        `json:"stage"`
	Run           string        `json:"run"`
	Step          string        `json:"step"`
	P99           time.Duration `json:"p99"`
	Limit         time.Duration `json:"p99_limit,omitempty"` // 0 for none
	Errors        float64       `json:"error_rate"`
	ErrorLimit    *float64      `json:"error_rate_limit,omitempty"`  // null for none
	Before        string        `json:"before_build,omitempty"`      // the build that it is compared with; empty for none
	BeforeNumber  int64         `json:"before_number,omitempty"`     // of that build, as people say it
	BeforeRun     string        `json:"before_run,omitempty"`        // of the build before
	BeforeP99     time.Duration `json:"before_p99,omitempty"`        // of the build before
	BeforeCurrent bool          `json:"before_is_current,omitempty"` // else it is the last one that was measured
}

// Decided is what a person decided on the build at a stage.
type Decided struct {
	Stage  string    `json:"stage"`
	Verb   string    `json:"verb"` // approved, rejected or overridden
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Rollback is a deployment of an older build than the one before.
type Rollback struct {
	Stage string        `json:"stage"`
	From  Named         `json:"from_build"` // that ran before
	To    Named         `json:"to_build"`   // that it went back to
	Run   string        `json:"run"`
	At    time.Time     `json:"at"` // it ended
	Took  time.Duration `json:"took"`
}

// EvidenceRequest asks for the evidence of a decision. Compare compares two builds; nil means
// Diff.
type EvidenceRequest struct {
	Verb, Stage, Build string
	Compare            func(ctx context.Context, from, to string) (Diff, error)
}

// Evidence collects what is known of a build for a decision on it. It returns CodeNotFound
// for a stage or build that does not exist. A comparison that fails is no error.
func (r *Reports) Evidence(ctx context.Context, st *pipeline.State, q EvidenceRequest) (Evidence, error) {
	stage, ok := st.Stages[q.Stage]
	if !ok {
		return Evidence{}, state.NoStage(st.Pipeline.Name, q.Stage)
	}
	if _, ok := st.Builds[q.Build]; !ok {
		return Evidence{}, state.NoBuild("collect evidence", st.Pipeline.Name, q.Build)
	}
	result, _ := st.ResultOf(stage, q.Build)
	e := Evidence{
		Verb: q.Verb, Pipeline: st.Pipeline.Name, Stage: q.Stage, Build: NameOf(st, q.Build), Run: result.ID, Runner: stage.Runner,
		Directory: st.Pipeline.Owner, Host: st.Pipeline.Made.Host,
		Changes: []Change{}, Tests: []Tests{}, Loads: []Load{}, Decisions: decided(st, stage, q.Build), Next: below(st, q.Stage),
		Infrastructure: infrastructure(st, stage, q.Build), Channels: publishedOf(st, q.Build), Held: heldOf(st, q.Build),
	}
	if stage.Approval {
		e.Missing = st.Ballot(stage, q.Build).MissingApprovals()
	}
	if p, ok := gate.PendingPromotion(st, stage); ok && p.Build != q.Build {
		e.Pending = &p
	}
	current := st.Current[stage.Name].Build
	if e.Against = stage.Name; stage.Trigger != pipeline.TriggerManual {
		at, delivered, _ := st.Delivered()
		e.Against, current = at.Name, delivered
	}
	var err error
	if e.Gated, err = gatedOf(ctx, r, st, stage, q.Build); err != nil {
		return e, err
	}
	if e.Applies, err = r.Applies(ctx, st.Pipeline.Name); err != nil {
		return e, err
	}
	if current != "" {
		named := NameOf(st, current)
		e.Current = &named
		if e.Rollback, err = r.lastRollback(ctx, st, e.Against); err != nil {
			return e, err
		}
	}
	r.compareFor(ctx, st, q, &e)
	return e, r.measured(ctx, st, stage, q.Build, current, &e)
}

// compareFor fills in what differs from the current build.
func (r *Reports) compareFor(ctx context.Context, st *pipeline.State, q EvidenceRequest, e *Evidence) {
	switch {
	case e.Current == nil:
		e.NoDiff = "no stage that releases holds a build to compare with"
		return
	case e.Current.ID == q.Build:
		e.NoDiff = "it is the build that runs there now"
		return
	case q.Compare == nil:
		q.Compare = func(ctx context.Context, from, to string) (Diff, error) { return r.Diff(ctx, e.Pipeline, from, to) }
	}
	diff, err := q.Compare(ctx, e.Current.ID, q.Build)
	if err != nil {
		e.NoDiff = err.Error()
		return
	}
	e.Diff, e.Changes = &diff, changes(st.Builds[e.Current.ID], st.Builds[q.Build], diff)
}

// risk is the order in which changes of components are listed: what can't be taken back by a
// rollback comes first.
var risk = []string{"data", "module", "infrastructure", "configuration", "application"}

// changes counts what differs, by component.
func changes(from, to pipeline.Build, d Diff) []Change {
	list := []Change{}
	changed := to.Revision.Components.Changed(from.Revision.Components)
	for _, component := range risk {
		c := Change{Component: component}
		for _, f := range d.Files {
			if f.Component == component {
				c.Files, c.Added, c.Removed = c.Files+1, c.Added+f.Added, c.Removed+f.Removed
			}
		}
		if c.Files > 0 || slices.Contains(changed, component) {
			list = append(list, c)
		}
	}
	return list
}

// decided lists what people decided on a build that counts, at a stage and those above.
func decided(st *pipeline.State, stage pipeline.Stage, build string) []Decided {
	list := []Decided{}
	for _, s := range upTo(st, stage) {
		id := pipeline.StageBuild(s.Name, build)
		for _, a := range st.Ballot(s, build).Approvals() {
			list = append(list, Decided{s.Name, "approved", a.Actor, a.Reason, a.At})
		}
		for _, x := range st.Decisions[id].Stand() {
			list = append(list, Decided{s.Name, "rejected", x.Actor, x.Reason, x.At})
		}
		if o, ok := st.Overrides[id]; ok {
			list = append(list, Decided{s.Name, "overridden", o.Actor, o.Reason, o.At})
		}
	}
	return list
}

// upTo lists the stages above a stage that take builds, and the stage, in order.
func upTo(st *pipeline.State, stage pipeline.Stage) []pipeline.Stage {
	above := st.Ancestors(stage.After)
	return slices.DeleteFunc(st.StagesInOrder(), func(s pipeline.Stage) bool {
		return !s.TakesBuild() || s.Name != stage.Name && !slices.Contains(above, s.Name)
	})
}

// below lists the stages that come right after a stage.
func below(st *pipeline.State, stage string) []string {
	names := []string{}
	for _, s := range st.StagesInOrder() {
		if slices.Contains(s.After, stage) {
			names = append(names, s.Name)
		}
	}
	return names
}

// measured fills in tests and loads, from the runs that decide the results of the build.
func (r *Reports) measured(ctx context.Context, st *pipeline.State, stage pipeline.Stage, build, current string, e *Evidence) error {
	for _, s := range upTo(st, stage) {
		now, err := r.resultRun(ctx, st, s, build)
		if err != nil {
			return err
		}
		if now.ID == "" {
			continue
		}
		before, isCurrent := current, true
		if _, ran := st.ResultOf(s, current); !ran || current == build {
			before, isCurrent = lastMeasured(st, s, build), false
		}
		was, err := r.resultRun(ctx, st, s, before)
		if err != nil {
			return err
		}
		if t, counted := testsOf(now, was, isCurrent); counted {
			e.Tests = append(e.Tests, t)
		}
		e.Loads = append(e.Loads, loadsOf(st, now, was, isCurrent)...)
	}
	return nil
}

// resultRun reads the run that decides the result of a build at a stage; the zero Run for
// none.
func (r *Reports) resultRun(ctx context.Context, st *pipeline.State, stage pipeline.Stage, build string) (pipeline.Run, error) {
	result, ok := st.ResultOf(stage, build)
	if !ok || build == "" {
		return pipeline.Run{}, nil
	}
	run, err := r.ledger.Run(ctx, st.Pipeline.Name, result.ID)
	if pipeline.IsNotFound(err) {
		return pipeline.Run{}, nil
	}
	return run, err
}

// lastMeasured returns the newest build older than another that has a result at a stage.
func lastMeasured(st *pipeline.State, stage pipeline.Stage, build string) string {
	for b := range st.NewestBuilds() {
		if _, ran := st.ResultOf(stage, b.ID); ran && b.Order < st.Builds[build].Order {
			return b.ID
		}
	}
	return ""
}

// testsOf counts the tests of a run, beside those of the current build's.
func testsOf(now, was pipeline.Run, isCurrent bool) (Tests, bool) {
	t := Tests{Stage: now.Stage, Run: now.ID, New: []string{}}
	count, failed, counted := countOf(now)
	t.Count = count
	before, known, there := countOf(was)
	if there && isCurrent {
		t.Before = &before
	}
	for _, name := range failed {
		if !isCurrent || !slices.Contains(known, name) {
			t.New = append(t.New, name)
		}
	}
	return t, counted
}

// countOf adds up the tests of a run, and names those that failed, as far as the run does.
func countOf(run pipeline.Run) (c Count, failed []string, counted bool) {
	for _, step := range run.Steps {
		if step.Tests == nil {
			continue
		}
		counted = true
		c.Total, c.Failed, c.Skipped = c.Total+step.Tests.Total, c.Failed+step.Tests.Failed, c.Skipped+step.Tests.Skipped
		for _, f := range step.Tests.Failures {
			failed = append(failed, f.Name)
		}
	}
	return c, failed, counted
}

// loadsOf returns what the load steps of a run measured, beside the same steps before.
func loadsOf(st *pipeline.State, now, was pipeline.Run, isCurrent bool) (list []Load) {
	for _, step := range now.Steps {
		if step.Load == nil {
			continue
		}
		l := Load{Stage: now.Stage, Run: now.ID, Step: step.Name, P99: step.Load.P99, Errors: step.Load.ErrorRate}
		if limits := step.Load.Limits; limits != nil {
			l.Limit, l.ErrorLimit = limits.P99, &limits.ErrorRate
		}
		for _, before := range was.Steps {
			if before.Name == step.Name && before.Load != nil {
				l.Before, l.BeforeNumber, l.BeforeRun, l.BeforeP99, l.BeforeCurrent = was.Build, st.Builds[was.Build].Number, was.ID, before.Load.P99, isCurrent
			}
		}
		list = append(list, l)
	}
	return list
}

// lookBack is how many runs of a stage are searched for its last rollback.
const lookBack = 200

// lastRollback finds the last run of a stage that deployed an older build than the one
// before; nil if none is known.
func (r *Reports) lastRollback(ctx context.Context, st *pipeline.State, stage string) (*Rollback, error) {
	page, err := r.ledger.Runs(ctx, st.Pipeline.Name, pipeline.RunQuery{Stage: stage, Status: pipeline.RunPassed, Limit: lookBack})
	if err != nil {
		return nil, err
	}
	order := func(s pipeline.RunSummary) int64 { return cmp.Or(st.Builds[s.Build].Order, s.Order) }
	for i := 0; i+1 < len(page.Runs); i++ {
		now, before := page.Runs[i], page.Runs[i+1]
		now.Order, before.Order = cmp.Or(now.Order, order(now)), cmp.Or(before.Order, order(before))
		if now.Build != before.Build && now.Order > 0 && now.Order < before.Order {
			return &Rollback{stage, NameOf(st, before.Build), NameOf(st, now.Build), now.ID, now.EndedAt, now.EndedAt.Sub(now.StartedAt)}, nil
		}
	}
	return nil, nil
}
