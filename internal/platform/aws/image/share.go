// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// permission returns the launch permission for a publication's target: an account, or
// the ARN of an organization or of one of its units.
func permission(to string) types.LaunchPermission {
	switch {
	case !strings.HasPrefix(to, "arn:"):
		return types.LaunchPermission{UserId: aws.String(to)}
	case strings.Contains(to, ":ou/"):
		return types.LaunchPermission{OrganizationalUnitArn: aws.String(to)}
	default:
		return types.LaunchPermission{OrganizationArn: aws.String(to)}
	}
}

// permissions returns the accounts that may launch an image, beside its owner.
func (r regional) permissions(ctx context.Context, id string) (map[string]bool, error) {
	out, err := r.ec2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId: aws.String(id), Attribute: types.ImageAttributeNameLaunchPermission,
	})
	if err != nil {
		return nil, cloud.Fault(ctx, "read permissions of image "+id, err)
	}
	with := map[string]bool{}
	for _, l := range out.LaunchPermissions {
		for _, who := range []*string{l.UserId, l.OrganizationArn, l.OrganizationalUnitArn} {
			if who != nil {
				with[*who] = true
			}
		}
	}
	return with, nil
}

// share lets those launch an image that a publication names, and nobody else.
func (r regional) share(ctx context.Context, image types.Image, want pipeline.Publication, log io.Writer) error {
	id := aws.ToString(image.ImageId)
	has, err := r.permissions(ctx, id)
	if err != nil {
		return err
	}
	wanted := sharedWith(want)
	add, remove := without(wanted, has), without(has, wanted)
	if len(add)+len(remove) == 0 {
		return nil
	}
	stack.Logf(log, "image %s in %s: may be launched by %v", id, r.region, stack.Sorted(wanted))
	if err := (sharing{r, image}).give(ctx, add); err != nil {
		return err
	}
	return sharing{r, image}.takeBack(ctx, remove)
}

// unshare lets nobody launch an image any more whom a publication does not name.
func (r regional) unshare(ctx context.Context, image types.Image, want pipeline.Publication) error {
	has, err := r.permissions(ctx, aws.ToString(image.ImageId))
	if err != nil {
		return err
	}
	return sharing{r, image}.takeBack(ctx, without(has, sharedWith(want)))
}

// sharedWith returns those who may launch an image, as a publication says.
func sharedWith(want pipeline.Publication) map[string]bool {
	with := map[string]bool{}
	for _, list := range [][]string{want.Accounts, want.Organizations, want.Units} {
		for _, who := range list {
			with[who] = true
		}
	}
	return with
}

// permissionsAtOnce is how many permissions of a snapshot AWS changes in one request. It adds or
// removes them, but not both at the same time.
const permissionsAtOnce = 500

// sharing is what lets others launch an image: permissions of its snapshots and its own, and
// grants of its keys.
type sharing struct {
	regional
	image types.Image
}

// give lets others launch the image. Its snapshots and its key come first, so that a launch works
// at once, and so that what was interrupted is done again.
func (s sharing) give(ctx context.Context, to []string) error {
	for list := range slices.Chunk(to, permissionsAtOnce) {
		accounts := accountsOf(list)
		err := s.changeSnapshots(ctx, &types.CreateVolumePermissionModifications{Add: volumePermissions(accounts)})
		if err != nil {
			return err
		}
		if err := s.grantKeys(ctx, accounts); err != nil {
			return err
		}
		if err := s.changeImage(ctx, &types.LaunchPermissionModifications{Add: launchPermissions(list)}); err != nil {
			return err
		}
	}
	return nil
}

// takeBack takes what give gave, in the same order: the permission to launch is the record of
// the rest.
func (s sharing) takeBack(ctx context.Context, from []string) error {
	for list := range slices.Chunk(from, permissionsAtOnce) {
		accounts := accountsOf(list)
		err := s.changeSnapshots(ctx, &types.CreateVolumePermissionModifications{Remove: volumePermissions(accounts)})
		if err != nil {
			return err
		}
		if err := s.revokeKeys(ctx, accounts); err != nil {
			return err
		}
		if err := s.changeImage(ctx, &types.LaunchPermissionModifications{Remove: launchPermissions(list)}); err != nil {
			return err
		}
	}
	return nil
}

