// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package image bakes AMIs, publishes them to other regions and accounts, and removes them.
// Everything is tagged when it is created, and found again by its tags: there is no other
// record. It knows no fleets.
package image

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// imageLimit is how long AWS may take to make an image: large volumes take long,
// and there is nothing to gain by giving up early.
const imageLimit = 2 * time.Hour

// Images are the images of an installation. They may be used concurrently.
type Images struct {
	stack     *stack.Stack
	instances *instance.Instances
	ec2       *ec2.Client
	resolved  *cloud.Batcher[string, string] // by name
	*names
	limits
	asked struct {
		sync.Mutex
		shareable map[string]bool // images that others may launch, by ID: the keys of an image stay
	}
}

// New returns the images of an installation.
func New(s *stack.Stack, instances *instance.Instances) *Images {
	m := &Images{stack: s, instances: instances, ec2: ec2.NewFromConfig(s.Config), limits: limits{imageLimit, reportLimit, parameterLimit}}
	m.resolved, m.names = cloud.NewBatcher(m.fetchParameters), newNames(m)
	m.asked.shareable = map[string]bool{}
	return m
}

// noDirectory is the error for an image that is to be made of a directory.
func noDirectory() error {
	return pipeline.Errorf(pipeline.CodeInvalid, "resolve source image", "on AWS an image can't be made from a directory").
		WithHint("Let a step copy the directory: $PENSTOCK_SOURCE is the checkout.").
		WithAdvice(pipeline.Set("from.ami", "…", ""), pipeline.Set("from.ssm_parameter", "…", ""), pipeline.Set("from.filter", "…", ""))
}

// Resolve returns the AMI that a bake starts from.
func (m *Images) Resolve(ctx context.Context, from pipeline.ImageFrom) (string, error) {
	switch {
	case from.Directory != "":
		return "", noDirectory()
	case from.SSMParameter != "":
		id, ok, err := m.resolved.Get(ctx, from.SSMParameter)
		if err == nil && !ok {
			err = pipeline.Errorf(pipeline.CodeNotFound, "resolve source image",
				"there is no SSM parameter %s in region %s", from.SSMParameter, m.stack.Config.Region).WithHint("Correct from.ssm_parameter.")
		}
		return id, err
	case from.Filter != nil:
		return m.newest(ctx, *from.Filter)
	}
	return cmp.Or(from.AMI, from.Image), nil
}

// maxParameters is how many parameters SSM returns in one answer.
const maxParameters = 10

// fetchParameters reads parameters by name; those that don't exist are left out.
func (m *Images) fetchParameters(ctx context.Context, names []string) (map[string]string, error) {
	return readParameters(ctx, m.home(), names)
}

// newest returns the newest image that a filter selects.
func (m *Images) newest(ctx context.Context, f pipeline.ImageFilter) (string, error) {
	const op = "resolve source image"
	filters := []types.Filter{stack.Filter("name", f.Name), stack.Filter("state", "available")}
	if f.Architecture != "" {
		filters = append(filters, stack.Filter("architecture", f.Architecture))
	}
	list, err := m.find(ctx, f.Owners, filters...)
	if err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	if len(list) == 0 {
		return "", pipeline.Errorf(pipeline.CodeNotFound, op, "no image of %v in region %s has a name like %q", f.Owners, m.stack.Config.Region, f.Name).
			WithHint("Correct from.filter.")
	}
	newest := slices.MaxFunc(list, func(a, b types.Image) int {
		return cmp.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	})
	return aws.ToString(newest.ImageId), nil
}

func (m *Images) find(ctx context.Context, owners []string, filters ...types.Filter) ([]types.Image, error) {
	return instance.DescribeImages(ctx, m.ec2, &ec2.DescribeImagesInput{Owners: owners, Filters: filters})
}

// findOwn lists images of the account.
func (m *Images) findOwn(ctx context.Context, filters ...types.Filter) ([]types.Image, error) {
	return m.find(ctx, []string{"self"}, filters...)
}

// inState selects images by state.
func inState(list []types.Image, states ...types.ImageState) []types.Image {
	var found []types.Image
	for _, i := range list {
		if slices.Contains(states, i.State) {
			found = append(found, i)
		}
	}
	return found
}

// List lists the images of this installation, also those that are being made. A copy is none:
// it is of the pipeline of another region, whose stack may have the same name.
func (m *Images) List(ctx context.Context) ([]pipeline.BakedImage, error) {
	list, err := m.findOwn(ctx, m.stack.Mine())
	if err != nil {
		return nil, err
	}
	images := make([]pipeline.BakedImage, 0, len(list))
	for _, image := range list {
		if originOf(image) == aws.ToString(image.ImageId) {
			images = append(images, describe(image))
		}
	}
	return images, nil
}

// Get returns an image that exists.
func (m *Images) Get(ctx context.Context, id string) (pipeline.BakedImage, error) {
	image, _, err := m.instances.Image(ctx, id)
	return describe(image), err
}

func describe(i types.Image) pipeline.BakedImage {
	b := pipeline.BakedImage{ID: aws.ToString(i.ImageId)}
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil {
			b.Size += int64(aws.ToInt32(d.Ebs.VolumeSize)) << 30
		}
	}
	return b
}

// await waits until an image can be used.
func (m *Images) await(ctx context.Context, id string) (baked pipeline.BakedImage, err error) {
	err = m.stack.Wait(ctx, "image "+id, m.images, func(ctx context.Context) (poll.Probe, error) {
		i, ok, err := m.instances.Image(ctx, id)
		if err != nil || !ok { // AWS may not list a new image at once
			return poll.Probe{State: "not listed yet"}, err
		}
		switch i.State {
		case types.ImageStateAvailable:
			baked = describe(i)
			return poll.Probe{Done: true}, nil
		case types.ImageStatePending:
			return poll.Probe{State: "pending"}, nil
		}
		return poll.Probe{}, pipeline.Errorf(pipeline.CodeFailed, opBake, "image %s is %s: %s", id, i.State, reasonOf(i))
	})
	return baked, cloud.Fault(ctx, opBake, err)
}

// reasonOf says why an image is as it is.
func reasonOf(i types.Image) string {
	if i.StateReason == nil {
		return "AWS gives no reason"
	}
	return aws.ToString(i.StateReason.Message)
}

// Orphans lists the bakes of which a builder is left that makes nothing, and the images
// that have been deregistered and whose snapshots are left: they carry the image's ID
// from when its removal began.
func (m *Images) Orphans(ctx context.Context) (bakes, images []string, err error) {
	left, err := m.builders(ctx)
	if err != nil {
		return nil, nil, err
	}
	there, err := m.findOwn(ctx, m.stack.Mine())
	if err != nil {
		return nil, nil, err
	}
	busy, known := map[string]bool{}, map[string]bool{}
	for _, i := range there {
		run := stack.Tag(i.Tags, stack.TagRun)
		busy[run] = busy[run] || i.State == types.ImageStatePending
		known[originOf(i)] = true // also that of a copy from another region
	}
	for _, i := range left {
		if token := stack.Tag(i.Tags, stack.TagRun); !busy[token] {
			bakes = append(bakes, token)
		}
	}
	marked, err := m.home().snapshots(ctx, stack.Filter("tag-key", tagOf))
	for _, s := range marked {
		if of := stack.Tag(s.Tags, tagOf); !known[of] {
			images = append(images, of)
		}
	}
	slices.Sort(images)
	return bakes, slices.Compact(images), err
}
