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
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
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
		Long: "Show for every stage of the pipelines its current build, since when, what comes next and why it has not come\n" +
			"yet, and the environments.\n\n" +
			"With --watch, keep running and show changes: in place on a terminal, otherwise a line for each change. If the\n" +
			"terminal is too small, what needs a person comes first, and Enter turns the page. An interrupt ends it.",
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
	Pipeline     string              `json:"name"`
	Watched      bool                `json:"watched"` // somebody applies what can move, by penstock watch
	Stages       []statusStage       `json:"stages"`
	Images       []statusImage       `json:"images"`
	Environments []statusEnvironment `json:"environments"`
	Left         []statusLeft        `json:"left_channels,omitempty"` // that nothing publishes by any more, and that stay
}

// statusLeft is a channel that stays though nothing publishes by it any more.
type statusLeft struct {
	Stage string `json:"stage"` // that published by it; image/NAME for a baked image
	statusChannel
}

type statusStage struct {
	Stage      string             `json:"name"`
	Type       pipeline.StageType `json:"type"`
	Status     gate.Status        `json:"status"`
	Signal     gate.Signal        `json:"signal"`              // how much it wants of people: serving, person, running, upstream, failed or nothing
	Current    statusCurrent      `json:"current"`             // what the stage is at
	Next       statusNext         `json:"next"`                // what comes next there
	Channel    *statusChannel     `json:"channel,omitempty"`   // by which it publishes
	Passed     string             `json:"passed,omitempty"`    // the newest build that passed it
	Undecided  string             `json:"undecided,omitempty"` // the build that approve and reject are about
	Offered    string             `json:"offered,omitempty"`   // the build that promote is about
	WaitingFor string             `json:"waiting_for,omitempty"`
	Run        string             `json:"run,omitempty"`
	RunStatus  pipeline.RunStatus `json:"run_status,omitempty"`
	RunError   string             `json:"run_error,omitempty"`
	RunStarted time.Time          `json:"run_started,omitzero"`
	RunEnded   time.Time          `json:"run_ended,omitzero"`
	Seen       *int64             `json:"seen,omitempty"` // version of the decision on the undecided build, or else on the candidate, 0 for none, for --seen; of a stage that takes decisions
	Log        string             `json:"log,omitempty"`
	Finish     *pipeline.Finish   `json:"finish,omitempty" shape:"finish"` // that is to run for the current build; absent if none is
	Drift      *pipeline.Drift    `json:"drift,omitempty" shape:"drift"`   // of the infrastructure that its module made; absent if nothing is known of it

	view report.StageView // what all this is from
}

// statusCurrent is what a stage is at.
type statusCurrent struct {
	Build string `json:"build,omitempty"` // that it has moved to
	statusNamed
	Since       time.Time       `json:"since,omitzero"`        // when it moved there
	Run         string          `json:"run,omitempty"`         // of the build there
	Environment string          `json:"environment,omitempty"` // the ID of the one in which the build can be seen
	Endpoint    string          `json:"endpoint,omitempty"`
	Instances   int             `json:"instances,omitempty"`                 // that the environment is to have
	Healthy     int             `json:"healthy,omitempty"`                   // of them
	Targets     []statusTarget  `json:"targets,omitempty" shape:"by_target"` // of a stage with several, in the order of their waves
	Paused      *statusPaused   `json:"paused,omitempty"`                    // by whom
	Override    *statusOverride `json:"override,omitempty"`                  // by which the build passed there
}

// statusTarget is what a stage is at, at one of its targets.
type statusTarget struct {
	Name  string `json:"name"`
	Wave  int    `json:"wave"`            // in which it gets a build
	Build string `json:"build,omitempty"` // that its environment runs
	statusNamed
	Since       time.Time                  `json:"since,omitzero"`        // it does
	Environment string                     `json:"environment,omitempty"` // its ID
	Status      pipeline.EnvironmentStatus `json:"status,omitempty"`      // of the environment; absent without one
	Reason      string                     `json:"reason,omitempty"`
	Endpoint    string                     `json:"endpoint,omitempty"`
	Instances   int                        `json:"instances,omitempty"`           // that the environment is to have
	Healthy     int                        `json:"healthy,omitempty"`             // of them
	Drift       *pipeline.Drift            `json:"drift,omitempty" shape:"drift"` // of the infrastructure that its module made; absent if nothing is known of it
}