// accountsOf returns the accounts of a list that has organizations and their units, too. Snapshots
// and keys are shared with accounts only.
func accountsOf(list []string) (ids []string) {
	for _, who := range list {
		if !strings.HasPrefix(who, "arn:") {
			ids = append(ids, who)
		}
	}
	return ids
}

func volumePermissions(accounts []string) (list []types.CreateVolumePermission) {
	for _, account := range accounts {
		list = append(list, types.CreateVolumePermission{UserId: aws.String(account)})
	}
	return list
}

func launchPermissions(to []string) (list []types.LaunchPermission) {
	for _, who := range to {
		list = append(list, permission(who))
	}
	return list
}

func (s sharing) changeSnapshots(ctx context.Context, change *types.CreateVolumePermissionModifications) error {
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	for _, id := range instance.Snapshots(s.image) {
		_, err := s.ec2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
			SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
		})
		if err != nil {
			return cloud.Fault(ctx, "share snapshot "+id, err)
		}
	}
	return nil
}

func (s sharing) changeImage(ctx context.Context, change *types.LaunchPermissionModifications) error {
	_, err := s.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: s.image.ImageId, LaunchPermission: change})
	return cloud.Fault(ctx, "share image "+aws.ToString(s.image.ImageId), err)
}

// grantName names the grant of an image's key to an account: it goes with the image's
// sharing, while other images with the key stay shared.
func grantName(image, account string) string { return "penstock-" + image + "-" + account }

// grantKeys lets accounts use the keys of the image's snapshots. AWS returns an existing grant of
// the same name and content.
func (s sharing) grantKeys(ctx context.Context, to []string) error {
	return s.eachKey(ctx, to, func(op, key string) error {
		for _, account := range to {
			_, err := s.kms.CreateGrant(ctx, &kms.CreateGrantInput{
				KeyId: aws.String(key), GranteePrincipal: aws.String("arn:" + stack.Partition(s.region) + ":iam::" + account + ":root"),
				Name:       aws.String(grantName(aws.ToString(s.image.ImageId), account)),
				Operations: instance.KeyOperations,
			})
			if err != nil {
				return cloud.Fault(ctx, op, err)
			}
		}
		return nil
	})
}

// revokeKeys withdraws what grantKeys gave.
func (s sharing) revokeKeys(ctx context.Context, from []string) error {
	names := map[string]bool{}
	for _, account := range from {
		names[grantName(aws.ToString(s.image.ImageId), account)] = true
	}
	return s.eachKey(ctx, from, func(op, key string) error {
		pages := kms.NewListGrantsPaginator(s.kms, &kms.ListGrantsInput{KeyId: aws.String(key)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return cloud.Fault(ctx, op, err)
			}
			for _, g := range page.Grants {
				if !names[aws.ToString(g.Name)] {
					continue
				}
				if _, err := s.kms.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: aws.String(key), GrantId: g.GrantId}); err != nil && !cloud.IsNotFound(err) {
					return cloud.Fault(ctx, op, err)
				}
			}
		}
		return nil
	})
}

// eachKey does something with each key of the image, if it is for any account.
func (s sharing) eachKey(ctx context.Context, accounts []string, do func(op, key string) error) error {
	if len(accounts) == 0 {
		return nil
	}
	keys, err := instance.Keys(ctx, s.ec2, s.image)
	for _, key := range keys {
		if err := do("share the key of image "+aws.ToString(s.image.ImageId), key); err != nil {
			return err
		}
	}
	return err
}

// without returns the keys of a that b lacks, in order.
func without(a, b map[string]bool) (list []string) {
	for _, k := range stack.Sorted(a) {
		if !b[k] {
			list = append(list, k)
		}
	}
	return list
}
