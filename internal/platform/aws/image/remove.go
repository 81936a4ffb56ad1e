// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Remove removes an image: its copies in other regions first, so that what
// is left after a failure is found again by the image's own tags. One that is used anywhere
// stays everywhere. The regions are asked side by side.
func (m *Images) Remove(ctx context.Context, id string) error {
	found, err := m.findOwn(ctx, stack.Filter("image-id", id))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return m.home().removeSnapshots(ctx, id)
	}
	image := found[0]
	if err := m.wanted(ctx, image); err != nil {
		return err
	}
	regions := listOf(stack.Tag(image.Tags, tagRegions))
	places := append([]string{m.stack.Config.Region}, regions...)
	copies := make([][]types.Image, len(places))
	err = sideBySide(places, func(i int, region string) (err error) {
		if i == 0 {
			return m.home().unused(ctx, image)
		}
		copies[i], err = m.in(region).unusedCopies(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.clearCopies(ctx, id, regions, copies[1:]); err != nil {
		return err
	}
	return m.home().remove(ctx, image)
}

// wanted is CodeConflict for an image that others may launch on purpose.
func (m *Images) wanted(ctx context.Context, image types.Image) error {
	if stack.Tag(image.Tags, tagKeepShared) != "true" {
		return nil
	}
	id := aws.ToString(image.ImageId)
	with, err := m.home().permissions(ctx, id)
	if pipeline.IsNotFound(err) { // another one removes it, too
		return nil
	}
	if err != nil || len(with) == 0 {
		return err
	}
	return pipeline.Errorf(pipeline.CodeConflict, "remove image "+id, "it is shared with %s, and keep_shared is set", strings.Join(stack.Sorted(with), ", ")).
		WithHint("Take the sharing back, or keep_shared, first.")
}

// removeCopies removes the copies of an image in other regions, if none is used in any of them.
func (m *Images) removeCopies(ctx context.Context, image types.Image, regions []string) error {
	if len(regions) == 0 {
		return nil
	}
	if err := m.home().countRemoval(ctx, image); err != nil {
		return err
	}
	id := aws.ToString(image.ImageId)
	copies := make([][]types.Image, len(regions))
	err := sideBySide(regions, func(i int, region string) (err error) {
		copies[i], err = m.in(region).unusedCopies(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	return m.clearCopies(ctx, id, regions, copies)
}

// countRemoval counts that copies of an image are removed, before any is: AWS gives who asks for
// the same copy again the ID of the one that is gone.
func (r regional) countRemoval(ctx context.Context, image types.Image) error {
	count, _ := strconv.Atoi(stack.Tag(image.Tags, tagRemovals))
	return r.tag(ctx, opPublish, aws.ToString(image.ImageId), map[string]string{tagRemovals: strconv.Itoa(count + 1)})
}

// removeOthers removes copies of an image in the region that another one has replaced. One that is
// used stays, until the next publication of the image, or its end.
func (r regional) removeOthers(ctx context.Context, home regional, image types.Image, others []types.Image, log io.Writer) error {
	for _, c := range others {
		err := r.unused(ctx, c)
		if pipeline.CodeOf(err) == pipeline.CodeConflict {
			stack.Logf(log, "image %s in %s, with another key, stays while it is used", aws.ToString(c.ImageId), r.region)
			continue
		}
		if err == nil {
			err = home.countRemoval(ctx, image)
		}
		if err == nil {
			err = r.remove(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unusedCopies lists the copies of an image in the region. It returns CodeConflict if one is
// used.
func (r regional) unusedCopies(ctx context.Context, id string) ([]types.Image, error) {
	copies, err := r.copiesOf(ctx, id)
	for _, c := range copies {
		if err == nil {
			err = r.unused(ctx, c)
		}
	}
	return copies, err
}

// clearCopies removes copies of an image, by region, and what removals that were interrupted
// left of others.
func (m *Images) clearCopies(ctx context.Context, id string, regions []string, copies [][]types.Image) error {
	return sideBySide(regions, func(i int, region string) error {
		there := m.in(region)
		for _, c := range copies[i] {
			if err := there.remove(ctx, c); err != nil {
				return err
			}
		}
		return there.removeSnapshots(ctx, id)
	})
}

// sideBySide does the same in several regions at the same time, and returns the errors of all of
// them.
func sideBySide(regions []string, do func(i int, region string) error) error {
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { errs[i] = do(i, region) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// remove deregisters an image and deletes its snapshots, in this order: while it is
// registered AWS keeps the snapshots, and a snapshot without its image is found again
// by its tags. It also withdraws the rights to launch the image and to use its key.
func (r regional) remove(ctx context.Context, image types.Image) error {
	id := aws.ToString(image.ImageId)
	op := "remove image " + id
	if err := r.share(ctx, image, pipeline.Publication{}, nil); pipeline.IsNotFound(err) { // another one removes it, too
		return r.removeSnapshots(ctx, originOf(image))
	} else if err != nil {
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
	if err := stack.SetTags(ctx, r.ec2, op, snapshots, map[string]string{tagOf: originOf(image)}); err != nil && !pipeline.IsNotFound(err) { // another removal tags all before it deletes one
		return err
	}
	if protected(image) {
		if _, err := r.ec2.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(id)}); err != nil && !cloud.IsNotFound(err) {
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
