// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

type statusOptions struct {
	*factory
	pipeline string
	watch    bool
	interval time.Duration
}

func newStatus(f *factory, runF func(context.Context, *statusOptions) error) *cobra.Command {
	o := &statusOptions{factory: f}
	if runF == nil {
		runF = runStatus
	}
	c := &cobra.Command{
		Use:   "status [PIPELINE]",
		Short: "Show where every stage is, and what it waits for",
		Long: "Show for every stage of the pipelines its current build, when it ran last and what it waits for, and the\n" +
			"environments.\n\n" +
			"With --watch, keep running and show changes: in place on a terminal, otherwise a line for each change. An\n" +
			"interrupt ends it.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			if o.interval < 100*time.Millisecond {
				return &usageError{fmt.Errorf("--interval %s is less than 100ms", o.interval)}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.watch, "watch", false, "keep running, and show changes")
	c.Flags().DurationVar(&o.interval, "interval", time.Second, "how often to check, with --watch")
	return c
}

// statusPipeline is the JSON shape of one pipeline's status.
type statusPipeline struct {
	Pipeline     string              `json:"pipeline"`
	Stages       []statusStage       `json:"stages"`
	Images       []statusImage       `json:"images"`
	Environments []statusEnvironment `json:"environments"`
}

type statusStage struct {
	Stage      string             `json:"stage"`
	Type       pipeline.StageType `json:"type"`
	Status     gate.Status        `json:"status"`
	Shown      gate.Status        `json:"-"`                   // the one word for it, by its latest run, too
	Current    string             `json:"current,omitempty"`   // the build that it moved to
	Candidate  string             `json:"candidate,omitempty"` // the build that an apply moves it to
	Passed     string             `json:"passed,omitempty"`    // the newest build that passed it
	WaitingFor string             `json:"waiting_for,omitempty"`
	NextAction gate.Action        `json:"next_action"`   // what an apply does
	Why        string             `json:"why,omitempty"` // it does that, in words
	Run        string             `json:"run,omitempty"`
	RunStatus  pipeline.RunStatus `json:"run_status,omitempty"`
	RunError   string             `json:"run_error,omitempty"`
	RunStarted time.Time          `json:"run_started,omitzero"`
	RunEnded   time.Time          `json:"run_ended,omitzero"`
	Progress   *statusProgress    `json:"progress,omitempty"` // of the run, while it is under way
	Seen       *int64             `json:"seen,omitempty"`     // version of the decision on the candidate, 0 for none, for --seen; of a stage that takes decisions
	Override   *statusOverride    `json:"override,omitempty"` // of the candidate, else of the current build
	Endpoint   string             `json:"endpoint,omitempty"`
	Log        string             `json:"log,omitempty"`
}

