// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// runPage is everything about a run.
type runPage struct {
	Run      pipeline.Run
	Of       pipeline.Build // what it ran for
	Cause    string         // why it failed, in a line
	Steps    []stepRow
	Hooks    []hookRow
	Failures []failedAt // the tests that failed, and the steps that failed without one
	Usually  time.Duration
	Buttons  []button
	Loads    []load // those of the run, each beside that of the run for the build before
	Log      logPage
}

// stepRow is a step of a run, whether it has run or not.
type stepRow struct {
	Number int // from 1
	Name   string
	Status string // that of its result, "running", "to come" or "not run"
	Result *pipeline.StepResult
	Since  time.Time     // of one that is running
	Usual  time.Duration // the median of earlier runs that passed; 0 where none is known
	InLog  bool          // the log has a part of it
}

// stepToCome is the status of a step that is still to come.
const stepToCome = "to come"

// Slower returns how many times as long as usual the step took; 0 where that is no news.
func (s stepRow) Slower() float64 {
	if s.Result == nil || s.Usual < time.Second || s.Result.Duration < s.Usual*3/2 {
		return 0
	}
	return float64(s.Result.Duration) / float64(s.Usual)
}

// failedAt is something that failed, and where in the log it did.
type failedAt struct {
	Name, Message string
	Step          string
	Test          bool
	Line          int // 0 where that is not known
}

// Page returns the part of an address that shows the line.
func (f failedAt) Page() int { return pageOf(f.Line) }

