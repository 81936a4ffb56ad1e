// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
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
			"directory":  optional("Directory of the repository that the revision covers. Commands run in it, and paths are relative to it. Default: the whole repository.", isDirectory()),
			"commit":     field("Full ID of the commit."),
			"digest":     field("Digest of the files that matter. While it stays, a new commit moves nothing."),
			"components": schema.SingleNestedAttribute{
				Optional: true, MarkdownDescription: "Digest of the files of each component. The build keeps them, and the board shows which of them differ between builds.",
				Attributes: map[string]schema.Attribute{
					"application": field("Digest of the application's files."), "configuration": field("Digest of the configuration's files."),
					"infrastructure": field("Digest of the infrastructure's files."), "data": field("Digest of the data's files."),
					"module": optional("Digest of the module's files."),
				},
			},
			"paths": schema.MapAttribute{
				Optional: true, ElementType: pathsType.ElemType,
				MarkdownDescription: "Patterns of `include`, `module`, `infrastructure`, `configuration`, `data` and `ignore`. `penstock diff` groups files by them.",
			},
			"web": optional("Address of the repository's pages, for links. Default: made from `repository`, if it is on a known host.", isWeb()),
		},
	}
}

func afterAttribute(text string) schema.ListNestedAttribute {
	return schema.ListNestedAttribute{
		Optional: true, MarkdownDescription: text,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			// Not required by the schema: in a stage whose passed is not known yet it is
			// missing. ValidateConfig asks for it.
			"pipeline": optional("Name of the stage's pipeline. Without `ledger` it must be this one. Default: this one.", isName()),
			"stage":    optional("Name of the stage.", isName()),
			"build":    optional("The newest build that passed it. Without `ledger` it only orders the apply, as the ledger determines which builds passed."),
			"ledger":   optional("ID of the ledger, of a stage of another pipeline: all of it comes from `passed` of a `penstock_passed`.", stringvalidator.LengthAtLeast(1)),
			"head":     optional("The newest event of that pipeline's history, up to which it was verified.", isAnchor()),
		}},
	}
}

func groupsAttribute(of string) schema.ListAttribute {
	return schema.ListAttribute{
		Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.SizeBetween(1, 5), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(isSecurityGroup())},
		MarkdownDescription: "IDs of the security groups of " + of + ". On AWS.",
	}
}

func trustedProxiesAttribute() schema.ListAttribute {
	return schema.ListAttribute{
		Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.ValueStringsAre(isProxy())},
		MarkdownDescription: "Addresses and networks of the proxies in front of the endpoint. Their `X-Forwarded-*` and `Forwarded` headers reach the service; those of other clients are replaced. An empty list trusts nobody. A change takes effect on a serving persistent or self-service environment without a deployment, otherwise with the next one. Not on AWS. Default: loopback, `[\"127.0.0.0/8\", \"::1\"]`.",
	}
}

