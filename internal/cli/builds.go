// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type buildsOptions struct {
	*factory
	target
	limit int
}

func newBuilds(f *factory, runF func(context.Context, *buildsOptions) error) *cobra.Command {
	o := &buildsOptions{factory: f}
	if runF == nil {
		runF = runBuilds
	}
	c := &cobra.Command{
		Use:   "builds [PIPELINE]",
		Short: "List builds, the newest first, with the stages that each passed",
		Long: "List the builds that the pipeline retains, the newest first. PIPELINE may be left out if there is only one.\n" +
			"Commands take a build's number, such as 412, and its ID alike. In a shell, #412 has to be quoted: '#412'.\n\n" +
			"Marks: " + present.Legend("passed", "failed", "rejected", "waiting", "superseded", "overridden", "") + ".\nA ! behind another mark is an override that no longer applies.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().IntVar(&o.limit, "limit", 20, "the largest number to list")
	return c
}

// buildRow is the JSON shape of one build.
type buildRow struct {
	ID         string                      `json:"id"`
	Number     int64                       `json:"number"` // in the pipeline, as people say it
	Commit     string                      `json:"commit"`
	URL        string                      `json:"url,omitempty"` // of the commit
	Repository string                      `json:"repository"`
	Author     string                      `json:"author,omitempty"`
	Message    string                      `json:"message,omitempty"`
	CreatedAt  time.Time                   `json:"created_at"`
	Artifact   string                      `json:"artifact,omitempty"` // digest
	Image      string                      `json:"image,omitempty"`
	BaseImage  string                      `json:"base_image,omitempty"`
	Stages     map[string]pipeline.Outcome `json:"outcomes"`            // by stage: passed, failed, rejected, waiting or overridden; absent where it did not run
	Overrides  map[string]statusOverride   `json:"overrides,omitempty"` // by stage, also those that no longer apply
}

func runBuilds(ctx context.Context, o *buildsOptions) error {
	if o.limit < 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, "list builds", "--limit %d is not positive", o.limit).WithHint("Use a number from 1.")
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "list builds", &o.target); err != nil {
			return err
		}
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		st := states[o.pipeline]
		builds := st.BuildsNewestFirst()
		rows := []buildRow{}
		for _, b := range builds[:min(len(builds), o.limit)] {
			rows = append(rows, describeBuild(st, b))
		}
		if o.json {
			return o.printJSON(rows)
		}
		stages := []string{}
		for _, s := range st.StagesInOrder() {
			if s.TakesBuild() {
				stages = append(stages, s.Name)
			}
		}
		return o.list(stages, rows)
	})
}

// list prints builds in a table, and what its marks mean. Each stage has a column of its own
// or, where there is no room for all of them, a mark in one.
func (o *buildsOptions) list(stages []string, rows []buildRow) error {
	t := o.table(rows, stages, func(r buildRow) (marks []string) {
		for _, s := range stages {
			marks = append(marks, r.mark(s))
		}
		return marks
	})
	order := ""
	if !t.roomy() {
		order = "Stages from left to right: " + strings.Join(stages, ", ") + "."
		t = o.table(rows, []string{"STAGES"}, func(r buildRow) []string { return []string{strip(stages, rows, r)} })
	}
	if err := t.flush(); err != nil {
		return err
	}
	return o.legend(order, stages, rows)
}

// table makes a table of builds, with the columns of the stages.
func (o *buildsOptions) table(rows []buildRow, stages []string, marks func(buildRow) []string) *table {
	t := o.newTable(slices.Concat([]string{"BUILD", "MESSAGE"}, stages, []string{"AUTHOR", "CREATED", "ID", "COMMIT"})...)
	for i := range stages {
		t.columns[2+i] = column{painted: true}
	}
	for _, r := range rows {
		t.row(slices.Concat([]string{present.Build(r.Number, r.ID), r.Message}, marks(r), []string{personOf(r.Author), present.Ago(o.now(), r.CreatedAt), r.ID, present.Commit(r.Commit)})...)
	}
	return t
}

// strip returns the marks of a build at all stages, each below those of the other builds.
func strip(stages []string, rows []buildRow, r buildRow) string {
	var b strings.Builder
	for _, s := range stages {
		width := 0
		for _, other := range rows {
			width = max(width, present.Width(other.mark(s)))
		}
		b.WriteString(runewidth.FillRight(r.mark(s), width))
	}
	return strings.TrimRight(b.String(), " ")
}

// legend says on standard error what the marks mean that are in a list.
func (o *buildsOptions) legend(order string, stages []string, rows []buildRow) error {
	used := map[string]bool{}
	for _, r := range rows {
		for _, stage := range stages {
			used[string(r.Stages[stage])] = true
			if _, ok := r.Overrides[stage]; ok {
				used[string(pipeline.OutcomeOverridden)] = true
			}
		}
	}
	if len(used) == 0 {
		return nil
	}
	return o.remark(order, strings.ReplaceAll(present.Legend(slices.Collect(maps.Keys(used))...), "  ", ", "))
}

// remark prints sentences to standard error, in faint colour and as wide as the terminal there.
func (f *factory) remark(texts ...string) error {
	on := screenOf(f.Err)
	for _, text := range texts {
		if text == "" {
			continue
		}
		if _, err := io.WriteString(f.Err, on.lines(text, faint)); err != nil {
			return err
		}
	}
	return nil
}

