// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const opPublish = "publish image"

// The tags of an image that is published. They are the record of where it is: they
// are written before a copy is made, and shortened after one is gone.
const (
	tagOf         = "penstock:image"       // of a copy and of its snapshots: the image that it is of
	tagKMSKey     = "penstock:kms-key"     // of a copy: the key that was asked for; none for the account's default
	tagRegions    = "penstock:regions"     // with copies
	tagKeepShared = "penstock:keep-shared" // true: not removed while others may launch it
	tagRemovals   = "penstock:removals"    // how often copies were removed since it was made
)

// Check refuses a baked image that can't be published: CodeInvalid, with the argument and
// its value.
func (m *Images) Check(r pipeline.ImageDefinition) error {
	if r.Publish == nil {
		return nil
	}
	if r.Publish.Shared() && managed(r.KMSKey) {
		return pipeline.Errorf(pipeline.CodeInvalid, "check image "+r.Name, "publish.share_with: an image that is encrypted with %s can't be shared", keyName(r.KMSKey)).
			WithHint("Set kms_key to a key of this account that the others may use.")
	}
	return m.CheckPublication(*r.Publish)
}

// parameterName is what the name of a channel must look like: the path of a parameter, or the
// last part of one.
var parameterName = regexp.MustCompile(`^(/?[A-Za-z0-9_.-]+|(/[A-Za-z0-9_.-]+)+)$`)

// CheckPublication implements pipeline.Images. Whether the image itself has a key that others
// may use, CheckTargets finds out.
func (m *Images) CheckPublication(w pipeline.Publication) error {
	invalid := func(hint, format string, args ...any) error {
		return pipeline.Errorf(pipeline.CodeInvalid, "check publication", format, args...).WithHint("%s", hint)
	}
	if w.Channel != "" && !parameterName.MatchString(w.Channel) {
		return invalid("It is the path of an SSM parameter, which begins with a slash, or a name without slashes.", "publish has the channel %q", w.Channel)
	}
	if slices.Contains(w.Regions, m.stack.Config.Region) {
		return invalid("Remove it: the image is baked there.", "publish.regions has the provider's own region, %s", m.stack.Config.Region)
	}
	if !w.Shared() {
		return nil
	}
	for _, region := range w.Regions {
		if key := w.KMSKeys[region]; managed(key) {
			return invalid("Set it to a key of this account in that region.",
				"publish.kms_keys has no key of this account for %s, and a copy that is encrypted with %s can't be shared", region, keyName(key))
		}
	}
	return nil
}

// Publish copies and shares an image, as a publication says and as targets need it, and takes
// back what an earlier one did and this one does not. It returns the IDs by region, the image's own included.
func (m *Images) Publish(ctx context.Context, r pipeline.PublishRequest) (map[string]string, error) {
	found, err := m.findOwn(ctx, stack.Filter("image-id", r.Image))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, opPublish, "image %s does not exist in %s", r.Image, m.stack.Config.Region).
			WithHint("The next apply bakes it again.")
	}
	image, home := found[0], m.stack.Config.Region
	to, err := m.reachOf(opPublish, r.Publication, r.Targets)
	if err != nil {
		return nil, err
	}
	if err := m.shareable(ctx, opPublish, image, to.guests); err != nil {
		return nil, err
	}
	given := r.Publication
	r.Publication = to.extended(given, home)
	want := r.Publication
	before := listOf(stack.Tag(image.Tags, tagRegions))
	all := append(slices.Clone(before), want.Regions...)
	slices.Sort(all)
	keep := map[bool]string{true: "true", false: "false"}[want.KeepShared]
	record := map[string]string{tagRegions: strings.Join(slices.Compact(all), " "), tagKeepShared: keep}
	if err := m.home().tag(ctx, opPublish, r.Image, record); err != nil {
		return nil, err
	}
	images, others, err := m.copies(ctx, image, r)
	if err != nil {
		return nil, err
	}
	images[home] = image
	err = sideBySide(stack.Sorted(images), func(_ int, region string) error {
		there, what := m.in(region), to.in(region, home, given)
		for _, c := range others[region] {
			if err := there.unshare(ctx, c, what); err != nil {
				return err
			}
		}
		return errors.Join(there.share(ctx, images[region], what, r.Log), there.guard(ctx, images[region], what))
	})
	if err != nil {
		return nil, err
	}
	err = sideBySide(stack.Sorted(others), func(_ int, region string) error {
		return m.in(region).removeOthers(ctx, m.home(), image, others[region], r.Log)
	})
	if err != nil {
		return nil, err
	}
	gone := slices.DeleteFunc(before, func(region string) bool { return slices.Contains(want.Regions, region) })
	if err := m.removeCopies(ctx, image, gone); err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for region, image := range images {
		ids[region] = aws.ToString(image.ImageId)
	}
	return ids, m.home().tag(ctx, opPublish, r.Image, map[string]string{tagRegions: strings.Join(want.Regions, " ")})
}

