// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: it says in the plan what
// an apply would do to the stage, as far as that can be known. What runs exports
// unknown values, so that the stages below are planned as well; what does not move
// shows no change.
func (r *stageResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if !r.toPlan(ctx, req, resp) {
		return
	}
	var plan, config stageModel
	var state *stageModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Name = config.Name
	if config.Name.IsNull() {
		plan.Name = config.Type
	}
	var was stageModel
	if state != nil {
		was = *state
	}
	if refuseForeign("Stage", plan.Name.ValueString(), plan.Pipeline, plan.After, &resp.Diagnostics) {
		return
	}
	moves := !plan.Name.Equal(was.Name) || !plan.Pipeline.Equal(was.Pipeline) || !plan.Type.Equal(was.Type)
	own := r.named(ctx, "stage", plan.Pipeline, plan.Name, was.ID, moves, req, resp)
	if state == nil && !applying(req) && !r.free(ctx, plan.Pipeline, plan.Name, own, &resp.Diagnostics) {
		return
	}
	if state != nil && sameSource(ctx, plan.Source, state.Source) {
		plan.Source = state.Source
	}
	read := r.notes(ctx, req, &was, &resp.Diagnostics)
	if plan.decided(ctx) && !plan.Name.IsUnknown() {
		r.plan(ctx, &plan, state, read, resp)
	} else {
		plan.markUnknown(plan.Name)
		if known(ctx, plan.Pipeline, plan.Type, plan.Name) {
			r.planUnknown(ctx, plan, resp)
		}
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if state != nil && sameStages(plan.After, state.After) {
		plan.After = state.After // the ledger says which builds passed them
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, plan)...)
}

// planUndecided lets other stages come after one that is not decided yet.
func (r *stageResource) planUnknown(ctx context.Context, plan stageModel, resp *resource.ModifyPlanResponse) {
	stage := pipeline.Stage{
		Pipeline: r.session.pipelineName(plan.Pipeline), Name: plan.Name.ValueString(), Type: pipeline.StageType(plan.Type.ValueString()),
		After: expandGates(plan.After).stages, Owner: r.session.Owner,
	}.WithDefaults(nil, nil)
	if err := r.session.overlay.planUnknown(ctx, stage); err != nil {
		addError(&resp.Diagnostics, "plan stage", stage.Name, err)
	}
}

// plan decides the stage's move and writes it into the plan.
func (r *stageResource) plan(ctx context.Context, plan, state *stageModel, read notes, resp *resource.ModifyPlanResponse) {
	stage := expandStage(ctx, *plan, r.session, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := r.session.Engine.Runner.Check(stage.Runner); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("runner"), "plan stage", stage.Name, err)
		return
	}
	err := r.session.overlay.view(ctx, stage.Pipeline, func(st *pipeline.State, at *planned) error {
		if at.unknown && stage.Env != nil {
			plan.markUnknown(plan.Name)
			return nil
		}
		if err := r.place(st, stage, resp); err != nil || resp.Diagnostics.HasError() {
			return err
		}
		r.session.warnUnused(st, stage, &resp.Diagnostics)
		r.move(st, at, stage, plan, state, read, resp)
		return nil
	})
	if err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("pipeline"), "plan stage", stage.Name, err)
		return
	}
	r.session.overlay.planStage(stage)
}

// place checks that the stage can be where it is: after what it comes after.
func (r *stageResource) place(st *pipeline.State, stage pipeline.Stage, resp *resource.ModifyPlanResponse) error {
	if err := r.session.Engine.CheckStage(st, stage); err != nil {
		at := path.Root("after")
		switch {
		case pipeline.CheckStage(st, stage) == nil:
			at = path.Root("environment")
		case stage.Env != nil && st.Pipeline.Service.Start == "":
			at = path.Root("type")
		}
		addAttributeError(&resp.Diagnostics, at, "plan stage", stage.Name, err)
	}
	return nil
}

