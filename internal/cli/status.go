// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type statusOptions struct {
	*factory
	pipeline string
}

func newStatus(f *factory, runF func(context.Context, *statusOptions) error) *cobra.Command {
	o := &statusOptions{factory: f}
	if runF == nil {
		runF = runStatus
	}
	return &cobra.Command{
		Use:   "status [PIPELINE]",
		Short: "Show where every stage stands and what it waits for",
		Long: "Show where every stage of the pipelines stands: the build that it holds, when it ran last,\n" +
			"what it waits for, and the environments that exist.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
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
	Status     pipeline.Status    `json:"status"`
	Held       string             `json:"held,omitempty"`      // the build that it moved to
	Candidate  string             `json:"candidate,omitempty"` // the build that an apply moves it to
	Passed     string             `json:"passed,omitempty"`    // the newest build that passed it
	WaitingFor string             `json:"waiting_for,omitempty"`
	NextAction pipeline.Action    `json:"next_action"` // what an apply does
	Run        string             `json:"run,omitempty"`
	RunStatus  pipeline.RunStatus `json:"run_status,omitempty"`
	RunError   string             `json:"run_error,omitempty"`
	RunEnded   time.Time          `json:"run_ended,omitzero"`
	Endpoint   string             `json:"endpoint,omitempty"`
	Log        string             `json:"log,omitempty"`
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
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		var all []statusPipeline
		for _, name := range slices.Sorted(maps.Keys(states)) {
			all = append(all, describeStatus(a.Engine, states[name]))
		}
		if o.json {
			return o.printJSON(all)
		}
		for i, p := range all {
			if i > 0 {
				fmt.Fprintln(o.Out)
			}
			if err := o.printStatus(p); err != nil {
				return err
			}
		}
		if len(all) == 0 {
			fmt.Fprintln(o.Err, "There are no pipelines yet; `terraform apply` of a penstock_pipeline makes one.")
		}
		return nil
	})
}

// selectPipelines gives the state of the named pipeline, or of all.
func selectPipelines(ctx context.Context, a *app.App, name string) (map[string]*pipeline.State, error) {
	all, err := a.Engine.Pipelines(ctx)
	if err != nil || name == "" {
		return all, err
	}
	st, ok := all[name]
	if !ok {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "find pipeline", "there is no pipeline %q", name).
			WithHint("`penstock status` lists them.")
	}
	return map[string]*pipeline.State{name: st}, nil
}

func describeStatus(e *engine.Engine, st *pipeline.State) statusPipeline {
	p := statusPipeline{Pipeline: st.Pipeline.Name, Stages: []statusStage{}, Images: []statusImage{}, Environments: []statusEnvironment{}}
	for _, s := range st.StagesInOrder() {
		at := e.StandingIn(st, s)
		row := statusStage{
			Stage: s.Name, Type: s.Type, Status: at.Move.Status, Held: at.Held, Candidate: at.Move.Candidate,
			Passed: at.Passed, WaitingFor: at.Move.WaitingFor, NextAction: at.Move.Action, Run: at.Run.ID,
			RunStatus: at.Run.Status, RunError: at.Run.Error, RunEnded: at.Run.EndedAt, Log: at.Log,
		}
		if at.Environment != nil {
			row.Endpoint = at.Environment.Endpoint
		}
		if at.Move.Err != nil {
			row.WaitingFor = at.Move.Err.Error()
		}
		p.Stages = append(p.Stages, row)
	}
	for _, r := range slices.SortedFunc(maps.Values(st.Recipes), func(a, b pipeline.Recipe) int { return cmp.Compare(a.Name, b.Name) }) {
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

// ends says when an environment ends; empty where it does not, or has.
func (f *factory) ends(env statusEnvironment) string {
	if env.Expires.IsZero() || env.Status == pipeline.EnvExpired {
		return ""
	}
	return "in " + span(env.Expires.Sub(f.now()))
}

func (o *statusOptions) printStatus(p statusPipeline) error {
	fmt.Fprintf(o.Out, "Pipeline %s\n\n", p.Pipeline)
	t := newTable(o.Out, "STAGE", "STATUS", "BUILD", "LAST RUN", "")
	for _, img := range p.Images {
		t.row(img.Name, "baked", img.Image, ago(o.now(), img.Baked), "")
	}
	for _, s := range p.Stages {
		status, note := stageNote(s)
		t.row(s.Stage, status, s.Held, ago(o.now(), s.RunEnded), cut(note, 110))
	}
	if err := t.flush(); err != nil || len(p.Environments) == 0 {
		return err
	}
	fmt.Fprintln(o.Out)
	t = newTable(o.Out, "ENVIRONMENT", "STATUS", "BUILD", "OWNER", "ENDS", "ENDPOINT")
	for _, env := range p.Environments {
		where := env.Endpoint
		if env.Status == pipeline.EnvKept {
			where += "  kept after a failure; ends with the stage's next run, or `penstock gc --kept`"
		}
		t.row(env.Name, string(env.Status), env.Build, env.Owner, o.ends(env), where)
	}
	return t.flush()
}

// stageNote gives the word for a stage's status and what is worth saying of it.
func stageNote(s statusStage) (status, note string) {
	switch {
	case s.RunStatus == pipeline.RunRunning:
		return "running", "run " + s.Run
	case s.RunStatus == pipeline.RunFailed:
		return "failed", fmt.Sprintf("run %s: %s", s.Run, pipeline.FirstLine(s.RunError))
	case s.WaitingFor != "":
		return string(s.Status), "waits for " + s.WaitingFor
	case s.NextAction != pipeline.ActionNone:
		return "ready", "the next apply moves it: " + string(s.NextAction)
	default:
		return string(s.Status), s.Endpoint
	}
}
