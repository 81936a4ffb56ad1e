// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// RemoveImage removes an image: its copies in other regions and the parameter first,
// so that what is left after a failure is found again by the image's own tags.
func (p *Platform) RemoveImage(ctx context.Context, id string) error {
	found, err := p.findImages(ctx, []string{"self"}, filter("image-id", id))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return p.home().removeSnapshots(ctx, id)
	}
	image := found[0]
	if err := p.unneeded(ctx, image); err != nil {
		return err
	}
	if err := p.removeCopies(ctx, id, listOf(tag(image.Tags, tagRegions))); err != nil {
		return err
	}
	if name := tag(image.Tags, tagParameter); name != "" {
		if err := p.home().removeParameter(ctx, name, id); err != nil {
			return err
		}
	}
	return p.home().remove(ctx, image)
}

// unneeded is CodeConflict for an image that is used, or that others may launch on
// purpose.
func (p *Platform) unneeded(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	if tag(image.Tags, tagKeepShared) == "true" {
		with, err := p.home().permissions(ctx, id)
		if err != nil {
			return err
		}
		if len(with) > 0 {
			return pipeline.Errorf(pipeline.CodeConflict, "remove image "+id, "it is shared with %s, and keep_shared is set", strings.Join(sortedKeys(with), ", ")).
				WithHint("Take the sharing back, or keep_shared, first.")
		}
	}
	return p.home().unused(ctx, id)
}

// removeCopies removes the copies of an image in other regions, if none is used.
func (p *Platform) removeCopies(ctx context.Context, id string, regions []string) error {
	for _, region := range regions {
		there := p.in(region)
		copies, err := there.copiesOf(ctx, id)
		if err != nil {
			return err
		}
		for _, c := range copies {
			if err := there.unused(ctx, aws.ToString(c.ImageId)); err != nil {
				return err
			}
			if name := tag(c.Tags, tagParameter); name != "" {
				if err := there.removeParameter(ctx, name, aws.ToString(c.ImageId)); err != nil {
					return err
				}
			}
			if err := there.remove(ctx, c); err != nil {
				return err
			}
		}
		if len(copies) == 0 {
			if err := there.removeSnapshots(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// unused is CodeConflict for an image that an instance was launched from, or that a
// launch template would launch.
func (r regional) unused(ctx context.Context, id string) error {
	op := "remove image " + id
	var by []string
	out, err := r.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("image-id", id), alive}})
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	for _, reservation := range out.Reservations {
		by = append(by, idsOf(reservation.Instances)...)
	}
	versions, err := r.ec2.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		Versions: []string{"$Latest", "$Default"}, Filters: []types.Filter{filter("image-id", id)},
	})
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	for _, v := range versions.LaunchTemplateVersions {
		by = append(by, aws.ToString(v.LaunchTemplateName))
	}
	if len(by) == 0 {
		return nil
	}
	slices.Sort(by)
	return pipeline.Errorf(pipeline.CodeConflict, op, "it is used by %s in %s", strings.Join(slices.Compact(by), ", "), r.region).
		WithHint("Destroy the environment, or move it to another build, first.")
}

// remove deregisters an image and deletes its snapshots, in this order: while it is
// registered AWS keeps the snapshots, and a snapshot without its image is found again
// by its tags.
func (r regional) remove(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	op := "remove image " + id
	if err := r.tag(ctx, op, snapshotsOf(image), map[string]string{tagOf: originOf(image)}); err != nil {
		return err
	}
	if protected(image) {
		if _, err := r.ec2.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(id)}); err != nil {
			return cloud.Fault(ctx, op, err)
		}
	}
	if _, err := r.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)}); err != nil && !cloud.IsNotFound(err) {
		return cloud.Fault(ctx, op, err)
	}
	for _, s := range snapshotsOf(image) {
		if err := r.removeSnapshot(ctx, op, s); err != nil {
			return err
		}
	}
	return nil
}

// removeSnapshots deletes the snapshots that an interrupted removal left.
func (r regional) removeSnapshots(ctx context.Context, id string) error {
	op := "remove image " + id
	marked, err := r.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("tag:"+tagOf, id)}})
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	for _, s := range marked.Snapshots {
		if err := r.removeSnapshot(ctx, op, aws.ToString(s.SnapshotId)); err != nil {
			return err
		}
	}
	return nil
}

func (r regional) removeSnapshot(ctx context.Context, op, id string) error {
	_, err := r.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, op, err)
}

// snapshotsOf lists an image's snapshots.
func snapshotsOf(image types.Image) []string {
	var ids []string
	for _, d := range image.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) != "" {
			ids = append(ids, aws.ToString(d.Ebs.SnapshotId))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// originOf gives the image that a copy is of; an image that is none is its own.
func originOf(image types.Image) string {
	if of := tag(image.Tags, tagOf); of != "" {
		return of
	}
	return aws.ToString(image.ImageId)
}

func protected(image types.Image) bool {
	state := aws.ToString(image.DeregistrationProtection)
	return state != "" && state != "disabled"
}

// listOf splits a list in a tag.
func listOf(text string) []string {
	return slices.DeleteFunc(strings.Split(text, " "), func(s string) bool { return s == "" })
}
