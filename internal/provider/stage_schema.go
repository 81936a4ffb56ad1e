// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func stageTypes() []string {
	var names []string
	for _, t := range pipeline.StageTypes {
		names = append(names, string(t))
	}
	return names
}

// replace makes a string attribute whose change replaces the resource.
func replace(a schema.StringAttribute) schema.StringAttribute {
	a.PlanModifiers = append(a.PlanModifiers, stringplanmodifier.RequiresReplace())
	return a
}

// idAttribute is the computed id of a resource.
func idAttribute() schema.StringAttribute {
	a := computed("Identifier, chosen when the resource is created.")
	a.PlanModifiers = []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	return a
}

func sourceAttribute(text string, required bool) schema.SingleNestedAttribute {
	field := func(text string) schema.StringAttribute {
		return schema.StringAttribute{Required: true, MarkdownDescription: text, Validators: []validator.String{stringvalidator.LengthAtLeast(1)}}
	}
	return schema.SingleNestedAttribute{
		Required: required, Optional: !required, MarkdownDescription: text,
		Attributes: map[string]schema.Attribute{
			"repository": field("Repository: a URL or a path."),
			"directory":  optional("The part of the repository that the revision is of: commands run in it, and paths are relative to it. Left out: all of it.", isDirectory()),
			"commit":     field("Full ID of the commit."),
			"digest":     field("Digest of the files that matter. While it stays, a new commit moves nothing."),
			"paths": schema.MapAttribute{
				Optional: true, ElementType: pathsType.ElemType,
				MarkdownDescription: "Patterns of `include`, `infrastructure`, `configuration`, `data` and `ignore`, by which `penstock diff` tells files apart.",
			},
		},
	}
}

func afterAttribute(text string) schema.ListNestedAttribute {
	return schema.ListNestedAttribute{
		Optional: true, MarkdownDescription: text,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			// Not required by the schema: in a stage whose passed is not known yet it is
			// missing. ValidateConfig asks for it.
			"pipeline": optional("Name of the stage's pipeline, which has to be this one. Default: this one.", isName()),
			"stage":    optional("Name of the stage.", isName()),
			"build":    optional("The newest build that passed it. It orders the apply; which builds passed, the ledger says."),
		}},
	}
}

func trustedProxiesAttribute() schema.ListAttribute {
	return schema.ListAttribute{
		Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.ValueStringsAre(isProxy())},
		MarkdownDescription: "Addresses and networks of the proxies before the endpoint whose `X-Forwarded-*` and `Forwarded` headers reach the service; what anybody else sends of them is replaced. An empty list trusts nobody. A change takes effect on a lasting or self-service environment that serves, without a deployment; else with the next. Not on AWS. Default: loopback, `[\"127.0.0.0/8\", \"::1\"]`.",
	}
}

func environmentAttribute() schema.SingleNestedAttribute {
	attributes := envAttributes("the service")
	maps.Copy(attributes, map[string]schema.Attribute{
		"instances": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(1, 1000)},
			MarkdownDescription: "Number of instances. Default: 1 for acceptance, exploratory and custom stages, the pipeline's `scale` for the others.",
		},
		"keep": schema.BoolAttribute{
			Optional: true, MarkdownDescription: "Whether the environment lasts, and serves until the next build replaces it. Default: true for production, else false.",
		},
		"address": optional("IP address that the endpoint listens on. Default: loopback.", isAddress()),
		"port": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port of the endpoint. Default: any free one, which stays the same for the environment's life.",
		},
		"trusted_proxies": trustedProxiesAttribute(),
		"certificate":     optional("ARN of a certificate of ACM: the load balancer of a lasting environment speaks HTTPS with it, at port 443 where `port` is not set. The test port speaks HTTP all the same. A change takes effect with a new deployment. On AWS.", isCertificate()),
		"data_from":       optional("Name of the stage whose lasting environment's data is copied into a new environment, before `migrate`. Default: the production stage for a pre-production stage, else none. On AWS up to 5 GB, packed, of one instance.", isName()),
		"drain_timeout":   optional("How long requests under way may take to end when a new build takes over. Default: `30s`.", isDuration()),
		"instance_type":   optional("Type of the instances, where the platform has types. Default: that of the pipeline's `scale` for capacity, pre-production and production stages, the provider's for the others."),
		"shift": schema.ListNestedAttribute{
			Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
			MarkdownDescription: "Steps in which the traffic of a lasting environment goes over to a new build, each with more of it than the one before; after the last all of it does. Default: all at once. On AWS.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"percent": schema.Int64Attribute{Required: true, Validators: []validator.Int64{int64validator.Between(1, 99)}, MarkdownDescription: "Percentage of the requests that the new build gets."},
				"pause":   required("How long to watch the health of its instances, and `alarms`, before the next step. Should they fail, all of the traffic goes back and the apply fails.", isDuration()),
			}},
		},
		"alarms": schema.ListAttribute{
			Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(stringvalidator.LengthBetween(1, 255))},
			MarkdownDescription: "Names of CloudWatch alarms. One that goes off while the traffic of a lasting environment goes over, or drains, sends it back. One that was in alarm before counts once it was quiet. On AWS.",
		},
		"keep_previous": optional("How long the instances of the build before are kept after a deployment to a lasting environment: a rollback within that time is one shift of the traffic. Default: not at all. On AWS.", isDuration()),
	})
	return schema.SingleNestedAttribute{
		Optional: true, Attributes: attributes,
		MarkdownDescription: "The environment that a run launches from the build's image. Acceptance, capacity, pre-production and production stages always have one; the others when this is set.",
	}
}