// statusOverride is the mark that somebody let a build pass.
type statusOverride struct {
	Build  string    `json:"build"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// describe says who let a build pass, after what else there is to say of its stage.
func (s *statusOverride) describe() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("  %s overridden by %s: %s", s.Build, s.Actor, s.Reason)
}

// overrideOf returns the mark of a build at a stage; nil for none.
func overrideOf(st *pipeline.State, stage, build string) *statusOverride {
	o, ok := st.Overrides[pipeline.StageBuild(stage, build)]
	if !ok {
		return nil
	}
	return &statusOverride{o.Build, o.Actor, o.Reason, o.At}
}

type statusProgress struct {
	Phase  pipeline.Phase `json:"phase"`
	Step   string         `json:"step,omitempty"`
	Number int            `json:"number,omitempty"` // of the step
	Of     int            `json:"of,omitempty"`
	Line   string         `json:"line,omitempty"` // the last of the log
	Dead   bool           `json:"dead,omitempty"` // its process is gone
}

type statusImage struct {
	Name  string    `json:"name"`
	Image string    `json:"image"`
	Baked time.Time `json:"baked,omitzero"`
}

type statusEnvironment struct {
	ID       string                      `json:"id"`
	Name     string                      `json:"name"`
	Purpose  pipeline.EnvironmentPurpose `json:"purpose"`
	Owner    string                      `json:"owner,omitempty"`
	Build    string                      `json:"build,omitempty"`
	Status   pipeline.EnvironmentStatus  `json:"status"`
	Reason   string                      `json:"reason,omitempty"`
	Endpoint string                      `json:"endpoint,omitempty"`
	Expires  time.Time                   `json:"expires,omitzero"`
}

func runStatus(ctx context.Context, o *statusOptions) error {
	return o.with(ctx, func(a *app.App) error {
		look := func(ctx context.Context) ([]statusPipeline, error) { return o.look(ctx, a) }
		if o.watch {
			return o.follow(ctx, look)
		}
		all, err := look(ctx)
		if err != nil || o.json {
			return o.printDone(err, all, "")
		}
		if len(all) == 0 {
			fmt.Fprintln(o.Err, "There are no pipelines yet; `terraform apply` of a penstock_pipeline makes one.")
		}
		_, err = io.WriteString(o.Out, o.board(screenOf(o.Out), all))
		return err
	})
}

// look describes the pipelines that were asked for.
func (o *statusOptions) look(ctx context.Context, a *app.App) ([]statusPipeline, error) {
	states, err := selectPipelines(ctx, a, o.pipeline)
	if err != nil {
		return nil, err
	}
	all := []statusPipeline{}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		p := describeStatus(a.Engine, states[name])
		for i, row := range p.Stages {
			at, err := a.Engine.Reports.Progress(ctx, states[name], row.Stage)
			if err != nil {
				return nil, err
			}
			if at != nil {
				p.Stages[i].Progress = &statusProgress{at.Run.Phase, at.Step, at.Number, at.Of, present.Line(at.Line), at.Dead}
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// selectPipelines returns the state of the named pipeline, or of all.
func selectPipelines(ctx context.Context, a *app.App, name string) (map[string]*pipeline.State, error) {
	all, err := a.Engine.States(ctx)
	if err != nil || name == "" {
		return all, err
	}
	st, ok := all[name]
	if !ok {
		return nil, noPipeline(ctx, a, name)
	}
	return map[string]*pipeline.State{name: st}, nil
}

// noPipeline says that there is none of a name, and where the record of one is that was
// destroyed.
func noPipeline(ctx context.Context, a *app.App, name string) error {
	const op = "find pipeline"
	all, _ := a.Archives(ctx) // who may not read them gets the other hint
	for _, of := range all {  // the newest first
		if of.Pipeline == name {
			return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no pipeline %q any more: it was destroyed at %s", name, of.Removed.UTC().Format(time.RFC3339)).
				WithHint("Its record is kept until %s: `penstock ledger archive list` names it.", of.Until.UTC().Format(time.RFC3339))
		}
	}
	return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no pipeline %q", name).WithHint("`penstock status` lists them.")
}

func describeStatus(e *engine.Engine, st *pipeline.State) statusPipeline {
	p := statusPipeline{Pipeline: st.Pipeline.Name, Stages: []statusStage{}, Images: []statusImage{}, Environments: []statusEnvironment{}}
	for _, s := range st.StagesInOrder() {
		at := e.Reports.StageStatusIn(st, s)
		row := statusStage{
			Stage: s.Name, Type: s.Type, Status: at.Move.Status, Shown: gate.Shown(at.Move, at.Run), Current: at.Current, Candidate: at.Move.Candidate.ID,
			Passed: at.Passed, WaitingFor: reason.MoveWaits(at.Move), NextAction: at.Move.Action, Why: at.Move.Why.String(), Run: at.Run.ID,
			RunStatus: at.Run.Status, RunError: at.Run.Error, RunStarted: at.Run.StartedAt, RunEnded: at.Run.EndedAt, Log: at.Log,
			Override: cmp.Or(overrideOf(st, s.Name, at.Move.Candidate.ID), overrideOf(st, s.Name, at.Current)),
		}
		if s.Approval && row.Candidate != "" {
			version := st.Version(pipeline.RecordDecision, pipeline.StageBuild(s.Name, row.Candidate))
			row.Seen = &version
		}
		if at.Environment != nil {
			row.Endpoint = at.Environment.Endpoint
		}
		p.Stages = append(p.Stages, row)
	}
	for _, r := range slices.SortedFunc(maps.Values(st.ImageDefinitions), func(a, b pipeline.ImageDefinition) int { return cmp.Compare(a.Name, b.Name) }) {
		p.Images = append(p.Images, statusImage{Name: r.Name, Image: r.Image, Baked: st.Images[r.Image].CreatedAt})
	}
	for _, env := range slices.SortedFunc(maps.Values(st.Environments), func(a, b pipeline.Environment) int { return cmp.Compare(a.ID, b.ID) }) {
		p.Environments = append(p.Environments, describeEnvironment(env))
	}
	return p
}

func describeEnvironment(env pipeline.Environment) statusEnvironment {
	return statusEnvironment{
		ID: env.ID, Name: env.Name, Purpose: env.Purpose, Owner: env.Owner, Build: env.Build,
		Status: env.Status, Reason: env.Reason, Endpoint: env.Endpoint, Expires: env.ExpiresAt,
	}
}

// ends says when an environment ends by itself; empty where it does not, or has. That of a run
// ends with the run, whatever its longest time is, unless it is kept.
func (f *factory) ends(env statusEnvironment) string {
	if env.Expires.IsZero() || env.Status == pipeline.EnvExpired || env.Purpose == pipeline.ForRun && env.Status != pipeline.EnvKept {
		return ""
	}
	return "in " + present.Age(env.Expires.Sub(f.now()))
}

// board renders the pipelines for people.
func (o *statusOptions) board(on screen, all []statusPipeline) string {
	var b strings.Builder
	for i, p := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Pipeline %s\n\n", on.paint(p.Pipeline, bold))
		t := newTable(on, "STAGE", "STATUS", "BUILD", "LAST RUN", "")
		for _, img := range p.Images {
			t.row(img.Name, "baked", img.Image, present.Ago(o.now(), img.Baked), "")
		}
		for _, s := range p.Stages {
			status, note := o.note(s)
			t.row(s.Stage, status, s.Current, present.Ago(o.now(), s.RunEnded), strings.TrimSpace(note+s.Override.describe()))
		}
		b.WriteString(t.text())
		if len(p.Environments) == 0 {
			continue
		}
		t = newTable(on, "ENVIRONMENT", "STATUS", "BUILD", "OWNER", "ENDS", "ENDPOINT")
		for _, env := range p.Environments {
			where := env.Endpoint
			if env.Status == pipeline.EnvKept {
				where += "  kept after a failure; ends with the stage's next run, or `penstock gc --kept`"
			}
			t.row(env.Name, string(env.Status), env.Build, env.Owner, o.ends(env), where)
		}
		b.WriteString("\n" + t.text())
	}
	return b.String()
}

// note returns the word for a stage's status and what is worth saying of it.
func (o *statusOptions) note(s statusStage) (status, note string) {
	switch {
	case s.Progress != nil:
		return s.Progress.describe(present.Age(o.now().Sub(s.RunStarted)), s.Run)
	case s.Shown == gate.StatusRunning:
		note = "run " + s.Run
	case s.Shown == gate.StatusFailed:
		note = fmt.Sprintf("run %s: %s", s.Run, pipeline.FirstLine(s.RunError))
	case s.Shown == gate.StatusReady && s.RunStatus == pipeline.RunDisplaced:
		note = fmt.Sprintf("run %s was displaced: %s", s.Run, pipeline.FirstLine(s.RunError))
	case s.Shown == gate.StatusReady:
		note = "the next apply moves it: " + cmp.Or(s.Why, string(s.NextAction))
	case s.WaitingFor != "":
		note = "waits for " + s.WaitingFor
	default:
		note = s.Endpoint
	}
	return string(s.Shown), note
}

// describe says where a run stands: for how long, in which step, with which last line.
func (p statusProgress) describe(since, run string) (status, note string) {
	if p.Dead {
		return "dead", fmt.Sprintf("the process of run %s is gone, or does not renew its lease; the next apply cleans up after it", run)
	}
	note = fmt.Sprintf("run %s, %s, %s", run, since, p.Phase)
	if p.Step != "" {
		note += fmt.Sprintf(" %d of %d, %s", p.Number, p.Of, p.Step)
	}
	if p.Line != "" {
		note += ": " + p.Line
	}
	return "running", note
}
