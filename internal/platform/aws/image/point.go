// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// imageParameter is the data type of a parameter whose value is the ID of an image: SSM
// refuses another value, and EC2 resolves it.
const imageParameter = "aws:ec2:image"

// keptLabels is how many versions of a parameter keep their labels when SSM has no room for
// another version, of which it holds 100: it removes the oldest, but none with a label.
const keptLabels = 50

// Point implements pipeline.Images. It looks in all regions before it writes in the first.
func (m *Images) Point(ctx context.Context, r pipeline.PointRequest) error {
	name := parameterOf(m.stack, r.Name, r.Labels)
	regions := stack.Sorted(r.Images)
	found := make([]*parameter, len(regions))
	err := sideBySide(regions, func(i int, region string) (err error) {
		found[i], err = m.in(region).findParameter(ctx, name)
		switch p := found[i]; {
		case err != nil || p == nil:
			return err
		case !p.of(m.stack, r.Labels) && !r.Adopt:
			return m.in(region).foreign(name)
		}
		return m.in(region).fit(name, *found[i])
	})
	if err != nil {
		return err
	}
	return sideBySide(regions, func(i int, region string) error {
		if err := m.in(region).point(ctx, name, found[i], r); err != nil {
			return err
		}
		stack.Logf(r.Log, "parameter %s in %s: %s", name, region, r.Images[region])
		return nil
	})
}

// Unpoint implements pipeline.Images.
func (m *Images) Unpoint(ctx context.Context, r pipeline.UnpointRequest) error {
	name := parameterOf(m.stack, r.Name, r.Labels)
	var regions []string
	for _, region := range r.Regions {
		regions = append(regions, cmp.Or(region, m.stack.Config.Region))
	}
	slices.Sort(regions)
	for _, region := range slices.Compact(regions) {
		there := m.in(region)
		p, err := there.findParameter(ctx, name)
		if err != nil {
			return err
		}
		if p == nil || !p.of(m.stack, r.Labels) {
			continue
		}
		_, err = there.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(name)})
		if err != nil && !cloud.IsNotFound(err) {
			return cloud.Fault(ctx, "remove parameter "+name, err)
		}
		stack.Logf(r.Log, "parameter %s in %s is removed", name, region)
	}
	return nil
}

// parameterOf returns the parameter of a channel: the name itself where it is a path.
func parameterOf(s *stack.Stack, name string, l pipeline.Labels) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return fmt.Sprintf("/penstock/%s/%s/%s", s.Settings.Stack, l.Pipeline, name)
}

// parameter is a parameter that exists.
type parameter struct {
	image    string
	version  int64
	kind     ssmtypes.ParameterType
	dataType string
	tags     map[string]string
}

// findParameter returns a parameter; nil where there is none.
func (r regional) findParameter(ctx context.Context, name string) (*parameter, error) {
	out, err := r.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, cloud.Fault(ctx, "read parameter "+name, err)
	}
	is := out.Parameter
	tags, err := r.parameterTags(ctx, name)
	if pipeline.IsNotFound(err) {
		return nil, nil
	}
	return &parameter{aws.ToString(is.Value), is.Version, is.Type, aws.ToString(is.DataType), tags}, err
}

// parameterTags returns the tags of a parameter; CodeNotFound where there is none.
func (r regional) parameterTags(ctx context.Context, name string) (map[string]string, error) {
	out, err := r.ssm.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{
		ResourceId: aws.String(name), ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
	})
	if cloud.Is(err, "InvalidResourceId") { // so says this call alone of one that is gone
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read parameter "+name, "%w", err)
	}
	if err != nil {
		return nil, cloud.Fault(ctx, "read parameter "+name, err)
	}
	tags := map[string]string{}
	for _, t := range out.TagList {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// of reports whether a parameter was made for the stage, or for the baked image.
func (p parameter) of(s *stack.Stack, l pipeline.Labels) bool {
	return p.tags[stack.TagStack] == s.Settings.Stack && p.tags[stack.TagPipeline] == l.Pipeline && p.tags[stack.TagStage] == l.Stage
}

// foreign is the error for a parameter that is not the stage's own.
func (r regional) foreign(name string) error {
	return pipeline.Errorf(pipeline.CodeConflict, "write parameter "+name, "the parameter exists in %s, and belongs to something else", r.region).
		WithHint("Choose another name for the parameter, delete that one, or set adopt = true to take it over.")
}

// fit refuses a parameter that can't say an image as groups need it: AWS changes neither the
// type of a parameter nor a data type to or from that of images.
func (r regional) fit(name string, p parameter) error {
	var is string
	switch {
	case p.kind != ssmtypes.ParameterTypeString:
		is = "type " + string(p.kind)
	case p.dataType != imageParameter:
		is = "data type " + p.dataType
	default:
		return nil
	}
	return pipeline.Errorf(pipeline.CodeConflict, "write parameter "+name, "the parameter exists in %s with the %s, and AWS makes no parameter for images of it", r.region, is).
		WithHint("Choose another name for the parameter, or delete that one, so that one of the data type %s is made.", imageParameter)
}

// point writes a parameter of the region, if its value is another, and labels its version
// with the build.
func (r regional) point(ctx context.Context, name string, before *parameter, q pipeline.PointRequest) error {
	var tags []ssmtypes.Tag
	for _, t := range r.stack.TagsOf(pipeline.Labels{Pipeline: q.Labels.Pipeline, Stage: q.Labels.Stage}, nil) {
		tags = append(tags, ssmtypes.Tag{Key: t.Key, Value: t.Value})
	}
	in := &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String(q.Images[r.region]), Type: ssmtypes.ParameterTypeString,
		DataType: aws.String(imageParameter), Description: aws.String("image of Penstock"),
	}
	if before == nil {
		in.Tags = tags
		err := r.write(ctx, in, 0, q.Labels.Build)
		if !cloud.Is(err, "ParameterAlreadyExists") {
			return err
		}
		// The answer to an earlier request was lost, or somebody else was faster.
		has, err := r.parameterTags(ctx, name)
		if err != nil {
			return err
		}
		if !(parameter{tags: has}).of(r.stack, q.Labels) {
			return r.foreign(name)
		}
		in.Tags, before = nil, &parameter{tags: has}
	}
	in.Overwrite = aws.Bool(true)
	version := int64(0)
	if before.image == q.Images[r.region] {
		version = before.version
	}
	if err := r.write(ctx, in, version, q.Labels.Build); err != nil || before.of(r.stack, q.Labels) {
		return err
	}
	// Once it says the image: what could not be written is not the stage's, and stays without it.
	_, err := r.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{
		ResourceId: aws.String(name), ResourceType: ssmtypes.ResourceTypeForTaggingParameter, Tags: tags,
	})
	return cloud.Fault(ctx, "write parameter "+name, err)
}