// move plans what the gates allow.
func (r *stageResource) move(st *pipeline.State, at *planned, stage pipeline.Stage, plan, state *stageModel, read notes, resp *resource.ModifyPlanResponse) {
	if err := st.AuthorizePin(stage, r.session.Engine.Person); err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("build"), "move stage", stage.Name, err)
		return
	}
	gates := expandGates(plan.After)
	current := st.Current[stage.Name].Build
	known := gates.open() || stage.Trigger == pipeline.TriggerManual && stage.Pin == "" || stage.Pin != "" && stage.Pin == current
	if !known && !stays(st, at, stage, gates, state, read) {
		r.moveLater(st, at, stage, gates, plan, state, read, resp)
		return
	}
	move := r.decide(st, at, stage, gates, state, read.Entering)
	if move.Err != nil {
		addAttributeError(&resp.Diagnostics, path.Root("build"), "move stage", stage.Name, move.Err)
		return
	}
	runs := move.Action == pipeline.ActionRun || move.Action == pipeline.ActionAdopt
	late := r.session.overlay.lately(stage.Pipeline, gates)
	switch {
	case state == nil:
		plan.move(stage, st.Pipeline, nil)
		plan.Candidate = orUnknown(move.Candidate)
		if at.recorded.Stages[stage.Name].Applied { // what is replaced takes its verdicts along
			plan.Candidate = types.StringUnknown()
		}
	case runs, state.Candidate.ValueString() != move.Candidate,
		passes(st, stage) != st.NewestPassed(stage.Name):
		// The candidate also where another apply has moved the stage since the refresh:
		// Terraform plans again in the middle of an apply, with the state from before.
		// What passed is another build where the definition goes back to one of before.
		plan.move(stage, st.Pipeline, state)
		plan.Candidate = orNull(move.Candidate)
		if runs && passes(st, stage) == st.NewestPassed(stage.Name) {
			at.enters[stage.Name] = move.Candidate
		}
		if len(late) > 0 && asBefore(at, stage, read) && !slices.Contains(*read.Passed, at.entering(late)) {
			plan.Passed = state.Passed // as moveLater planned it
		}
	default:
		keepExports(plan, state)
		if len(late) > 0 {
			plan.agree(stage, st.Pipeline, state)
		}
		if redefined(stage, st.Stages[stage.Name]) {
			plan.Candidate = types.StringUnknown() // which makes it an update
		}
		switch move.Action {
		case pipeline.ActionRestore:
			plan.Endpoint = types.StringUnknown()
		case pipeline.ActionEnd:
			plan.Endpoint = types.StringNull()
		}
		plan.Instances = intOrNull(stage.Instances(st.Pipeline))
	}
}

// notesKey is where a read of a stage leaves its notes.
const notesKey = "read"

// notes are what a read of a stage found out beside its state. Both plans of an apply go by
// them, so that they say the same whatever was decided in between.
type notes struct {
	Entering string    `json:"entering"`         // the build that was to enter it; empty for none
	Passed   *[]string `json:"passed,omitempty"` // the builds that passed it, where people decide that; nil where that is not known
}

// maxNotes is how many builds a read notes at most: with more a plan knows less.
const maxNotes = 500

// noted makes the notes of a stage.
func noted(st *pipeline.State, stage pipeline.Stage, entering string) []byte {
	n := notes{Entering: entering}
	if stage.Approval {
		passed := []string{}
		for b := range st.NewestBuilds() {
			if st.Passed(stage.Name, b.ID) {
				passed = append(passed, b.ID)
			}
		}
		if len(passed) <= maxNotes {
			n.Passed = &passed
		}
	}
	data, _ := json.Marshal(n) // strings
	return data
}

// notes gives what the last read of the stage noted.
func (r *stageResource) notes(ctx context.Context, req resource.ModifyPlanRequest, state *stageModel, diags *diag.Diagnostics) notes {
	data, d := req.Private.GetKey(ctx, notesKey)
	diags.Append(d...)
	read := notes{Entering: state.Candidate.ValueString()}
	_ = json.Unmarshal(data, &read) // nothing there: it moved to what it was to move to
	return read
}

// asBefore reports whether only a person's approval can change what passed the stage, as
// nothing of its definition changes and it is known what had passed.
func asBefore(at *planned, stage pipeline.Stage, read notes) bool {
	return stage.Approval && read.Passed != nil && !at.unknown && !at.changes && !redefined(stage, at.recorded.Stages[stage.Name])
}

// stays reports whether nothing that stages above do in the apply moves the stage: the one
// build that they run for has not passed another one above, which does not move. So a
// commit's plan ends where the build waits for a person.
func stays(st *pipeline.State, at *planned, stage pipeline.Stage, g gates, state *stageModel, read notes) bool {
	build := at.entering(slices.Collect(maps.Keys(g.pending)))
	if state == nil || g.unknown || at.unknown || at.changes || build == "" || build == st.Current[stage.Name].Build ||
		stage.Pin != "" || stage.Type == pipeline.TypeCommit || redefined(stage, at.recorded.Stages[stage.Name]) {
		return false
	}
	blocked := slices.ContainsFunc(stage.Upstream(), func(up string) bool { return !g.pending[up] && !st.Passed(up, build) })
	move := pipeline.Decide(st, stage)
	return blocked && move.Err == nil && move.Action == pipeline.ActionNone && move.Candidate == state.Candidate.ValueString() && move.Candidate == read.Entering
}

