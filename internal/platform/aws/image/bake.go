// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const opBake = "bake image"

// cleanLimit is how long the cleaning of an instance may take, or the copy of a source.
const cleanLimit = 10 * time.Minute

// Bake makes an AMI from an image, by commands on a builder. The AMI is recorded by its
// tags from the request that creates it; one that an earlier bake of the same inputs left
// unfinished is finished.
func (m *Images) Bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	switch {
	case r.Tree != "":
		return pipeline.BakedImage{}, noDirectory()
	case r.Image == "":
		return pipeline.BakedImage{}, pipeline.Errorf(pipeline.CodeInvalid, opBake, "the image has no source image, environment or directory")
	}
	found, err := m.imagesOf(ctx, keyOf(r))
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	if len(found) > 0 {
		return m.finish(ctx, r, found[0])
	}
	return m.build(ctx, r)
}

// keyOf is by what another process finds the image of a bake: what it is made from, or else
// the run.
func keyOf(r pipeline.BakeRequest) string { return cmp.Or(r.Inputs, r.Token) }

// imagesOf lists the images of a bake's key that can be used, or will be.
func (m *Images) imagesOf(ctx context.Context, key string) ([]types.Image, error) {
	found, err := m.findOwn(ctx, m.stack.Mine(), stack.Filter("tag:"+stack.TagKey, key))
	return inState(found, types.ImageStateAvailable, types.ImageStatePending), err
}

// finish waits for an image that another process began, and ends its builder.
func (m *Images) finish(ctx context.Context, r pipeline.BakeRequest, image types.Image) (pipeline.BakedImage, error) {
	id := aws.ToString(image.ImageId)
	stack.Logf(r.Log, "image %s of these inputs was begun before", id)
	baked, err := m.await(ctx, id)
	if err != nil {
		return baked, err
	}
	left, err := m.builders(ctx, stack.Filter("tag:"+stack.TagKey, keyOf(r)))
	if err != nil {
		return baked, err
	}
	return baked, m.endBuilders(ctx, left)
}

// Finish waits for the image that an earlier Capture of the run began, and whose instance
// is gone; CodeNotFound where there is none.
func (m *Images) Finish(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	found, err := m.imagesOf(ctx, keyOf(r))
	if err == nil && len(found) == 0 {
		err = pipeline.Errorf(pipeline.CodeNotFound, opBake, "environment %s has no instance", r.Environment)
	}
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	return m.await(ctx, aws.ToString(found[0].ImageId))
}

// Capture makes the image of an instance as it is, but cleaned. It is stopped afterwards. One that
// was stopped by an earlier Capture, which died, has been cleaned.
func (m *Images) Capture(ctx context.Context, from types.Instance, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	id := instance.ID(from)
	if s := from.State.Name; s != types.InstanceStateNameStopping && s != types.InstanceStateNameStopped {
		return m.cleanAndCapture(ctx, id, r)
	}
	return m.capture(ctx, id, r)
}

// cleanAndCapture lists the packages of an instance, cleans it and makes its image.
func (m *Images) cleanAndCapture(ctx context.Context, id string, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	output, err := m.instances.MustPrint(ctx, id, instance.Command{
		What: "cleaning", Stage: r.Labels.Stage, Script: cleanScript(r.Cleanup), Timeout: cleanLimit, Log: r.Log,
	})
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	image, err := m.capture(ctx, id, r)
	packages, _, _ := strings.Cut(output, packagesEnd)
	image.Packages = pipeline.ParsePackages(packages)
	return image, err
}

// capture stops an instance and makes its image.
func (m *Images) capture(ctx context.Context, id string, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	if err := m.instances.Stop(ctx, id); err != nil {
		return pipeline.BakedImage{}, err
	}
	image, err := m.create(ctx, id, r)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	stack.Logf(r.Log, "image %s is being made", image)
	return m.await(ctx, image)
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9 ()./_-]`)

// maxName is the length of the name of an AMI.
const maxName = 128

// imageName names the image of a bake. Its end, which is cut from nothing, is unique in
// the account.
func imageName(m *Images, r pipeline.BakeRequest) string {
	end := " " + notInName.ReplaceAllString(r.Token, "-")
	name := notInName.ReplaceAllString(fmt.Sprintf("%s %s/%s", m.stack.Settings.Stack, r.Labels.Pipeline, r.Name), "-")
	return stack.Cut(name, maxName-len(end)) + end
}

// create asks for the image of an instance. Its name follows from the run: a request whose
// answer was lost is found again by it.
func (m *Images) create(ctx context.Context, id string, r pipeline.BakeRequest) (string, error) {
	name := imageName(m, r)
	tags := m.stack.TagsOf(r.Labels, map[string]string{stack.TagKey: keyOf(r), stack.TagRun: r.Token, "Name": r.Labels.Pipeline + " " + r.Name})
	out, err := m.ec2.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: aws.String(id), Name: aws.String(name), Description: aws.String("made by Penstock in run " + r.Token), TagSpecifications: tagged(tags),
	})
	if err == nil {
		return aws.ToString(out.ImageId), nil
	}
	if cloud.Is(err, "InvalidAMIName.Duplicate") {
		found, listed := m.findOwn(ctx, stack.Filter("name", name), m.stack.Mine(), stack.Filter("tag:"+stack.TagRun, r.Token))
		if listed == nil && len(found) == 1 {
			return aws.ToString(found[0].ImageId), nil
		}
	}
	return "", cloud.Fault(ctx, opBake, err)
}

// tagged are the tags of an image that is made, and of its snapshots.
func tagged(tags []types.Tag) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tags}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags}}
}