// personOf returns the name of an author without the address; the address where there is no
// name.
func personOf(author string) string {
	name, _, _ := strings.Cut(author, " <")
	return strings.Trim(name, "<>")
}

// mark returns the mark of a build at a stage.
func (r buildRow) mark(stage string) string {
	outcome := r.Stages[stage]
	if _, ok := r.Overrides[stage]; ok && outcome != pipeline.OutcomeOverridden {
		return present.MarkOf(string(outcome)).Sign + present.MarkOf(string(pipeline.OutcomeOverridden)).Sign
	}
	return present.MarkOf(string(outcome)).Sign
}

func describeBuild(st *pipeline.State, b pipeline.Build) buildRow {
	row := buildRow{
		ID: b.ID, Number: b.Number, URL: report.ForgeOf(st, b).Commit(b.Revision.Commit), Commit: b.Revision.Commit, Repository: b.Revision.Repository, Author: b.Revision.Author,
		Message: pipeline.FirstLine(b.Revision.Message), CreatedAt: b.CreatedAt, Image: b.Image, BaseImage: b.BaseImage,
		Stages: map[string]pipeline.Outcome{}, Overrides: map[string]statusOverride{},
	}
	if b.Artifact != nil {
		row.Artifact = b.Artifact.Digest
	}
	for name, s := range st.Stages {
		if outcome := st.Outcome(s, b.ID); outcome != "" && s.TakesBuild() {
			row.Stages[name] = outcome
		}
		if o := overrideOf(st, name, b.ID); o != nil {
			row.Overrides[name] = *o
		}
	}
	return row
}

type runsOptions struct {
	*factory
	target
	query  pipeline.RunQuery
	status string
}

func newRuns(f *factory, runF func(context.Context, *runsOptions) error) *cobra.Command {
	o := &runsOptions{factory: f}
	if runF == nil {
		runF = runRuns
	}
	c := &cobra.Command{
		Use:   "runs [PIPELINE]",
		Short: "List runs, the newest first",
		Long: "List the runs of a pipeline's stages and the bakes of its images, the newest first. PIPELINE may be left out\n" +
			"if there is only one.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.query.Status = arg(given, 0), pipeline.RunStatus(o.status)
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.query.Stage, "stage", "", "only runs of this stage (image/NAME for the bakes of an image)")
	c.Flags().StringVar(&o.query.Build, "build", "", "only runs for this build, by its number or ID")
	c.Flags().StringVar(&o.status, "status", "", "only runs that are running, passed, failed, cancelled or displaced")
	c.Flags().IntVar(&o.query.Limit, "limit", 20, "the largest number to list")
	c.Flags().StringVar(&o.query.After, "after", "", "continue after this run, the last one of the previous list")
	return c
}

func runRuns(ctx context.Context, o *runsOptions) error {
	if o.status != "" && !contains(runStatuses(), o.status) {
		return pipeline.Errorf(pipeline.CodeInvalid, "list runs", "--status %q is not a status", o.status).WithHint("Use %s.", strings.Join(runStatuses(), ", "))
	}
	if o.query.Limit < 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, "list runs", "--limit %d is not positive", o.query.Limit).WithHint("Use a number from 1.")
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "list runs", &o.target); err != nil {
			return err
		}
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		if err := o.number(ctx, a, o.pipeline, &o.query.Build); err != nil {
			return err
		}
		page, err := a.Engine.Reports.Runs(ctx, o.pipeline, o.query)
		if err != nil {
			return err
		}
		runs := report.RunViewsOf(states[o.pipeline], page.Runs)
		if o.json {
			return o.printJSON(runs)
		}
		t := o.newTable("BUILD", "MESSAGE", "STAGE", "STATUS", "STARTED", "TOOK", "RUN", "").beside("MESSAGE")
		for _, r := range runs {
			took := ""
			if !r.EndedAt.IsZero() {
				took = present.Duration(r.EndedAt.Sub(r.StartedAt))
			}
			t.row(present.Build(r.BuildNumber, r.Build), r.Message, r.Stage, string(r.Status), present.Ago(o.now(), r.StartedAt), took, r.ID, noteOfRun(r))
		}
		if err := t.flush(); err != nil || page.Next == "" {
			return err
		}
		return o.remark("There are more: with `--after " + page.Next + "` the same command lists those before.")
	})
}

// noteOfRun says why a run failed, what became of the build where the run passed, or what the
// run did to the infrastructure.
func noteOfRun(r report.RunView) string {
	if r.Outcome != "" {
		return "the build is not passed there: " + present.MarkOf(string(r.Outcome)).Says
	}
	if r.Error == "" && r.Backup != "" {
		return "backup " + r.Backup
	}
	if n := r.Changes; n != nil && !n.None() && r.Error == "" {
		return "infrastructure: " + ask.Changed(*n)
	}
	return pipeline.FirstLine(r.Error)
}

// runStatuses are the statuses of a run, in words.
func runStatuses() (all []string) {
	for _, s := range pipeline.RunStatuses {
		all = append(all, string(s))
	}
	return all
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
