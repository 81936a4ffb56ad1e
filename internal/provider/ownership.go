// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// pipelineName returns the name that the ledger has for a pipeline of the configuration: in
// a namespace NAMESPACE.NAME, else NAME.
func (s *session) pipelineName(name types.String) string {
	if s.namespace == "" || name.ValueString() == "" {
		return name.ValueString()
	}
	return s.namespace + "." + name.ValueString()
}

// maxName is how long a name may be, a namespace before it included: as long as AWS takes
// it in the names of what it makes.
const maxName = 63

// checkName refuses a name that is too long with its namespace.
func (s *session) checkName(name string) error {
	if len(name) <= maxName {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "define pipeline", "in namespace %q its name is %q, which has %d characters; the limit is %d", s.namespace, name, len(name), maxName).
		WithHint("Choose a shorter name, or a shorter namespace.")
}

var notInLabel = regexp.MustCompile(`[^a-z0-9_]+`)

// applying reports whether a plan is the second one of Terraform, in the middle of an apply.
// Nothing else distinguishes the two: Terraform 1.9 and newer allow a deferral there, and in
// the first plan only with -allow-deferral and in Stacks. Older ones and OpenTofu never do.
//
// What the second plan refuses is not undone: with create_before_destroy the state has what
// is to be replaced as deposed by then, and Terraform restores that only where the creation
// fails. So the second plan leaves to the creation what the first one refuses.
func applying(req resource.ModifyPlanRequest) bool { return req.ClientCapabilities.DeferralAllowed }

// early is what to do where what exists is to be replaced by what is created.
const early = " If this apply should replace it, nothing was changed: remove create_before_destroy, because the name is free only when the old one is gone."

// claim checks that a resource may be created under a name: that nothing is recorded under
// it that belongs to a state. id is its import ID, replaces says which one of the name goes
// for it, and more what else to do.
func (b *base) claim(ctx context.Context, st *pipeline.State, name, id string, replaces func(id string) bool, more string) error {
	label := name
	if b.record == pipeline.RecordPipeline {
		label = id
	}
	advice := fmt.Sprintf("To have it in this state, run `terraform import penstock_%s.%s %s`", b.kind, notInLabel.ReplaceAllString(label, "_"), id) +
		", with the address that the resource has in this configuration. If this state has it at another address, say so in a moved block."
	if b.record == pipeline.RecordPipeline {
		advice += " If this state had it, and Terraform was killed while it wrote the state, its file is empty: put terraform.tfstate.backup in its place." +
			" For a pipeline in each workspace, set namespace = terraform.workspace in the provider block, or use terraform.workspace in the name; for a test, set another data_dir there."
	}
	return b.session.Engine.Creations.Check(ctx, st, run.CreateRequest{Kind: b.record, Name: name, Replaces: replaces, Hint: advice + more})
}

// free reports whether a stage, image or environment may be created under a name, as far as
// that is known; else it adds an error.
func (b *base) free(ctx context.Context, pipelineName, name types.String, replaces string, diags *diag.Diagnostics) bool {
	return b.unclaimed(ctx, pipelineName, name, b.replaces(replaces), "", diags)
}

// replaces says what a creation that is planned replaces: the one of an ID, empty for none,
// or what is tainted.
func (b *base) replaces(own string) func(id string) bool {
	return func(id string) bool { return id == own || b.session.overlay.tainted(id) }
}

// stillFree does so right before it is created, when nothing of the name is left that it
// could replace.
func (b *base) stillFree(ctx context.Context, pipelineName, name types.String, diags *diag.Diagnostics) bool {
	return b.unclaimed(ctx, pipelineName, name, nil, early, diags)
}

func (b *base) unclaimed(ctx context.Context, pipelineName, name types.String, replaces func(id string) bool, more string, diags *diag.Diagnostics) bool {
	if pipelineName.IsUnknown() || name.IsUnknown() {
		return true
	}
	st, err := b.session.Engine.State(ctx, b.session.pipelineName(pipelineName))
	if err == nil {
		recorded, id := name.ValueString(), pipelineName.ValueString()+"/"+name.ValueString()
		if b.record == pipeline.RecordPipeline {
			recorded, id = st.Pipeline.Name, name.ValueString()
		}
		err = b.claim(ctx, st, recorded, id, replaces, more)
	}
	if err != nil {
		doing, of := "create pipeline", name.ValueString()
		if b.record != pipeline.RecordPipeline {
			doing, of = partOf("create "+b.kind, of), b.session.pipelineName(pipelineName)
		}
		addAttributeError(diags, path.Root("name"), doing, of, err)
	}
	return err == nil
}

// recorded notes that Terraform's state has something: it is read from there. Without the
// right to record it, somebody else's apply does so.
func (b *base) recorded(ctx context.Context, st *pipeline.State, name, id string) {
	b.session.overlay.read(id)
	if err := b.session.Engine.Creations.Recorded(ctx, st, b.record, name, id); err != nil {
		b.session.Logger().Debug("record that a state has it", "kind", b.kind, "name", name, "error", err)
	}
}

// ledgerKey is where a state notes which ledger its resource is in.
const ledgerKey = "ledger"

// ledgerNote is what a state has of it.
type ledgerNote struct {
	Identity string `json:"identity"`
	Place    string `json:"place"` // in words, for messages
	// Namespace of the pipeline, which another one of the name may be in.
	Namespace string `json:"namespace"`
}

type (
	privateGetter interface {
		GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
	}
	privateSetter interface {
		SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
	}
)