func environmentAttribute() schema.SingleNestedAttribute {
	attributes := envAttributes("the service")
	maps.Copy(attributes, variablesAttributes())
	maps.Copy(attributes, map[string]schema.Attribute{
		"allow_destroy": schema.BoolAttribute{
			Optional: true, MarkdownDescription: "Whether an apply of the pipeline's `module` may destroy or replace resources that keep data, in this lasting environment. Set it for the one deployment that needs it. Default: false.",
		},
		"instances": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(1, 1000)},
			MarkdownDescription: "Number of instances; with `scaling`, that a first deployment starts with. Default: 1 for acceptance, exploratory and custom stages, the pipeline's `scale` for the others.",
		},
		"keep": schema.BoolAttribute{
			Optional: true, MarkdownDescription: "Whether the environment is persistent, and serves until the next build replaces it. Default: true for production, otherwise false.",
		},
		"address": optional("IP address that the endpoint listens on. Default: loopback.", isAddress()),
		"port": schema.Int64Attribute{
			Optional: true, Validators: []validator.Int64{int64validator.Between(1, 65535)},
			MarkdownDescription: "Port of the endpoint. Default: any free one, which stays the same for the environment's life.",
		},
		"trusted_proxies":    trustedProxiesAttribute(),
		"certificate":        optional("ARN of an ACM certificate. The load balancer of a persistent environment then speaks HTTPS, at port 443 unless `port` is set. The test port, 10000 above, does, too. A change takes effect with a new deployment. On AWS.", isCertificate()),
		"load_balancer":      balancerAttribute(),
		"data_from":          optional("Name of the stage whose persistent environment provides the data of a new environment. The data is copied before `migrate`, by `service.copy` if that is set, and masked by `service.mask`. Default: the production stage for a pre-production stage, otherwise none. Without `service.copy`, the data directory is copied: on AWS up to 5 GB, packed, of one instance.", isName()),
		"unmasked":           schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether production's data may be copied into the environment without `service.mask`, as where there is none of people. Without either, a stage that copies production's data is refused. Default: false."},
		"drain_timeout":      optional("How long active requests may take to finish when a new build takes over. Default: `30s`.", isDuration()),
		"instance_profile":   optional("Name of the instance profile of the instances, whose role their service has. The deployer role must be allowed to pass that role: see `--instance-roles` of `penstock bootstrap`. Default: the stack's profile for production, pre-production and persistent custom stages, otherwise the one for tests, so that tests can't read production's secrets. On AWS.", isInstanceProfile()),
		"security_groups":    groupsAttribute("the instances, instead of the stack's for production or for tests. Load balancers must reach the service's port"),
		"instance_type":      optional("Type of the instances, if the platform has types. Default: that of the pipeline's `scale` for capacity, pre-production and production stages, the provider's for the others."),
		"volume":             volumeAttribute("the instances"),
		"metadata_hop_limit": hopsAttribute(),
		"spot":               spotAttribute(),
		"shift": schema.ListNestedAttribute{
			Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
			MarkdownDescription: "Steps in which the traffic of a persistent environment goes over to a new build. Each step must have more traffic than the previous one. After the last step the new build gets all of it. Default: all at once. On AWS.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"percent": schema.Int64Attribute{Required: true, Validators: []validator.Int64{int64validator.Between(1, 99)}, MarkdownDescription: "Percentage of the requests that the new build gets."},
				"pause":   required("How long to watch the health of the new instances, and `alarms`, before the next step. If they fail, all traffic goes back and the apply fails.", isDuration()),
			}},
		},
		"alarms": schema.ListAttribute{
			Optional: true, ElementType: types.StringType, Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(stringvalidator.LengthBetween(1, 255))},
			MarkdownDescription: "Names of CloudWatch alarms. If one goes off while the traffic of a persistent environment goes over, or drains, the traffic goes back. An alarm that is already on at the start is ignored until it has been off once. On AWS.",
		},
		"scaling": scalingAttribute(),
		"target_attributes": schema.MapAttribute{
			Optional: true, ElementType: types.StringType,
			Validators:          []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.KeysAre(stringvalidator.OneOf(pipeline.TargetAttributes()...))},
			MarkdownDescription: "Attributes of the target group of a persistent environment, by AWS's names, such as `slow_start.duration_seconds` or `load_balancing.algorithm.type`. `drain_timeout` sets the time to deregister. What others set on the target group goes on with the next one. A change takes effect with a new deployment. On AWS.",
		},
		"keep_previous": optional("How long to keep the previous build's instances after a deployment to a persistent environment. A rollback within that time is one traffic shift. Default: not at all. On AWS.", isDuration()),
	})
	return schema.SingleNestedAttribute{
		Optional: true, Attributes: withListener(attributes),
		MarkdownDescription: "The environment that a run launches from the build's image. Acceptance, capacity, pre-production and production stages always have one; other stages have one if this is set.",
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
		MarkdownDescription: "A stage of a pipeline: a named gate that a build passes or does not. An apply runs the stage for the build that the gates let in. Its status, its latest run and that run's log are in the `penstock_pipeline` data source.",
		Attributes: map[string]schema.Attribute{
			"id":          idAttribute(),
			"pipeline":    replace(required("Name of the pipeline. A change replaces the stage.", isName())),
			"type":        replace(required("Type of the stage, which decides its defaults: `bootstrap`, `commit`, `acceptance`, `exploratory`, `capacity`, `pre-production`, `production` or `custom`. A change replaces the stage.", stringvalidator.OneOf(stageTypes()...))),
			"name":        name,
			"after":       afterAttribute("The stages that this one comes after: `passed` of other stages of this pipeline, and `passed` of a `penstock_passed`. A build may enter when it has passed all those of this pipeline, and while each of the others has passed some build."),
			"build":       optional("Pins the stage to a build. Change it to promote, change it back to roll back. Not for commit and bootstrap stages.", isBuildID()),
			"trigger":     optional("`automatic` moves the stage to the newest build that may enter. `manual` moves it only by `build` or `penstock promote`. Default: `manual` for production, otherwise `automatic`.", stringvalidator.OneOf(string(pipeline.TriggerAutomatic), string(pipeline.TriggerManual))),
			"source":      sourceAttribute("Revision that the stage works on: `revision` of a `penstock_source`. Required for commit stages, allowed for bootstrap stages.", false),
			"base_image":  optional("Image that the build's environments start from: `image_id` of a `penstock_baked_image`. Commit stages only; the build's ID derives from it and from the source."),
			"artifact":    optional("Path in the checkout of the file or directory that the steps built. It is stored with the build. Commit stages only.", isInside()),
			"steps":       stepsAttribute(),
			"environment": environmentAttribute(),
			"approval":    schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether a person must approve a build, after the steps, before it passes. Default: true for exploratory, otherwise false."},
			"bake":        schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether a passed run keeps the environment's image, with the artifact installed, as the build's image. Default: true for acceptance, otherwise false."},
			"on_failure":  optional("`keep` leaves the environment of a failed run up, so that you can inspect it, until the stage's next run or for three days. `destroy` ends it. In both cases a persistent environment continues to serve the previous build. Default: `destroy`.", stringvalidator.OneOf(string(pipeline.OnFailureDestroy), string(pipeline.OnFailureKeep))),
			"runner":      optional("Where the steps run, except HTTP checks and steps on the environment. `local`: on the machine that runs Terraform. `codebuild`: each command in a build of AWS CodeBuild, in a copy of the checkout, whose state comes back; several builds share a load if one can't make its rate. That needs the provider's `aws`, and the CodeBuild project from `penstock bootstrap ci`. A step must be able to reach what it needs over the network from there. Default: `local`.", stringvalidator.OneOf(localRunner, string(pipeline.RunnerCodeBuild))),
			"aws":         placeAttribute(),
			"targets":     targetsAttribute(),
			"rollout":     rolloutAttribute(),
			"publish":     stagePublishAttribute(),
			"timeouts":    timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),

			"candidate": computed("Build that the stage has moved to; in a plan, the build that it will move to. Null if there is none."),
			"passed": schema.SingleNestedAttribute{
				Computed: true, MarkdownDescription: "The newest build that passed. The next stage takes this in `after`.",
				Attributes: map[string]schema.Attribute{
					"pipeline": computed("Name of the pipeline."),
					"stage":    computed("Name of this stage."),
					"build":    computed("Build ID; null if none has passed yet."),
				},
			},
			"image_id":   computed("Image that the stage baked from its current build, or that its persistent environment runs from; null otherwise."),
			"endpoint":   computed("URL at which the stage's environment answers; null if it has none. The URL of a persistent environment stays the same when a build is deployed. With `targets` it is that of the first one, of the first wave."),
			"drift":      driftAttribute(),
			"finish_due": computed("The current build, if `service.finish` is due for it, which an apply then runs; null otherwise."),
			"published":  publishedAttribute(),
			"instances":  schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of instances of the stage's environment; null without one."},
		},
	}
	maps.Copy(resp.Schema.Attributes, byTargetAttributes())
}