// copies returns the copies of an image by region, made where they are not there, all at the same
// time; and others with another key, which they replace.
func (m *Images) copies(ctx context.Context, image types.Image, r pipeline.PublishRequest) (copies map[string]types.Image, others map[string][]types.Image, err error) {
	regions := r.Publication.Regions
	made, rest := make([]types.Image, len(regions)), make([][]types.Image, len(regions))
	err = sideBySide(regions, func(i int, region string) (err error) {
		made[i], rest[i], err = m.in(region).copy(ctx, image, r)
		return err
	})
	copies, others = map[string]types.Image{}, map[string][]types.Image{}
	for i, region := range regions {
		copies[region], others[region] = made[i], rest[i]
	}
	return copies, others, err
}

// copiesOf lists the copies of an image.
func (r regional) copiesOf(ctx context.Context, id string) ([]types.Image, error) {
	out, err := r.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: []types.Filter{r.stack.Mine(), stack.Filter("tag:"+tagOf, id)},
	})
	if err != nil {
		return nil, cloud.Fault(ctx, "list images in "+r.region, err)
	}
	return out.Images, nil
}

// copy returns the copy of an image in the region, with the key that a publication asks for, and
// the copies with another key. AWS encrypts an image with another key only as it copies it.
func (r regional) copy(ctx context.Context, image types.Image, q pipeline.PublishRequest) (made types.Image, others []types.Image, err error) {
	op := "copy image " + q.Image + " to " + r.region
	key, err := r.keyARN(ctx, op, q.Publication.KMSKeys[r.region])
	if err != nil {
		return made, nil, err
	}
	there, err := r.copiesOf(ctx, q.Image)
	if err != nil {
		return made, nil, err
	}
	var failed []types.Image
	for _, c := range there {
		switch {
		case c.State != types.ImageStateAvailable && c.State != types.ImageStatePending:
			failed = append(failed, c)
		case !sameKey(stack.Tag(c.Tags, tagKMSKey), key):
			others = append(others, c)
		case made.State != types.ImageStateAvailable:
			made = c
		}
	}
	if made.State == types.ImageStateAvailable {
		return made, others, nil
	}
	id := aws.ToString(made.ImageId)
	if id == "" {
		if id, err = r.makeCopy(ctx, op, image, key, q, failed, others); err != nil {
			return made, others, err
		}
	}
	made, err = r.await(ctx, id, q.Publication.CopyWithin)
	return made, others, err
}

// makeCopy begins a copy of an image, with a key, and removes those that failed before.
func (r regional) makeCopy(ctx context.Context, op string, image types.Image, key string, q pipeline.PublishRequest, failed, others []types.Image) (id string, err error) {
	marks := map[string]string{tagOf: q.Image, "Name": stack.Tag(image.Tags, "Name")}
	in := &ec2.CopyImageInput{
		SourceImageId: image.ImageId, SourceRegion: aws.String(r.stack.Config.Region), Name: aws.String(copyName(image, slices.Concat(failed, others))), Description: image.Description,
		Encrypted: aws.Bool(true),
	}
	if key != "" {
		// Who may not look at the key may use it all the same.
		if _, err := instance.ReadKey(ctx, r.kms, r.region, op, key); pipeline.CodeOf(err) == pipeline.CodeFailed {
			return "", err
		}
		in.KmsKeyId, marks[tagKMSKey] = aws.String(key), key
	}
	if within := q.Publication.CopyWithin; within > 0 {
		in.SnapshotCopyCompletionDurationMinutes = aws.Int64(int64(within / time.Minute))
	}
	in.TagSpecifications = tagged(r.stack.TagsOf(q.Labels, marks))
	in.ClientToken = aws.String(copyToken(in, q, stack.Tag(image.Tags, tagRemovals), failed))
	out, err := r.ec2.CopyImage(ctx, in)
	if err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	id = aws.ToString(out.ImageId)
	stack.Logf(q.Log, "image %s is copied to %s as %s", q.Image, r.region, id)
	for _, c := range failed { // last: their IDs tell the new copy's token from theirs
		if err := r.remove(ctx, c); err != nil {
			return "", err
		}
	}
	return id, nil
}

// keyARN returns the ARN of a key, whatever a configuration calls it: an alias, too, which can
// lead to another key any day. Who may not look at it goes on with what it is called.
func (r regional) keyARN(ctx context.Context, op, key string) (string, error) {
	if key == "" || strings.Contains(key, ":key/") {
		return key, nil
	}
	known, err := r.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(key)})
	if err = cloud.Fault(ctx, op, err); pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
		return key, nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(known.KeyMetadata.Arn), nil
}