// note records in the state which ledger the resource is in.
func (b *base) note(ctx context.Context, private privateSetter, diags *diag.Diagnostics) {
	data, err := json.Marshal(ledgerNote{b.session.Identity, b.session.Place, b.session.namespace})
	if err != nil {
		addError(diags, "note ledger", b.session.Identity, err)
		return
	}
	diags.Append(private.SetKey(ctx, ledgerKey, data)...)
}

// here reports whether a resource is in the ledger that is open; else it adds an error, as
// what another ledger knows nothing of is not gone. A state without a note is of an import.
func (b *base) here(ctx context.Context, private privateGetter, doing, name string, diags *diag.Diagnostics) bool {
	data, d := private.GetKey(ctx, ledgerKey)
	diags.Append(d...)
	var at ledgerNote
	if d.HasError() || len(data) == 0 {
		return !d.HasError()
	}
	if err := json.Unmarshal(data, &at); err != nil {
		addError(diags, doing, name, pipeline.Errorf(pipeline.CodeInternal, "find the ledger", "read the state's note: %w", err))
		return false
	}
	const forget = "forget what it held with `terraform state rm ADDRESS` for each penstock_ resource that `terraform state list` shows, and apply again."
	err := pipeline.Errorf(pipeline.CodeConflict, "find the ledger", "the state has it in %s, but this is %s", at.Place, b.session.Place).
		WithHint("Nothing was changed. Work where the state's pipelines are, or correct data_dir, aws.stack or the region in the provider block. If they are gone there for good, " + forget)
	switch {
	case at.Identity == b.session.Identity && at.Namespace == b.session.namespace:
		return true
	case at.Identity == b.session.Identity:
		err = pipeline.Errorf(pipeline.CodeConflict, "find the ledger", "the state has it in namespace %q, but the provider block names %q", cmp.Or(at.Namespace, noNamespace), cmp.Or(b.session.namespace, noNamespace)).
			WithHint("Nothing was changed. You can't change the namespace of existing pipelines: set namespace back in the provider block, and destroy them before you choose another. To leave them there, " + forget)
	case at.Place == b.session.Place:
		err = pipeline.Errorf(pipeline.CodeConflict, "find the ledger", "the ledger that the state has it in is gone from %s", at.Place).
			WithHint("If it was moved or removed by mistake, put it back. If it is gone for good, " + forget)
	}
	addError(diags, doing, name, err)
	return false
}

// toPlan reports whether there is something to plan but a destroy. It sees to it that what
// the state has is in the ledger that is open.
func (b *base) toPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) bool {
	if b.session == nil {
		return false
	}
	if !req.State.Raw.IsNull() {
		var name types.String
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
		if resp.Diagnostics.HasError() || !b.here(ctx, req.Private, "plan "+b.kind, name.ValueString(), &resp.Diagnostics) {
			return false
		}
	}
	if req.Plan.Raw.IsNull() {
		b.leaves(ctx, req, resp)
		return false
	}
	return true
}

// leaves adds an error where a resource gives up its name, but the plan replaces it under
// that name, as if it were tainted.
func (b *base) leaves(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var id, name, of types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("id"), &id)...)
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
	if of = name; b.record != pipeline.RecordPipeline {
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("pipeline"), &of)...)
	}
	if !resp.Diagnostics.HasError() && !b.session.overlay.plan(id.ValueString()) {
		b.unclaimed(ctx, of, name, nil, "", &resp.Diagnostics)
	}
}

// same reports whether what is recorded under a name is what the state has, or is being
// imported. Else another one has taken the name: a warning says so, and the state's own is
// gone.
func (b *base) same(id types.String, recorded, name string, diags *diag.Diagnostics) bool {
	if id.IsNull() || id.ValueString() == recorded {
		return true
	}
	diags.AddWarning("The name belongs to another one now", fmt.Sprintf("The %s %q of this state is gone, and another one was created under the name: the state has %s, the ledger has %s.", b.kind, name, id.ValueString(), recorded))
	return false
}

// describeRemoval says in words what goes with a pipeline.
func describeRemoval(r run.Removal, p pipeline.Pipeline) string {
	builds := fmt.Sprintf("%d builds are removed with it, with their images, artifacts and logs.", r.Builds)
	switch r.Builds {
	case 0:
		builds = "It has no builds."
	case 1:
		builds = "1 build is removed with it, with its image, artifact and logs."
	}
	parts := []string{builds}
	if len(r.Stages) > 0 {
		parts = append(parts, "Its stages: "+strings.Join(r.Stages, ", ")+".")
	}
	for _, env := range r.Environments {
		text := "Environment " + env.Name
		switch {
		case env.Purpose == pipeline.ForPerson && run.ByHand(env):
			text += ", which " + env.Owner + " launched with the penstock command"
		case env.Purpose == pipeline.ForPerson:
			text += " of " + env.Owner
		default:
			text = "The environment of stage " + env.Stage
		}
		parts = append(parts, fmt.Sprintf("%s, which runs %s at %s.", text, env.Build, env.Endpoint))
	}
	for _, c := range r.Channels {
		parts = append(parts, fmt.Sprintf("Channel %s, which was to stay, with image %s.", c.Name, c.Image))
	}
	history := "Its history is removed, too, because retain_history is 0s."
	if p.RetainHistory > 0 {
		history = fmt.Sprintf("Its history is archived for %s; `penstock ledger archive` lists it.", flattenHistory(p.RetainHistory).ValueString())
	}
	return strings.Join(append(parts, history), "\n")
}