// decide decides the move of a stage whose gates are known. Terraform plans a second time in
// the middle of the apply, and takes no other answer then. So a stage that nothing in the
// configuration moves goes by the build that was to enter it when it was read, whatever was
// decided since.
func (r *stageResource) decide(st *pipeline.State, at *planned, stage pipeline.Stage, g gates, state *stageModel, read string) pipeline.Move {
	move := pipeline.Decide(st, stage)
	recorded := at.recorded.Stages[stage.Name]
	if state == nil || at.unknown || at.changes || r.session.overlay.hasApplied(stage.Pipeline, g) || gated(stage, recorded) || recorded.ID != state.ID.ValueString() {
		return move
	}
	if read == "" || read == move.Candidate || read == pipeline.Decide(at.recorded, recorded).Candidate {
		return move
	}
	stage.Pin = read
	if move = pipeline.Decide(st, stage); move.Err != nil {
		move.Err = pipeline.Errorf(pipeline.CodeOf(move.Err), fmt.Sprintf("move stage %q", stage.Name),
			"build %s was to enter it when Terraform read it, and since then: %v", read, move.Err).WithHint("Plan again.")
	}
	return move
}

// gated reports whether the configuration says which build a stage holds, or has changed
// what opens it.
func gated(stage, recorded pipeline.Stage) bool {
	return stage.Type == pipeline.TypeCommit || stage.Pin != "" || recorded.Pin != "" ||
		stage.Trigger != recorded.Trigger || !slices.Equal(stage.After, recorded.After)
}

// moveLater plans a stage that may move once the stages above have run. A pin is
// checked against those that will not run.
func (r *stageResource) moveLater(st *pipeline.State, at *planned, stage pipeline.Stage, g gates, plan, state *stageModel, read notes, resp *resource.ModifyPlanResponse) {
	plan.move(stage, st.Pipeline, state)
	switch {
	case stage.Pin != "":
		plan.Candidate = types.StringValue(stage.Pin)
		if _, exists := st.Builds[stage.Pin]; !exists {
			if !at.mayMake(stage.After, stage.Pin) {
				addAttributeError(&resp.Diagnostics, path.Root("build"), "move stage", stage.Name, st.Eligible(stage, stage.Pin))
			}
			return
		}
		known := stage
		known.After = slices.DeleteFunc(slices.Clone(stage.Upstream()), func(up string) bool { return g.pending[up] })
		if len(known.After) == 0 {
			return
		}
		if err := st.CheckPin(known, stage.Pin); err != nil {
			addAttributeError(&resp.Diagnostics, path.Root("build"), "move stage", stage.Name, err)
		}
	case stage.Type == pipeline.TypeCommit:
		plan.Candidate = types.StringValue(pipeline.BuildID(stage.Pipeline, stage.Source.Digest, stage.BaseImage))
		at.enters[stage.Name] = plan.Candidate.ValueString()
	default:
		build := at.entering(slices.Collect(maps.Keys(g.pending)))
		at.enters[stage.Name] = build
		if state != nil && build != "" && asBefore(at, stage, read) && !slices.Contains(*read.Passed, build) {
			plan.Passed = state.Passed // the build waits for a person once it has run
		}
	}
}

// passes gives the newest build that passes the stage by another definition than the
// recorded one.
func passes(st *pipeline.State, stage pipeline.Stage) string {
	recorded := st.Stages[stage.Name]
	st.Stages[stage.Name] = stage
	build := st.NewestPassed(stage.Name)
	st.Stages[stage.Name] = recorded
	return build
}

// redefined reports whether the ledger has another definition of the stage, as after a
// run that failed with one that was taken back then: an apply has to record it, though
// it runs nothing.
func redefined(stage, recorded pipeline.Stage) bool {
	stage.ID, stage.Owner, stage.Made, stage.Applied = recorded.ID, recorded.Owner, recorded.Made, recorded.Applied
	if a, b := stage.Source, recorded.Source; a != nil && b != nil && a.Repository == b.Repository && a.Digest == b.Digest {
		stage.Source = b // by rule 8
	}
	return !stage.Equal(recorded)
}

// keepExports plans that everything exported stays as it is.
func keepExports(plan, state *stageModel) {
	plan.Candidate, plan.Passed, plan.ImageID, plan.Endpoint = state.Candidate, state.Passed, state.ImageID, state.Endpoint
}

func orUnknown(s string) types.String {
	if s == "" {
		return types.StringUnknown()
	}
	return types.StringValue(s)
}
