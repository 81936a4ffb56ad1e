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
	for list := range slices.Chunk(add, permissionsAtOnce) {
		if err := r.permit(ctx, image, list); err != nil {
			return err
		}
	}
	return r.forbidAll(ctx, image, remove)
}

// unshare lets nobody launch an image any more whom a publication does not name.
func (r regional) unshare(ctx context.Context, image types.Image, want pipeline.Publication) error {
	has, err := r.permissions(ctx, aws.ToString(image.ImageId))
	if err != nil {
		return err
	}
	return r.forbidAll(ctx, image, without(has, sharedWith(want)))
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

// permit lets others launch an image. Its snapshots and its key come first, so that a launch
// works at once, and so that what was interrupted is done again.
func (r regional) permit(ctx context.Context, image types.Image, to []string) error {
	accounts := accountsOf(to)
	err := r.shareSnapshots(ctx, image, &types.CreateVolumePermissionModifications{Add: volumePermissions(accounts)})
	if err != nil {
		return err
	}
	if err := r.grantKeys(ctx, image, accounts); err != nil {
		return err
	}
	return r.shareImage(ctx, image, &types.LaunchPermissionModifications{Add: launchPermissions(to)})
}

func (r regional) forbidAll(ctx context.Context, image types.Image, from []string) error {
	for list := range slices.Chunk(from, permissionsAtOnce) {
		if err := r.forbid(ctx, image, list); err != nil {
			return err
		}
	}
	return nil
}

// forbid takes back what permit gave, in the same order: the permission to launch is the record of
// the rest.
func (r regional) forbid(ctx context.Context, image types.Image, to []string) error {
	accounts := accountsOf(to)
	err := r.shareSnapshots(ctx, image, &types.CreateVolumePermissionModifications{Remove: volumePermissions(accounts)})
	if err != nil {
		return err
	}
	if err := r.revokeKeys(ctx, image, accounts); err != nil {
		return err
	}
	return r.shareImage(ctx, image, &types.LaunchPermissionModifications{Remove: launchPermissions(to)})
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

func (r regional) shareSnapshots(ctx context.Context, image types.Image, change *types.CreateVolumePermissionModifications) error {
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	for _, id := range instance.Snapshots(image) {
		_, err := r.ec2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
			SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
		})
		if err != nil {
			return cloud.Fault(ctx, "share snapshot "+id, err)
		}
	}
	return nil
}

func (r regional) shareImage(ctx context.Context, image types.Image, change *types.LaunchPermissionModifications) error {
	_, err := r.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: image.ImageId, LaunchPermission: change})
	return cloud.Fault(ctx, "share image "+aws.ToString(image.ImageId), err)
}

// grantName names the grant of an image's key to an account: it goes with the image's
// sharing, while other images with the key stay shared.
func grantName(image, account string) string { return "penstock-" + image + "-" + account }

// grantKeys lets accounts use the keys of an image's snapshots. AWS returns an existing grant of
// the same name and content.
func (r regional) grantKeys(ctx context.Context, image types.Image, to []string) error {
	return r.eachKey(ctx, image, to, func(op, key string) error {
		for _, account := range to {
			_, err := r.kms.CreateGrant(ctx, &kms.CreateGrantInput{
				KeyId: aws.String(key), GranteePrincipal: aws.String("arn:" + stack.Partition(r.region) + ":iam::" + account + ":root"),
				Name:       aws.String(grantName(aws.ToString(image.ImageId), account)),
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
func (r regional) revokeKeys(ctx context.Context, image types.Image, from []string) error {
	names := map[string]bool{}
	for _, account := range from {
		names[grantName(aws.ToString(image.ImageId), account)] = true
	}
	return r.eachKey(ctx, image, from, func(op, key string) error {
		pages := kms.NewListGrantsPaginator(r.kms, &kms.ListGrantsInput{KeyId: aws.String(key)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return cloud.Fault(ctx, op, err)
			}
			for _, g := range page.Grants {
				if !names[aws.ToString(g.Name)] {
					continue
				}
				if _, err := r.kms.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: aws.String(key), GrantId: g.GrantId}); err != nil && !cloud.IsNotFound(err) {
					return cloud.Fault(ctx, op, err)
				}
			}
		}
		return nil
	})
}

// eachKey does something with each key of an image, if it is for any account.
func (r regional) eachKey(ctx context.Context, image types.Image, accounts []string, do func(op, key string) error) error {
	if len(accounts) == 0 {
		return nil
	}
	keys, err := instance.Keys(ctx, r.ec2, image)
	for _, key := range keys {
		if err := do("share the key of image "+aws.ToString(image.ImageId), key); err != nil {
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