// sameKey reports whether a copy with a key will do for who asks for another one. Any will for who
// asks for none; a name that nobody could look up is taken for the same.
func sameKey(has, want string) bool {
	known := has == "" || strings.Contains(has, ":key/")
	return want == "" || has == want || !known || !strings.Contains(want, ":key/")
}

// copyName returns the name of a copy of an image, besides others that are there: a name is that
// of one image.
func copyName(image types.Image, others []types.Image) string {
	name := aws.ToString(image.Name)
	if len(others) == 0 {
		return name
	}
	end := "-" + digestOf(others)[:8]
	return stack.Cut(name, maxName-len(end)) + end
}

// digestOf tells some images from others.
func digestOf(images []types.Image) string {
	var ids []string
	for _, i := range images {
		ids = append(ids, aws.ToString(i.ImageId))
	}
	slices.Sort(ids)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", ids))
	return hex.EncodeToString(sum[:])
}

// copyToken returns the token of a copy. That of a later run, whose tags are others, is
// another: AWS would refuse the same. So is that of a copy after others that failed, or that were
// removed.
func copyToken(in *ec2.CopyImageInput, q pipeline.PublishRequest, removals string, failed []types.Image) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q %q %q %s %d", q.Image, aws.ToString(in.Name), removals, digestOf(failed), q.Labels, aws.ToString(in.KmsKeyId), aws.ToInt64(in.SnapshotCopyCompletionDurationMinutes)))
	return hex.EncodeToString(sum[:])
}

// await waits until an image of the region can be used: as long as any image may take, and after
// the time in which AWS was asked to complete it.
func (r regional) await(ctx context.Context, id string, within time.Duration) (image types.Image, err error) {
	err = r.stack.Wait(ctx, "image "+id+" in "+r.region, within+r.images, func(ctx context.Context) (poll.Probe, error) {
		out, err := r.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{stack.Filter("image-id", id)}})
		if err != nil || len(out.Images) == 0 {
			return poll.Probe{State: "not listed yet"}, err
		}
		image = out.Images[0]
		if image.State != types.ImageStateAvailable && image.State != types.ImageStatePending {
			return poll.Probe{}, pipeline.Errorf(pipeline.CodeFailed, opPublish, "image %s in %s is %s: %s", id, r.region, image.State, reasonOf(image)).
				WithHint("Correct what AWS names. The next try makes another copy.")
		}
		return poll.Probe{Done: image.State == types.ImageStateAvailable, State: string(image.State)}, nil
	})
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return image, pipeline.Errorf(pipeline.CodeFailed, opPublish, "%w", err).
			WithHint("The copy goes on, and the next try waits for it. If it is to be made again instead, deregister image %s in %s first.", id, r.region)
	}
	return image, cloud.Fault(ctx, opPublish, err)
}

// deprecationLead is how soon an image can be deprecated: AWS takes no date that is past.
const deprecationLead = 5 * time.Minute

// deprecate sets when an image is deprecated; 0 is never.
func (r regional) deprecate(ctx context.Context, image types.Image, after time.Duration) error {
	op := "deprecate image " + aws.ToString(image.ImageId)
	has, _ := time.Parse(time.RFC3339, aws.ToString(image.DeprecationTime)) // zero where there is none
	if after <= 0 {
		if has.IsZero() {
			return nil
		}
		_, err := r.ec2.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: image.ImageId})
		return cloud.Fault(ctx, op, err)
	}
	made, err := time.Parse(time.RFC3339, aws.ToString(image.CreationDate))
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "its creation date: %w", err)
	}
	at, soon := made.Add(after).Truncate(time.Minute), r.stack.Now().Add(deprecationLead).Truncate(time.Minute)
	if at.Before(soon) {
		at = soon
		if !has.IsZero() && has.Before(soon) { // it is so already, or nearly
			return nil
		}
	}
	if at.Equal(has) {
		return nil
	}
	_, err = r.ec2.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: image.ImageId, DeprecateAt: aws.Time(at)})
	return cloud.Fault(ctx, op, err)
}

// guard sets when an image is deprecated, and whether it can be deregistered.
func (r regional) guard(ctx context.Context, image types.Image, want pipeline.Publication) error {
	if err := r.deprecate(ctx, image, want.DeprecateAfter); err != nil {
		return err
	}
	var err error
	switch {
	case want.Protected && !protected(image):
		_, err = r.ec2.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: image.ImageId})
	case !want.Protected && protected(image):
		_, err = r.ec2.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: image.ImageId})
	}
	return cloud.Fault(ctx, "protect image", err)
}
