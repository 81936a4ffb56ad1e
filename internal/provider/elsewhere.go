// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// elsewhere are the ledgers that data sources read in one walk of Terraform. Each is opened
// once.
type elsewhere struct {
	own *app.App
	aws *app.AWS // of the provider block; nil: the local platform

	mu    sync.Mutex
	views map[string]*opening // by where the ledger is
	read  map[string]*app.View
}

// opening is a ledger that is opened once.
type opening struct {
	once sync.Once
	view *app.View
	err  error
}

func newElsewhere(own *app.App, at *app.AWS) *elsewhere {
	return &elsewhere{own: own, aws: at, views: map[string]*opening{}, read: map[string]*app.View{}}
}

// elsewhereModel is where on AWS another ledger is.
type elsewhereModel struct {
	Region     types.String `tfsdk:"region"`
	Profile    types.String `tfsdk:"profile"`
	Stack      types.String `tfsdk:"stack"`
	RoleARN    types.String `tfsdk:"role_arn"`
	ExternalID types.String `tfsdk:"external_id"`
}

// expandElsewhere reads where on AWS another ledger is. What it does not say is as in the
// provider block, whose roles come first.
func (e *elsewhere) expand(ctx context.Context, o types.Object, diags *diag.Diagnostics) app.AWS {
	var m elsewhereModel
	diags.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	var at app.AWS
	if e.aws != nil {
		at = app.AWS{Region: e.aws.Region, Profile: e.aws.Profile, Stack: e.aws.Stack, AssumeRoles: e.aws.AssumeRoles}
	}
	set := func(to *string, v types.String) {
		if !v.IsNull() {
			*to = v.ValueString()
		}
	}
	set(&at.Region, m.Region)
	set(&at.Stack, m.Stack)
	if !m.Profile.IsNull() { // which has credentials of its own
		at.Profile, at.AssumeRoles = m.Profile.ValueString(), nil
	}
	if !m.RoleARN.IsNull() {
		at.AssumeRoles = append(at.AssumeRoles[:len(at.AssumeRoles):len(at.AssumeRoles)], cloud.Role{ARN: m.RoleARN.ValueString(), ExternalID: m.ExternalID.ValueString()})
	}
	return at
}

// view returns the ledger at a place: in a data directory, else on AWS, else this one.
func (e *elsewhere) view(ctx context.Context, dir string, at *app.AWS) (*app.View, error) {
	key := dir
	if at != nil {
		key = fmt.Sprintf("%s %s %s %+v", at.Region, at.Profile, at.Stack, at.AssumeRoles)
	}
	e.mu.Lock()
	o := e.views[key]
	if o == nil {
		o = &opening{}
		e.views[key] = o
	}
	e.mu.Unlock()
	o.once.Do(func() {
		switch {
		case dir != "":
			o.view, o.err = app.ViewDir(ctx, dir)
		case at != nil:
			if o.view, o.err = app.ViewStack(ctx, *at); o.err == nil {
				o.view.KeepIn(e.own.VerifiedDir())
			}
		default:
			o.view = e.own.View()
		}
	})
	return o.view, o.err
}

// passed returns which build a stage has passed, and notes that it was read.
func (e *elsewhere) passed(ctx context.Context, v *app.View, name, stage string) (app.Passed, error) {
	p, err := v.Passed(ctx, name, stage)
	if err == nil {
		e.mu.Lock()
		e.read[p.Ledger] = v
		e.mu.Unlock()
	}
	return p, err
}

// check refuses what a stage comes after elsewhere where this walk has not read it, or where
// its history lacks what the stage's definition has seen of it.
func (e *elsewhere) check(ctx context.Context, now, seen []pipeline.Elsewhere) error {
	for _, p := range now {
		e.mu.Lock()
		v := e.read[p.Ledger]
		e.mu.Unlock()
		if v == nil {
			return pipeline.Errorf(pipeline.CodeInvalid, "verify ledger", "%s is of ledger %q, which no data penstock_passed of this provider block has read: nobody knows whether it is true", p, p.Ledger).
				WithHint("Take passed of a data \"penstock_passed\" of this configuration, with the same provider as the stage, and no copy of it.")
		}
		for _, before := range seen {
			if before.Ledger != p.Ledger || before.Pipeline != p.Pipeline {
				continue
			}
			if err := p.Follows(before); err != nil {
				return err
			}
			if p.Head == before.Head {
				continue
			}
			if err := v.CheckAnchor(ctx, before.Pipeline, before.Head); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseElsewhere reports, with true, what a stage comes after elsewhere that can't be relied
// on. What an apply was planned with is what was approved: it is not looked at again.
func (r *stageResource) refuseElsewhere(ctx context.Context, m stageModel, diags *diag.Diagnostics) bool {
	now := expandGates(m.After).elsewhere
	if len(now) == 0 || !known(ctx, m.Pipeline, m.Name) {
		return false
	}
	name, stage := r.session.pipelineName(m.Pipeline), m.Name.ValueString()
	at, _, err := r.session.overlay.snapshot(ctx, name)
	if err == nil {
		err = r.session.elsewhere.check(ctx, now, at.State().Stages[stage].Elsewhere)
	}
	for _, e := range now {
		if e.Ledger == r.session.Identity && e.Pipeline == name {
			err = pipeline.Errorf(pipeline.CodeInvalid, "place stage", "%s is of this pipeline itself", e).
				WithHint("Take passed of the penstock_stage: then the stage takes the builds that have passed it.")
		}
	}
	if err != nil {
		addAttributeError(diags, path.Root("after"), partOf("plan stage", stage), name, err)
	}
	return err != nil
}

// withoutElsewhere refuses stages of other pipelines where only those of one count.
func withoutElsewhere(after types.List, diags *diag.Diagnostics) (found bool) {
	for i, element := range after.Elements() {
		if o, ok := element.(types.Object); ok && isElsewhere(o) {
			found = true
			diags.AddAttributeError(path.Root("after").AtListIndex(i), "Stage of another pipeline",
				"A self-service environment is launched from a build of its own pipeline. Take passed of a penstock_stage of that, and give the stage the penstock_passed.")
		}
	}
	return found
}
