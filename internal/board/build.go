// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// buildPage is everything about a build.
type buildPage struct {
	buildRow
	Components []component
	Stages     []stageOfBuild
	Runs       []pipeline.RunSummary
	MoreRuns   bool             // than are listed
	Lineage    []pipeline.Image // the build's image, what it was baked from, and so on
	BaseImage  string           // where no record has it
	CurrentAt  string           // the last persistent stage: the build is compared with its current build
	Diff       *report.Diff     // to that
	NoDiff     string
	Buttons    []button
	Rejected   string // the stage that rejected it
}

// component is one of the parts of a build's source.
type component struct {
	Name, Digest string
	Change       string // from the build that it is compared with; empty where there is none
}

// components returns the components of a build beside those of another, which may be none.
// A build of an older version has none.
func components(build, current pipeline.Build) (list []component) {
	if build.Revision.Components == (pipeline.Components{}) {
		return nil
	}
	changed := build.Revision.Components.Changed(current.Revision.Components)
	for _, c := range build.Revision.Components.List() {
		row := component{Name: c.Name, Digest: c.Digest}
		switch {
		case current.ID == "" || current.ID == build.ID || current.Revision.Components == (pipeline.Components{}):
		case !slices.Contains(changed, c.Name):
			row.Change = "as in " + ask.Brief(current.Number, current.ID)
		default:
			row.Change = "differs from " + ask.Brief(current.Number, current.ID)
		}
		list = append(list, row)
	}
	return list
}

// stageOfBuild is how a build fared at a stage, and who decided what.
type stageOfBuild struct {
	cell
	Result   *pipeline.RunSummary
	Decision *pipeline.Decision
	Missing  int // approvals
	Override *pipeline.Override
	Buttons  []button
}

// build shows a build.
func (b *Board) build(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindBuild, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	id := pipeline.FindBuildID(st, r.PathValue("build"))
	build, ok := st.Builds[id]
	if !ok {
		return pipeline.Errorf(pipeline.CodeNotFound, "find build", "pipeline %q has no build %q", st.Pipeline.Name, id).
			WithHint("It may have been collected: `keep` of the pipeline says how many it retains.")
	}
	var stages []pipeline.Stage
	for _, stage := range st.StagesInOrder() {
		if stage.TakesBuild() {
			stages = append(stages, stage)
		}
	}
	page := buildPage{buildRow: rowOf(st, stages, build), Rejected: st.RejectedAt(id)}
	for i, stage := range stages {
		page.Stages = append(page.Stages, stageOf(b.Engine.As(s.person), st, stage, page.Cells[i], build.ID))
	}
	runs, err := b.Engine.Reports.Runs(r.Context(), st.Pipeline.Name, pipeline.RunQuery{Build: id})
	if err != nil {
		return err
	}
	page.Runs, page.MoreRuns, page.Lineage = runs.Runs, runs.Next != "", lineage(st, build)
	if _, known := st.Images[build.BaseImage]; !known {
		page.BaseImage = build.BaseImage
	}
	launch := button{Action: "launch", Label: environmentActions["launch"].Label, Build: id}
	if st.Pipeline.Service.Start != "" && page.Rejected == "" && launch.mayLaunch(st, s.person) {
		page.Buttons = append(page.Buttons, launch)
	}
	at, current, _ := st.Delivered()
	page.CurrentAt = at.Name
	page.Components = components(build, st.Builds[current])
	if current != "" && current != id {
		diff, err := b.diff(r.Context(), st, current, id)
		if page.Diff = &diff; err != nil {
			page.Diff, page.NoDiff = nil, err.Error()
		}
	}
	b.show(w, s, http.StatusOK, "build", view{Title: strings.TrimSpace(ask.Brief(build.Number, id)+" "+present.Line(pipeline.FirstLine(build.Revision.Message))) + " · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "board", Live: live, Body: page, State: st})
	return nil
}

// stageOf returns the status of a build at a stage.
func stageOf(e *engine.Engine, st *pipeline.State, stage pipeline.Stage, c cell, build string) stageOfBuild {
	at, id := stageOfBuild{cell: c}, pipeline.StageBuild(stage.Name, build)
	if v, ok := st.ResultOf(stage, build); ok {
		at.Result = &v
	}
	if d, ok := st.Decisions[id]; ok {
		at.Decision = &d
		at.Missing = st.Ballot(stage, build).MissingApprovals()
	}
	if o, ok := st.Overrides[id]; ok {
		at.Override = &o
	}
	add := func(name string) { adder(e, st, stage)(&at.Buttons, name, build) }
	current := st.Builds[st.Current[stage.Name].Build]
	switch {
	case c.Outcome == pipeline.OutcomeWaiting, c.Outcome == pipeline.OutcomeSuperseded:
		add("approve")
		add("reject")
	case at.Decision != nil && at.Decision.Result == pipeline.Rejected:
		add("lift")
	case stage.Trigger == pipeline.TriggerManual && current.ID != build && gate.MayEnter(st, stage, build):
		if st.Builds[build].Order < current.Order {
			add("rollback")
		} else {
			add("promote")
		}
	case c.Outcome != pipeline.OutcomePassed:
		add("override")
	}
	if c.Outcome == pipeline.OutcomePassed || c.Outcome == pipeline.OutcomeOverridden {
		add("reject")
	}
	return at
}

// lineage returns a build's image, what that was baked from, and so on, as far as the record
// knows them.
func lineage(st *pipeline.State, build pipeline.Build) (list []pipeline.Image) {
	id := build.Image
	if id == "" {
		id = build.BaseImage
	}
	for range len(st.Images) {
		image, ok := st.Images[id]
		if !ok {
			break
		}
		list = append(list, image)
		id = image.Parent
	}
	return list
}

// runs lists runs, the newest first.
func (b *Board) runs(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindRuns, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	query := pipeline.RunQuery{Stage: q.Get("stage"), Build: pipeline.FindBuildID(st, q.Get("build")), Status: pipeline.RunStatus(q.Get("status")), After: q.Get("after"), Limit: rowsPerPage}
	found, err := b.Engine.Reports.Runs(r.Context(), st.Pipeline.Name, query)
	if err != nil {
		return err
	}
	body := struct {
		Query    pipeline.RunQuery
		Page     pipeline.RunPage
		Stages   []string
		Statuses []pipeline.RunStatus
		Older    string
		Builds   map[string]pipeline.Build
	}{Query: query, Page: found, Statuses: pipeline.RunStatuses, Builds: st.Builds}
	for _, definition := range st.ImageDefinitions {
		body.Stages = append(body.Stages, pipeline.ImageRun(definition.Name))
	}
	for _, stage := range st.StagesInOrder() {
		body.Stages = append(body.Stages, stage.Name)
	}
	if query.After != "" {
		live = nil // older ones stay as they are
	}
	if found.Next != "" {
		q.Set("after", found.Next)
		body.Older = "?" + q.Encode()
	}
	b.show(w, s, http.StatusOK, "runs", view{Title: "Runs · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "runs", Live: live, Body: body, State: st})
	return nil
}
