// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// builderLife is when a builder powers off by itself, whatever happened to
// whoever started it. It is longer than any apply's own time limit by default.
const builderLife = 4 * time.Hour

// builderHops is how many hops the answers of the metadata service may take on a builder:
// its steps may run containers.
const builderHops = 2

// roleBuilder is the role of an instance that is there to make an image.
const roleBuilder = "builder"

// kindBuilder is the suffix of the schedule that ends a builder.
const kindBuilder = "builder"

// build makes an image on a builder. The builder ends with the bake; where that
// fails while an image is being made, or this process dies, as Abandon says, or at last
// at its own deadline.
func (m *Images) build(ctx context.Context, r pipeline.BakeRequest) (_ pipeline.BakedImage, err error) {
	access := stack.Access{Profile: r.Profile, Groups: r.Groups}.Or(m.stack.Settings.Builder)
	if len(access.Groups) == 0 {
		return pipeline.BakedImage{}, pipeline.Errorf(pipeline.CodeInvalid, opBake,
			"the stack %q has no security group for builders, which nobody may reach", m.stack.Settings.Stack).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbUpdateStack, Region: m.stack.Config.Region, Stack: m.stack.Settings.Stack})
	}
	deadline := cmp.Or(r.Started, m.stack.Now()).Add(builderLife)
	builder, err := m.instances.Run(ctx, instance.Launch{
		Token: r.Token, Image: r.Image, UserData: instance.UserData(deadline, ""),
		Type: r.Builder, Volume: r.Volume, Hops: builderHops, KMSKey: r.KMSKey, Access: access, Tags: m.stack.TagsOf(r.Labels, map[string]string{
			stack.TagKey: keyOf(r), stack.TagRun: r.Token, stack.TagRole: roleBuilder,
			stack.TagExpires: stack.Timestamp(deadline), "Name": "Penstock builder of " + r.Name,
		}),
	})
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	id := instance.ID(builder)
	defer func() {
		if err != nil {
			m.instances.UntilListed(ctx, id)
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err == nil {
			err = m.instances.Terminate(end, id)
		} else if failed := m.abandon(end, r.Token, []types.Instance{builder}); failed != nil {
			m.stack.Logger.Warn("end builder", "instance", id, "error", failed)
		}
	}()
	stack.Logf(r.Log, "builder %s of image %s", id, r.Image)
	if err := m.run(ctx, id, r); err != nil {
		return pipeline.BakedImage{}, err
	}
	return m.cleanAndCapture(ctx, id, r)
}

// source is where the files of the bake's source are on a builder.
const source = `"$root/var/tmp/penstock-source"`

// refresh has git's index know the times of the files that were unpacked.
const refresh = `if command -v git >/dev/null; then git -C ` + source + ` update-index -q --refresh >/dev/null 2>&1 || :; fi
`

// run runs the bake's commands on the builder, each in the root of its file
// system, with the source beside it.
func (m *Images) run(ctx context.Context, id string, r pipeline.BakeRequest) error {
	if len(r.Commands) == 0 {
		return nil
	}
	variable := ""
	if r.Source != "" {
		file, err := m.instances.SendDir(ctx, r.Labels.Stage, r.Source)
		if err != nil {
			return err
		}
		defer m.instances.Remove(ctx, file)
		if err := m.unpack(ctx, id, file, r); err != nil {
			return err
		}
		variable = "export PENSTOCK_SOURCE=" + source + "\n"
	}
	for i, c := range r.Commands {
		what := "step " + cmp.Or(c.Name, fmt.Sprint(i+1))
		stack.Logf(r.Log, "%s", what)
		script := instance.Preamble + instance.Exports(c.Env) + variable + "export PENSTOCK_ROOT=\"$root/\"\ncd \"$root/\"\n" + c.Line
		if c.Script != "" {
			script += "\nscript=\"$PENSTOCK_SOURCE\"/" + instance.Quote(c.Script) + "\n" +
				"if [ -x \"$script\" ]; then \"$script\"; else /bin/sh -e \"$script\"; fi\n"
		}
		err := m.instances.Must(ctx, id, instance.Command{
			What: what, Stage: r.Labels.Stage, Script: script, Timeout: c.Timeout, Secrets: c.Secrets, Mask: c.Mask, Log: r.Log, Live: true,
		})
		if err != nil {
			return err
		}
	}
	return m.instances.Must(ctx, id, instance.Command{
		What: "removing the source", Stage: r.Labels.Stage, Script: instance.Preamble + "rm -rf " + source + "\n", Timeout: cleanLimit, Log: r.Log,
	})
}

// unpack copies the packed source to where a builder's commands find it.
func (m *Images) unpack(ctx context.Context, id string, file instance.File, r pipeline.BakeRequest) error {
	script := instance.Preamble + file.Fetch("packed", "source.tar.gz") + "mkdir -p " + source + "\n" +
		`tar --no-same-owner -xzf "$packed" -C ` + source + "\n" + refresh + `rm -rf "$(dirname "$packed")"` + "\n"
	return m.instances.Must(ctx, id, instance.Command{What: "copying the source", Stage: r.Labels.Stage, Script: script, Timeout: cleanLimit, Log: r.Log})
}

// Abandon ends the builder of a bake that is over, unless an image is being made of it:
// the next bake of the inputs finishes that, and ends the builder. If there is no next
// bake, Orphans reports the builder once the image is made, and a schedule ends it at
// last: a stopped builder has no deadline of its own.
func (m *Images) Abandon(ctx context.Context, token string) error {
	left, err := m.builders(ctx, stack.Filter("tag:"+stack.TagRun, token))
	if err != nil || len(left) == 0 {
		return err
	}
	return m.abandon(ctx, token, left)
}

func (m *Images) abandon(ctx context.Context, token string, builders []types.Instance) error {
	found, err := m.findOwn(ctx, m.stack.Mine(), stack.Filter("tag:"+stack.TagRun, token))
	if err != nil {
		return err
	}
	if len(inState(found, types.ImageStatePending)) == 0 {
		return m.endBuilders(ctx, builders)
	}
	return m.stack.Schedule(ctx, token, m.stack.Now().Add(imageLimit), stack.EndInstances(kindBuilder, stack.Tag(builders[0].Tags, stack.TagStage), instance.IDs(builders)))
}

// builders lists instances that are there to make images.
func (m *Images) builders(ctx context.Context, more ...types.Filter) ([]types.Instance, error) {
	return m.instances.List(ctx, append([]types.Filter{m.stack.Mine(), stack.Filter("tag:"+stack.TagRole, roleBuilder), instance.Alive}, more...)...)
}

// endBuilders ends builders, and the schedules that would have.
func (m *Images) endBuilders(ctx context.Context, builders []types.Instance) error {
	if err := m.instances.Terminate(ctx, instance.IDs(builders)...); err != nil {
		return err
	}
	for _, i := range builders {
		if token := stack.Tag(i.Tags, stack.TagRun); token != "" {
			if err := m.stack.Unschedule(ctx, token, kindBuilder, stack.Tag(i.Tags, stack.TagStage)); err != nil {
				return err
			}
		}
	}
	return nil
}