// statusChannel is the name by which a stage publishes images.
type statusChannel struct {
	Name  string `json:"name"`
	Build string `json:"build,omitempty"` // whose image it leads to; absent while it leads nowhere
	statusNamed
	Image  string            `json:"image,omitempty"`
	Images map[string]string `json:"images,omitempty" shape:"image_by_region"` // IDs of the image and its copies
	Since  time.Time         `json:"since"`
	Moving string            `json:"moving,omitempty"` // the build that it is on its way to
	Stray  *pipeline.Stray   `json:"stray,omitempty"`  // what something else has made of the name, if it does not lead there any more
}

// describeChannel returns the channel of a stage; nil for none.
func describeChannel(st *pipeline.State, c *pipeline.Channel) *statusChannel {
	if c == nil {
		return nil
	}
	out := &statusChannel{Name: c.Name, Build: c.Build, statusNamed: namedBuild(report.NameOf(st, c.Build)), Image: c.Image, Images: c.Images, Since: c.At, Stray: c.Stray}
	if c.Moving != nil {
		out.Moving = c.Moving.Build
	}
	return out
}

// statusNamed is how people name a build, beside its ID.
type statusNamed struct {
	Number  int64  `json:"build_number,omitempty"` // absent where it is not known
	Message string `json:"message,omitempty"`      // the first line of the commit's
}

func namedBuild(b report.Named) statusNamed { return statusNamed{b.Number, b.Message} }

// statusPaused says who paused a stage.
type statusPaused struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// statusNext is what comes next at a stage, and why it has not come yet.
type statusNext struct {
	Kind   gate.NextKind `json:"kind"`            // nothing, running, failed, decision, promotion, promoted, apply, upstream, build, newer, never, paused or refused
	Signal gate.Signal   `json:"signal"`          // how much that wants of people
	Build  string        `json:"build,omitempty"` // that comes
	statusNamed
	Since     time.Time        `json:"since,omitzero"`      // it has been so
	Action    gate.Action      `json:"action"`              // what the next apply does
	Why       string           `json:"why,omitempty"`       // it does that, in words
	Run       string           `json:"run,omitempty"`       // that is under way, or failed
	Step      string           `json:"step,omitempty"`      // in which that run failed
	Error     string           `json:"error,omitempty"`     // of the run that failed
	Progress  *statusProgress  `json:"progress,omitempty"`  // of the run that is under way
	Missing   int              `json:"missing,omitempty"`   // approvals
	Needed    int              `json:"needed,omitempty"`    // approvals
	May       []string         `json:"may,omitempty"`       // who may decide or promote; absent for everybody
	Promotion *statusPromotion `json:"promotion,omitempty"` // that no apply has taken up yet
	Upstream  []statusUpstream `json:"upstream,omitempty"`  // the stages that the build has to get past first
	Rejected  string           `json:"rejected,omitempty"`  // the build after whose rejection a newer one is awaited
}

// statusPromotion is a promotion that no apply has taken up yet.
type statusPromotion struct {
	Build string    `json:"build"`
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
}

// statusUpstream is a stage that a build has to get past first.
type statusUpstream struct {
	Stage string            `json:"stage"`
	At    gate.ObstacleKind `json:"at"` // what keeps the build there: undecided, running, not_run, failed, manual, paused, …
}

