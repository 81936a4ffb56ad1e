// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// kinds are the architectures of types of instances, which never change.
type kinds struct {
	mu    sync.Mutex
	known map[string][]string
}

// architectures returns the architectures of a type of instances; CodeInvalid where there is
// no such type in the region.
func (i *Instances) architectures(ctx context.Context, kind string) ([]string, error) {
	i.kinds.mu.Lock()
	defer i.kinds.mu.Unlock()
	if of, ok := i.kinds.known[kind]; ok {
		return of, nil
	}
	// By a filter: one newer than what this program knows is no value of the parameter.
	out, err := i.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{Filters: []types.Filter{stack.Filter("instance-type", kind)}})
	if err == nil && len(out.InstanceTypes) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opLaunch, "there is no instance type %q in region %s", kind, i.stack.Config.Region).
			WithHint("Correct instance_type.")
	}
	if err != nil {
		return nil, cloud.Fault(ctx, "read instance type "+kind, err)
	}
	var of []string
	for _, one := range out.InstanceTypes {
		if one.ProcessorInfo != nil {
			for _, a := range one.ProcessorInfo.SupportedArchitectures {
				of = append(of, string(a))
			}
		}
	}
	if i.kinds.known == nil {
		i.kinds.known = map[string][]string{}
	}
	i.kinds.known[kind] = of
	return of, nil
}

// Fits refuses, with CodeInvalid, an image that instances of a type can't start from, and a
// root volume that is too small for it. An empty type is the installation's. An image that
// AWS does not list is no error.
func (i *Instances) Fits(ctx context.Context, image, kind string, volume *pipeline.Volume) error {
	_, err := i.LaunchRoot(ctx, image, kind, volume)
	if pipeline.CodeOf(err) == pipeline.CodeNotFound {
		return nil
	}
	return err
}

// LaunchRoot returns the root volume of an image as RootVolume does, and refuses what Fits
// refuses.
func (i *Instances) LaunchRoot(ctx context.Context, image, kind string, volume *pipeline.Volume) (RootVolume, error) {
	root, err := i.RootVolume(ctx, image)
	if err != nil {
		return root, err
	}
	kind = cmp.Or(kind, i.stack.Settings.InstanceType)
	can, err := i.architectures(ctx, kind)
	if err != nil {
		return root, err
	}
	if is := string(root.Of.Architecture); is != "" && len(can) > 0 && !slices.Contains(can, is) {
		return root, pipeline.Errorf(pipeline.CodeInvalid, opLaunch, "image %s is of architecture %s, and instance type %q has %s", image, is, kind, strings.Join(can, ", ")).
			WithHint("Set instance_type to a type of architecture %s, or take an image of architecture %s.", is, can[len(can)-1])
	}
	if has := aws.ToInt32(root.Size); volume != nil && volume.Size > 0 && int32(volume.Size) < has {
		return root, pipeline.Errorf(pipeline.CodeInvalid, opLaunch, "volume.size is %d GiB, and the root volume of image %s has %d", volume.Size, image, has).
			WithHint("Set volume.size to %d at least, or leave it out.", has)
	}
	return root, nil
}