// run shows a run.
func (b *Board) run(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindRun, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	run, err := b.Engine.Reports.Run(r.Context(), st.Pipeline.Name, r.PathValue("run"))
	if err != nil {
		return err
	}
	page := runPage{Run: run, Of: st.Builds[run.Build], Cause: cause(run.Error)}
	if stage, ok := st.Stages[run.Stage]; ok && run.Kind == pipeline.KindStage {
		e := b.Engine.As(s.person)
		if decision.RetryOf(st, stage).ID == run.ID {
			if adder(e, st, stage)(&page.Buttons, "retry", "") {
				page.Buttons[0].Primary = run.Status == pipeline.RunFailed
			}
		}
	}
	earlier, err := b.earlier(r.Context(), run)
	if err != nil {
		return err
	}
	page.Usually = median(earlier, func(r pipeline.Run) (time.Duration, bool) { return r.EndedAt.Sub(r.StartedAt), true })
	page.Steps, page.Hooks = stepsOf(st, run, earlier), hooksOf(st, run)
	if page.Loads, err = b.loads(r.Context(), run); err != nil {
		return err
	}
	if page.Failures, err = b.failedIn(r.Context(), run); err != nil {
		return err
	}
	if page.Log, err = b.readLog(r, run, page.Failures); err != nil {
		return err
	}
	page.Log.fold(page.Steps)
	if run.Status.Final() {
		live = nil
	}
	b.show(w, s, http.StatusOK, "run", view{Title: titleOf(run, page.Of) + " · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "runs", Live: live, Body: page, State: st})
	return nil
}

// titleOf says what a run is: where it ran and for what, and not which ID it has.
func titleOf(run pipeline.Run, of pipeline.Build) string {
	what := present.Cut(present.Line(pipeline.FirstLine(of.Revision.Message)), 100)
	if what == "" {
		what = run.ID
	}
	return run.Stage + " · " + what
}

// cause returns why a run failed, without the last lines of output, which are in its log.
func cause(text string) string {
	text, _, _ = strings.Cut(text, "; its last lines:")
	return present.Line(pipeline.FirstLine(text))
}

// stepsOf returns all steps of a run: those with a result, the one under way, and those that
// are still to come by the definition of the stage.
func stepsOf(st *pipeline.State, run pipeline.Run, earlier []pipeline.Run) (rows []stepRow) {
	next := run.StartedAt
	for i, s := range run.Steps {
		rows = append(rows, stepRow{Name: s.Name, Status: string(s.Status), Result: &run.Steps[i], InLog: s.Log != nil})
		next = s.StartedAt.Add(s.Duration)
	}
	if u := run.UnderWay; u != nil {
		status := string(pipeline.RunRunning)
		if run.Status.Final() {
			status = string(pipeline.RunCancelled) // its process died in it
		}
		rows = append(rows, stepRow{Name: u.Name, Status: status, Since: next, InLog: true})
	}
	rest := stepToCome
	if run.Status.Final() {
		rest = "not run"
	}
	stage, _ := pipeline.StageOf(st, run.Stage)
	if run.Kind == pipeline.KindStage && !stage.Spread() && stage.Digest(st.Pipeline) == run.Digest {
		for _, s := range stage.Steps[min(len(rows), len(stage.Steps)):] {
			rows = append(rows, stepRow{Name: s.Name, Status: rest})
		}
	}
	for i := range rows {
		rows[i].Number = i + 1
		rows[i].Usual = median(earlier, func(r pipeline.Run) (time.Duration, bool) {
			j := slices.IndexFunc(r.Steps, func(s pipeline.StepResult) bool { return s.Name == rows[i].Name })
			if j < 0 {
				return 0, false
			}
			return r.Steps[j].Duration, true
		})
	}
	return rows
}

// median returns the median of what runs took, of those that know.
func median(runs []pipeline.Run, of func(pipeline.Run) (time.Duration, bool)) time.Duration {
	var all []time.Duration
	for _, r := range runs {
		if d, ok := of(r); ok {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// compared is how many earlier runs say what is usual.
const compared = 9

// earlier returns the newest runs of the same stage before a run that passed.
func (b *Board) earlier(ctx context.Context, run pipeline.Run) (runs []pipeline.Run, err error) {
	page, err := b.Engine.Reports.Runs(ctx, run.Pipeline, pipeline.RunQuery{Stage: run.Stage, Status: pipeline.RunPassed, After: run.ID, Limit: compared})
	if err != nil {
		return nil, err
	}
	for _, r := range page.Runs {
		full, err := b.ended.get(ctx, r.ID, func(ctx context.Context) (pipeline.Run, error) {
			return b.Engine.Reports.Run(ctx, run.Pipeline, r.ID)
		})
		if err != nil && !pipeline.IsNotFound(err) {
			return nil, err
		}
		if err == nil {
			runs = append(runs, full)
		}
	}
	return runs, nil
}

// endedRuns keeps the records of runs that have ended: they do not change.
type endedRuns struct {
	mu   sync.Mutex
	runs map[string]pipeline.Run
}

// keptRuns is how many records are kept.
const keptRuns = 256

// get returns the record of a run, which read reads where it is not known.
func (e *endedRuns) get(ctx context.Context, id string, read func(context.Context) (pipeline.Run, error)) (pipeline.Run, error) {
	e.mu.Lock()
	run, known := e.runs[id]
	e.mu.Unlock()
	if known {
		return run, nil
	}
	run, err := read(ctx)
	if err != nil {
		return run, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.runs) >= keptRuns || e.runs == nil {
		e.runs = map[string]pipeline.Run{}
	}
	e.runs[id] = run
	return run, nil
}

// fold marks what is folded away: where something failed or goes on, the steps that passed.
func (p *logPage) fold(steps []stepRow) {
	look := slices.ContainsFunc(steps, func(s stepRow) bool {
		return s.Status == string(pipeline.RunFailed) || s.Status == string(pipeline.RunRunning)
	})
	for i := range p.Folds {
		f := &p.Folds[i]
		if f.Number == 0 || f.Number > len(steps) {
			continue
		}
		f.Result = &steps[f.Number-1]
		asked := p.Goto >= f.Lines[0].Number && p.Goto <= f.Lines[len(f.Lines)-1].Number
		f.Open = asked || !look || f.Result.Status != string(pipeline.RunPassed)
	}
}

// longestLook is how much of the log of a step that failed is searched for its failures, in
// bytes from its end.
const longestLook = 4 << 20

// failedIn returns what failed in a run, and where its log says so: each test of which a
// report says it, and the end of each other step.
func (b *Board) failedIn(ctx context.Context, run pipeline.Run) (all []failedAt, err error) {
	for i, step := range run.Steps {
		if step.Status != pipeline.RunFailed {
			continue
		}
		var found []failedAt
		if step.Tests != nil {
			for _, f := range step.Tests.Failures {
				found = append(found, failedAt{Name: f.Name, Message: f.Message, Step: step.Name, Test: true})
			}
		}
		if len(found) == 0 {
			found = []failedAt{{Name: step.Name, Step: step.Name}}
		}
		if err := b.locate(ctx, run, i, found); err != nil && !pipeline.IsNotFound(err) {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// locate finds where the log of a step says what failed in it. What it does not name failed
// at the end.
func (b *Board) locate(ctx context.Context, run pipeline.Run, step int, failed []failedAt) error {
	part := run.Steps[step].Log
	if part == nil {
		return nil
	}
	log, err := b.openLog(ctx, run)
	if err != nil {
		return err
	}
	defer log.Close()
	to := part.To
	if to == 0 || to > log.size.size {
		to = log.size.size
	}
	first, err := log.at(max(part.From, to-longestLook))
	if err != nil {
		return err
	}
	left, last := len(failed), 0
	err = log.read(first, func(line logLine) error {
		if line.to > to {
			return errEnough
		}
		last = line.Number
		if line.from == part.From || line.to == part.To {
			return nil // Penstock's own
		}
		plain := ""
		for i := range failed {
			if f := &failed[i]; f.Line == 0 && f.Test {
				if plain == "" {
					plain = present.Text(line.raw)
				}
				if f.in(plain) {
					f.Line, left = line.Number, left-1
				}
			}
		}
		if left == 0 {
			return errEnough
		}
		return nil
	})
	for i := range failed {
		if failed[i].Line == 0 {
			failed[i].Line = last
		}
	}
	slices.SortStableFunc(failed, func(a, b failedAt) int { return a.Line - b.Line })
	return err
}

// in reports whether a line names the test, by its name or by the last part of it.
func (f failedAt) in(line string) bool {
	name := present.Line(f.Name)
	if strings.Contains(line, name) {
		return true
	}
	i := strings.LastIndexAny(name, ".:/> ")
	short := name[i+1:]
	return i >= 0 && len(short) >= 6 && strings.Contains(line, short)
}