// statusOverride is the mark that somebody let a build pass.
type statusOverride struct {
	Build  string    `json:"build"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
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
	Name   string      `json:"name"`
	Status gate.Status `json:"status"`
	Signal gate.Signal `json:"signal"` // how much it wants of people
	Image  string      `json:"image"`
	Baked  time.Time   `json:"baked,omitzero"`
	Next   statusNext  `json:"next"` // what comes next there

	view report.StageView
}

type statusEnvironment struct {
	ID      string                      `json:"id"`
	Name    string                      `json:"name"`
	Purpose pipeline.EnvironmentPurpose `json:"purpose"`
	Owner   string                      `json:"owner,omitempty"`
	Build   string                      `json:"build,omitempty"`
	statusNamed
	Status   pipeline.EnvironmentStatus `json:"status"`
	Reason   string                     `json:"reason,omitempty"`
	Endpoint string                     `json:"endpoint,omitempty"`
	Expires  time.Time                  `json:"expires,omitzero"`
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
		views, err := a.Engine.Reports.Views(ctx, states[name])
		if err != nil {
			return nil, err
		}
		all = append(all, describeStatus(states[name], views))
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
	return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no pipeline %q", name).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbListPipelines})
}

func describeStatus(st *pipeline.State, views []report.StageView) statusPipeline {
	p := statusPipeline{Pipeline: st.Pipeline.Name, Stages: []statusStage{}, Images: []statusImage{}, Environments: []statusEnvironment{}}
	for _, v := range views {
		p.Watched = v.Applies.Watched
		if name, ok := pipeline.ImageOfRun(v.Name); ok {
			p.Images = append(p.Images, statusImage{Name: name, Status: v.Status, Signal: v.Signal, Image: v.Current.Image, Baked: v.Current.Since, Next: describeNext(v), view: v})
			continue
		}
		row := statusStage{
			Stage: v.Name, Type: v.Stage.Type, Status: v.Status, Signal: v.Signal, Current: describeCurrent(v), Next: describeNext(v),
			Channel: describeChannel(st, v.Channel), Passed: v.Passed, Undecided: v.Undecided, Offered: v.Offered, WaitingFor: reason.WaitingFor(v.Next), Run: v.Run.ID,
			RunStatus: v.Run.Status, RunError: v.Run.Error, RunStarted: v.Run.StartedAt, RunEnded: v.Run.EndedAt, Log: v.Log, Finish: v.Finish, Drift: v.Drift, view: v,
		}
		if build := cmp.Or(v.Undecided, v.Move.Candidate.ID); v.Stage.Approval && build != "" {
			version := st.Version(pipeline.RecordDecision, pipeline.StageBuild(v.Name, build))
			row.Seen = &version
		}
		p.Stages = append(p.Stages, row)
	}
	for _, env := range st.EnvironmentsInOrder() {
		p.Environments = append(p.Environments, describeEnvironment(st, env))
	}
	for _, c := range pipeline.LeftChannels(st) {
		p.Left = append(p.Left, statusLeft{c.Stage, *describeChannel(st, &c)})
	}
	return p
}

func describeCurrent(v report.StageView) statusCurrent {
	c := statusCurrent{Build: v.Current.Build, statusNamed: namedBuild(v.Build(v.Current.Build)), Since: v.Current.Since, Run: v.Current.Run}
	if env := v.Current.Environment; env != nil {
		c.Environment, c.Endpoint, c.Instances, c.Healthy = env.ID, env.Endpoint, env.Instances, env.Healthy
	}
	for _, t := range v.Current.Targets {
		target := statusTarget{Drift: v.DriftAt(t.Name), Name: t.Name, Wave: t.Wave, Build: t.Build, statusNamed: namedBuild(v.Build(t.Build)), Since: t.Since}
		if env := t.Environment; env != nil {
			target.Environment, target.Status, target.Reason, target.Endpoint = env.ID, env.Status, env.Reason, env.Endpoint
			target.Instances, target.Healthy = env.Instances, env.Healthy
		}
		c.Targets = append(c.Targets, target)
	}
	if by := v.Current.Pause; by != nil {
		c.Paused = &statusPaused{by.Actor, by.Reason, by.At}
	}
	if o := v.Current.Override; o != nil {
		c.Override = &statusOverride{o.Build, o.Actor, o.Reason, o.At}
	}
	return c
}

func describeNext(v report.StageView) statusNext {
	n := v.Next
	out := statusNext{
		Kind: n.Kind, Signal: n.Signal, Build: n.Build, statusNamed: namedBuild(v.Build(n.Build)), Since: n.Since, Action: cmp.Or(n.Action, gate.ActionNone), Why: n.Why.String(), Run: n.Run.ID,
		Missing: n.Missing, Needed: n.Needed, May: n.May, Rejected: n.Rejected,
	}
	if n.Kind == gate.NextFailed {
		out.Error, out.Step = n.Run.Error, n.Run.Step
	}
	if at := v.Progress; at != nil {
		out.Progress = &statusProgress{at.Run.Phase, at.Step, at.Number, at.Of, present.Line(at.Line), at.Dead}
	}
	if p := n.Promotion; p != nil {
		out.Promotion = &statusPromotion{p.Build, p.Actor, p.At}
	}
	for _, o := range n.Upstream {
		out.Upstream = append(out.Upstream, statusUpstream{o.Stage, o.Kind})
	}
	return out
}

func describeEnvironment(st *pipeline.State, env pipeline.Environment) statusEnvironment {
	return statusEnvironment{
		ID: env.ID, Name: env.Name, Purpose: env.Purpose, Owner: env.Owner, Build: env.Build, statusNamed: namedBuild(report.NameOf(st, env.Build)),
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
