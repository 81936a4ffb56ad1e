// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Remove removes an image: its copies in other regions first, so that what is left after a failure is found again by the image's own tags. One that
// is needed anywhere stays everywhere.
func (m *Images) Remove(ctx context.Context, id string) error {
	found, err := m.findOwn(ctx, stack.Filter("image-id", id))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return m.home().removeSnapshots(ctx, id)
	}
	image := found[0]
	if err := m.unneeded(ctx, image); err != nil {
		return err
	}
	if err := m.removeCopies(ctx, id, listOf(stack.Tag(image.Tags, tagRegions))); err != nil {
		return err
	}
	return m.home().remove(ctx, image)
}

// unneeded is CodeConflict for an image that is used, or that others may launch on
// purpose.
func (m *Images) unneeded(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	if stack.Tag(image.Tags, tagKeepShared) == "true" {
		with, err := m.home().permissions(ctx, id)
		if pipeline.IsNotFound(err) { // another one removes it, too
			return nil
		}
		if err != nil {
			return err
		}
		if len(with) > 0 {
			return pipeline.Errorf(pipeline.CodeConflict, "remove image "+id,
				"it is shared with %s, and keep_shared is set", strings.Join(stack.Sorted(with), ", ")).
				WithHint("Take the sharing back, or keep_shared, first.")
		}
	}
	return m.home().unused(ctx, image)
}

// removeCopies removes the copies of an image in other regions, if none is used.
func (m *Images) removeCopies(ctx context.Context, id string, regions []string) error {
	copies := map[string][]types.Image{}
	for _, region := range regions {
		there := m.in(region)
		var err error
		if copies[region], err = there.copiesOf(ctx, id); err != nil {
			return err
		}
		for _, c := range copies[region] {
			if err := there.unused(ctx, c); err != nil {
				return err
			}
		}
	}
	for _, region := range regions {
		there := m.in(region)
		for _, c := range copies[region] {
			if err := there.remove(ctx, c); err != nil {
				return err
			}
		}
		if err := there.removeSnapshots(ctx, id); err != nil { // of copies that failed, or whose removal was interrupted
			return err
		}
	}
	return nil
}

// unused is CodeConflict for an image that an instance was launched from, that a launch
// template or an Auto Scaling group would launch, or that is not made yet.
func (r regional) unused(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	op := "remove image " + id
	if image.State == types.ImageStatePending { // AWS does not list all of its snapshots
		return pipeline.Errorf(pipeline.CodeConflict, op, "its copy in %s is not finished", r.region).WithHint("Wait until it is available.")
	}
	var by []string
	of := stack.Filter("image-id", id)
	instances := ec2.NewDescribeInstancesPaginator(r.ec2, &ec2.DescribeInstancesInput{Filters: []types.Filter{of, instance.Alive}})
	for instances.HasMorePages() {
		page, err := instances.NextPage(ctx)
		if err != nil {
			return cloud.Fault(ctx, op, err)
		}
		for _, reservation := range page.Reservations {
			by = append(by, instance.IDs(reservation.Instances)...)
		}
	}
	templates, err := r.versionsOf(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		Versions: []string{"$Latest", "$Default"}, Filters: []types.Filter{of},
	})
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	by = append(by, templates...)
	scaled, err := r.scaledFrom(ctx, id)
	if err != nil {
		return cloud.Fault(ctx, op, err)
	}
	by = append(by, scaled...)
	if len(by) == 0 {
		return nil
	}
	slices.Sort(by)
	return pipeline.Errorf(pipeline.CodeConflict, op, "it is used by %s in %s", strings.Join(slices.Compact(by), ", "), r.region).
		WithHint("Destroy the environment, or move it to another build, first.")
}

// versionsOf names the launch templates of which there are such versions.
func (r regional) versionsOf(ctx context.Context, in *ec2.DescribeLaunchTemplateVersionsInput) (names []string, err error) {
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(r.ec2, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range page.LaunchTemplateVersions {
			names = append(names, aws.ToString(v.LaunchTemplateName))
		}
	}
	return names, nil
}

