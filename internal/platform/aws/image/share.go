// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"io"
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
	wanted := map[string]bool{}
	for _, list := range [][]string{want.Accounts, want.Organizations, want.Units} {
		for _, who := range list {
			wanted[who] = true
		}
	}
	add, remove := without(wanted, has), without(has, wanted)
	if len(add)+len(remove) == 0 {
		return nil
	}
	// The snapshots and the key come first, so that a launch permission works at once.
	accounts := func(list []string) (ids []string) {
		for _, who := range list {
			if !strings.HasPrefix(who, "arn:") {
				ids = append(ids, who)
			}
		}
		return ids
	}
	for _, snapshot := range instance.Snapshots(image) {
		if err := r.shareSnapshot(ctx, snapshot, accounts(add), accounts(remove)); err != nil {
			return err
		}
	}
	if err := r.grants(ctx, image, accounts(add), accounts(remove)); err != nil {
		return err
	}
	change := &types.LaunchPermissionModifications{}
	for _, who := range add {
		change.Add = append(change.Add, permission(who))
	}
	for _, who := range remove {
		change.Remove = append(change.Remove, permission(who))
	}
	stack.Logf(log, "image %s in %s: may be launched by %v", id, r.region, stack.Sorted(wanted))
	_, err = r.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(id), LaunchPermission: change})
	return cloud.Fault(ctx, "share image "+id, err)
}

func (r regional) shareSnapshot(ctx context.Context, id string, add, remove []string) error {
	change := &types.CreateVolumePermissionModifications{}
	for _, account := range add {
		change.Add = append(change.Add, types.CreateVolumePermission{UserId: aws.String(account)})
	}
	for _, account := range remove {
		change.Remove = append(change.Remove, types.CreateVolumePermission{UserId: aws.String(account)})
	}
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	_, err := r.ec2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId: aws.String(id), Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
	})
	return cloud.Fault(ctx, "share snapshot "+id, err)
}

// grantName names the grant of an image's key to an account: it goes with the image's
// sharing, while other images with the key stay shared.
func grantName(image, account string) string { return "penstock-" + image + "-" + account }

// grants lets some accounts use the key of an image's snapshots, and withdraws that
// from others. AWS returns an existing grant of the same name and content.
func (r regional) grants(ctx context.Context, image types.Image, add, remove []string) error {
	if len(add)+len(remove) == 0 {
		return nil
	}
	op := "share the key of image " + aws.ToString(image.ImageId)
	keys, err := instance.Keys(ctx, r.ec2, image)
	if err != nil {
		return err
	}
	for _, key := range keys {
		for _, account := range add {
			_, err := r.kms.CreateGrant(ctx, &kms.CreateGrantInput{
				KeyId: aws.String(key), GranteePrincipal: aws.String("arn:" + stack.Partition(r.region) + ":iam::" + account + ":root"),
				Name:       aws.String(grantName(aws.ToString(image.ImageId), account)),
				Operations: instance.KeyOperations,
			})
			if err != nil {
				return cloud.Fault(ctx, op, err)
			}
		}
		if len(remove) == 0 {
			continue
		}
		names := map[string]bool{}
		for _, account := range remove {
			names[grantName(aws.ToString(image.ImageId), account)] = true
		}
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
	}
	return nil
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
