// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Image reads the image that instances can be launched from. One that its owner has
// deprecated can be used for as long as it exists; AWS may not list a new one at once.
func (i *Instances) Image(ctx context.Context, id string) (image types.Image, ok bool, err error) {
	return i.images.Get(ctx, id)
}

func (i *Instances) fetchImages(ctx context.Context, ids []string) (map[string]types.Image, error) {
	list, err := DescribeImages(ctx, i.ec2, &ec2.DescribeImagesInput{
		Filters: []types.Filter{stack.Filter("image-id", ids...)}, IncludeDeprecated: aws.Bool(true),
	})
	found := map[string]types.Image{}
	for _, one := range list {
		found[aws.ToString(one.ImageId)] = one
	}
	return found, err
}

// DescribeImages lists images, all pages of them.
func DescribeImages(ctx context.Context, client *ec2.Client, in *ec2.DescribeImagesInput) ([]types.Image, error) {
	var list []types.Image
	pages := ec2.NewDescribeImagesPaginator(client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list images", err)
		}
		list = append(list, page.Images...)
	}
	return list, nil
}

// RootVolume is the root volume of an image.
type RootVolume struct {
	Device string
	Size   *int32 // GiB; nil where AWS does not say
	Of     types.Image
}

// RootVolume returns the root volume of an image; CodeNotFound where there is no such image.
func (i *Instances) RootVolume(ctx context.Context, image string) (RootVolume, error) {
	of, ok, err := i.images.Get(ctx, image)
	switch {
	case err != nil:
		return RootVolume{}, err
	case !ok:
		return RootVolume{}, pipeline.Errorf(pipeline.CodeNotFound, "launch instance",
			"there is no image %s in region %s, or this account may not use it", image, i.stack.Config.Region).
			WithHint("Bake it again, or correct its ID.")
	}
	root := RootVolume{Of: of, Device: cmp.Or(aws.ToString(of.RootDeviceName), "/dev/xvda")}
	for _, d := range of.BlockDeviceMappings {
		if d.Ebs != nil && (aws.ToString(d.DeviceName) == root.Device || len(of.BlockDeviceMappings) == 1) {
			root.Size = d.Ebs.VolumeSize
		}
	}
	return root, nil
}

// Snapshots returns the IDs of an image's snapshots, sorted.
func Snapshots(image types.Image) []string {
	var ids []string
	for _, d := range image.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) != "" {
			ids = append(ids, aws.ToString(d.Ebs.SnapshotId))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