// write makes a version of a parameter, unless there is the one already, and gives it the
// label. Another version follows where that one has as many labels as can be.
func (r regional) write(ctx context.Context, in *ssm.PutParameterInput, version int64, label string) error {
	op := "write parameter " + aws.ToString(in.Name)
	for there := version != 0; ; there = false {
		if !there {
			out, err := r.ssm.PutParameter(ctx, in)
			if cloud.Is(err, "ParameterMaxVersionLimitExceeded") {
				if err := r.unlabel(ctx, aws.ToString(in.Name)); err != nil {
					return err
				}
				out, err = r.ssm.PutParameter(ctx, in)
			}
			if err != nil {
				return cloud.Fault(ctx, op, err)
			}
			version = out.Version
			if err := r.awaitVersion(ctx, in, version); err != nil {
				return err
			}
		}
		if label == "" {
			return nil
		}
		_, err := r.ssm.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{
			Name: in.Name, ParameterVersion: aws.Int64(version), Labels: []string{label},
		})
		if there && cloud.Is(err, "ParameterVersionLabelLimitExceeded") {
			continue
		}
		return cloud.Fault(ctx, op, err)
	}
}

// parameterLimit is how long AWS may look at an image before a parameter says it.
const parameterLimit = 2 * time.Minute

// awaitVersion reads a parameter back until it is at a version that was written. AWS answers
// before it has looked at the image, and drops the version without a word where the account
// can't use the image in the region.
func (r regional) awaitVersion(ctx context.Context, in *ssm.PutParameterInput, version int64) error {
	name, op := aws.ToString(in.Name), "write parameter "+aws.ToString(in.Name)
	err := r.stack.Wait(ctx, "parameter "+name+" in "+r.region, r.parameters, func(ctx context.Context) (poll.Probe, error) {
		out, err := r.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: in.Name})
		if cloud.IsNotFound(err) {
			return poll.Probe{State: "there is none yet"}, nil
		}
		if err != nil {
			return poll.Probe{}, err
		}
		has, value := out.Parameter.Version, aws.ToString(out.Parameter.Value)
		return poll.Probe{Done: has > version || has == version && value == aws.ToString(in.Value), State: value}, nil // also once there is a later one
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "AWS did not accept image %s as its value in %s: %w", aws.ToString(in.Value), r.region, err).
			WithHint("AWS accepts only an image that the account can use in the region. Check that it is there and available, and apply again.")
	}
	return cloud.Fault(ctx, op, err)
}

// unlabel takes the labels of a parameter's oldest versions, so that SSM can remove them.
func (r regional) unlabel(ctx context.Context, name string) error {
	op := "read the history of parameter " + name
	var labelled []ssmtypes.ParameterHistory
	pages := ssm.NewGetParameterHistoryPaginator(r.ssm, &ssm.GetParameterHistoryInput{Name: aws.String(name)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return cloud.Fault(ctx, op, err)
		}
		for _, v := range page.Parameters {
			if len(v.Labels) > 0 {
				labelled = append(labelled, v)
			}
		}
	}
	slices.SortFunc(labelled, func(a, b ssmtypes.ParameterHistory) int { return int(b.Version - a.Version) })
	for _, v := range labelled[min(keptLabels, len(labelled)):] {
		_, err := r.ssm.UnlabelParameterVersion(ctx, &ssm.UnlabelParameterVersionInput{
			Name: aws.String(name), ParameterVersion: aws.Int64(v.Version), Labels: v.Labels,
		})
		if err != nil {
			return cloud.Fault(ctx, "free the oldest versions of parameter "+name, err)
		}
	}
	return nil
}