// scaledFrom names the launch templates of Auto Scaling groups that have a version of
// their own, which may be neither the newest nor the default one, with the image.
func (r regional) scaledFrom(ctx context.Context, id string) (names []string, err error) {
	versions := map[string][]string{} // by template
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(r.groups, &autoscaling.DescribeAutoScalingGroupsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.AutoScalingGroups {
			for _, t := range templatesOf(g) {
				if v := aws.ToString(t.Version); v != "" && !strings.HasPrefix(v, "$") {
					template := aws.ToString(t.LaunchTemplateId)
					versions[template] = append(versions[template], v)
				}
			}
		}
	}
	for _, template := range stack.Sorted(versions) {
		slices.Sort(versions[template])
		found, err := r.versionsOf(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
			LaunchTemplateId: aws.String(template), Versions: slices.Compact(versions[template]), Filters: []types.Filter{stack.Filter("image-id", id)},
		})
		if err != nil && !cloud.IsNotFound(err) { // a group may outlive its template
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}

// templatesOf returns the launch templates of an Auto Scaling group.
func templatesOf(g groups.AutoScalingGroup) (list []groups.LaunchTemplateSpecification) {
	if g.LaunchTemplate != nil {
		list = append(list, *g.LaunchTemplate)
	}
	if g.MixedInstancesPolicy == nil || g.MixedInstancesPolicy.LaunchTemplate == nil {
		return list
	}
	mixed := g.MixedInstancesPolicy.LaunchTemplate
	if mixed.LaunchTemplateSpecification != nil {
		list = append(list, *mixed.LaunchTemplateSpecification)
	}
	for _, o := range mixed.Overrides {
		if o.LaunchTemplateSpecification != nil {
			list = append(list, *o.LaunchTemplateSpecification)
		}
	}
	return list
}

// remove deregisters an image and deletes its snapshots, in this order: while it is
// registered AWS keeps the snapshots, and a snapshot without its image is found again
// by its tags. It also withdraws the rights to launch the image and to use its key.
func (r regional) remove(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	op := "remove image " + id
	if err := r.share(ctx, image, pipeline.Publication{}, nil); err != nil {
		return err
	}
	snapshots := instance.Snapshots(image)
	if run := stack.Tag(image.Tags, stack.TagRun); run != "" && originOf(image) == id { // AWS does not list those of an image that failed
		made, err := r.snapshots(ctx, stack.Filter("tag:"+stack.TagRun, run), stack.Filter("tag:"+stack.TagKey, stack.Tag(image.Tags, stack.TagKey)))
		if err != nil {
			return err
		}
		for _, s := range made {
			snapshots = append(snapshots, aws.ToString(s.SnapshotId))
		}
		slices.Sort(snapshots)
		snapshots = slices.Compact(snapshots)
	}
	if err := stack.SetTags(ctx, r.ec2, op, snapshots, map[string]string{tagOf: originOf(image)}); err != nil {
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
	for _, s := range snapshots {
		if err := r.removeSnapshot(ctx, op, s); err != nil {
			return err
		}
	}
	return nil
}

// removeSnapshots deletes the snapshots that an interrupted removal left.
func (r regional) removeSnapshots(ctx context.Context, id string) error {
	marked, err := r.snapshots(ctx, stack.Filter("tag:"+tagOf, id))
	if err != nil {
		return err
	}
	for _, s := range marked {
		if err := r.removeSnapshot(ctx, "remove image "+id, aws.ToString(s.SnapshotId)); err != nil {
			return err
		}
	}
	return nil
}

// snapshots lists the snapshots of this installation that match all filters.
func (r regional) snapshots(ctx context.Context, filters ...types.Filter) ([]types.Snapshot, error) {
	var list []types.Snapshot
	pages := ec2.NewDescribeSnapshotsPaginator(r.ec2, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, MaxResults: aws.Int32(1000), Filters: append(filters, r.stack.Mine()),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list snapshots in "+r.region, err)
		}
		list = append(list, page.Snapshots...)
	}
	return list, nil
}

func (r regional) removeSnapshot(ctx context.Context, op, id string) error {
	_, err := r.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	if cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, op, err)
}

// originOf returns the image that a copy is of; an image that is none is its own.
func originOf(image types.Image) string {
	if of := stack.Tag(image.Tags, tagOf); of != "" {
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