// Schema implements resource.Resource.
func (r *stageResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	name := schema.StringAttribute{
		Optional: true, Computed: true, Validators: []validator.String{isName()},
		MarkdownDescription: "Name of the stage, unique in the pipeline. Default: its type. A change replaces the stage.",
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplace()},
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A stage of a pipeline: a named gate that builds pass or do not. An apply runs it for the build that the gates let in. Where it stands, its latest run and the log of it are in the `penstock_pipeline` data source.",
		Attributes: map[string]schema.Attribute{
			"id":          idAttribute(),
			"pipeline":    replace(required("Name of the pipeline. A change replaces the stage.", isName())),
			"type":        replace(required("Type of the stage, which decides its defaults: `bootstrap`, `commit`, `acceptance`, `exploratory`, `capacity`, `pre-production`, `production` or `custom`. A change replaces the stage.", stringvalidator.OneOf(stageTypes()...))),
			"name":        name,
			"after":       afterAttribute("What the stage comes after: the `passed` of other stages of this pipeline. A build enters when it passed all of them."),
			"build":       optional("Pins the stage to a build: change it to promote, change it back to roll back. Not for commit and bootstrap stages.", isBuildID()),
			"trigger":     optional("`automatic` moves the stage to the newest build that may enter; `manual` only by `build` or `penstock promote`. Default: `manual` for production, else `automatic`.", stringvalidator.OneOf(string(pipeline.TriggerAutomatic), string(pipeline.TriggerManual))),
			"source":      sourceAttribute("Revision that the stage works on: `revision` of a `penstock_source`. Required for commit stages, allowed for bootstrap stages.", false),
			"base_image":  optional("Image that the build's environments start from: `image_id` of a `penstock_baked_image`. Commit stages only; the build's ID derives from it and from the source."),
			"artifact":    optional("Path in the checkout of what the steps built, a file or directory. It is stored with the build. Commit stages only.", isInside()),
			"steps":       stepsAttribute(),
			"environment": environmentAttribute(),
			"approval":    schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether a build passes only when a person approves it, after the steps. Default: true for exploratory, else false."},
			"bake":        schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether a passed run keeps the environment's image, with the artifact installed, as the build's. Default: true for acceptance, else false."},
			"on_failure":  optional("`keep` leaves the environment of a failed run for a look, until the stage's next run or for three days; `destroy` ends it. A lasting environment keeps serving what it served either way. Default: `destroy`.", stringvalidator.OneOf(string(pipeline.OnFailureDestroy), string(pipeline.OnFailureKeep))),
			"runner":      optional("Where the steps run, but for HTTP checks and for those on the environment. `local`: on the machine that runs Terraform. `codebuild`: each command in a build of AWS CodeBuild, in a copy of the checkout, whose state comes back; a load shared by several builds where one can't make its rate. That needs the provider's `aws`, and the CodeBuild project that `penstock bootstrap ci` makes; what a step reaches over the network, it must reach from there. Default: `local`.", stringvalidator.OneOf(localRunner, string(pipeline.RunnerCodeBuild))),
			"timeouts":    timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),

			"candidate": computed("Build that the stage has moved to, and in a plan the one that it moves to. Null when there is none."),
			"passed": schema.SingleNestedAttribute{
				Computed: true, MarkdownDescription: "The newest build that passed: what the next stage takes in `after`.",
				Attributes: map[string]schema.Attribute{
					"pipeline": computed("Name of the pipeline."),
					"stage":    computed("Name of this stage."),
					"build":    computed("Build ID; null when none passed yet."),
				},
			},
			"image_id":  computed("Image that the stage baked of the build that it holds, or that its lasting environment runs from; null otherwise."),
			"endpoint":  computed("URL at which the stage's environment answers; null when it has none. That of a lasting environment stays the same when a build is deployed."),
			"instances": schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of instances of the stage's environment; null without one."},
		},
	}
}
