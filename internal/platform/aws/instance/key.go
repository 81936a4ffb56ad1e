// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// KeyOperations are what EC2 does with the key of a volume in the name of who launches it.
// All grants have the same: who may make a grant by a grant alone can give away no more than
// it has.
var KeyOperations = []kmstypes.GrantOperation{
	kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDecrypt, kmstypes.GrantOperationDescribeKey, kmstypes.GrantOperationCreateGrant,
	kmstypes.GrantOperationGenerateDataKey, kmstypes.GrantOperationGenerateDataKeyWithoutPlaintext,
	kmstypes.GrantOperationReEncryptFrom, kmstypes.GrantOperationReEncryptTo,
}

// keyHint is the remedy when who launches may not use a volume's key, of which EC2 says no more
// than that the client was wrong.
const keyHint = "Give the key an alias below alias/penstock/ in its region, or give its ARN to the stack as one of the image keys. A key of another account must allow this one, too. " +
	"What a new grant allows, AWS may know only minutes later."

// KeyHint returns the remedy when who launches may not use the key of a volume: one of those
// named, or an unknown one.
func KeyHint(keys ...string) string {
	which := "the image's, or the account's default key of EBS"
	if len(keys) > 0 {
		which = strings.Join(keys, " or ")
	}
	return "The caller may most likely not use the KMS key of the volume: " + which + ". " + keyHint
}

// Keys returns the keys that an image's snapshots are encrypted with, sorted.
func Keys(ctx context.Context, client *ec2.Client, image types.Image) ([]string, error) {
	ids := Snapshots(image)
	if len(ids) == 0 { // all snapshots would be listed
		return nil, nil
	}
	out, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: ids})
	if err != nil {
		return nil, cloud.Fault(ctx, "read the keys of image "+aws.ToString(image.ImageId), err)
	}
	keys := map[string]bool{}
	for _, s := range out.Snapshots {
		if key := aws.ToString(s.KmsKeyId); key != "" {
			keys[key] = true
		}
	}
	return stack.Sorted(keys), nil
}

// LaunchKeys returns the keys that volumes of an image use: those of its snapshots, and the
// account's default, with which EC2 encrypts what was not encrypted before, and what comes
// from another account. The snapshots of an image that another account shares must be
// shared, too: AWS shows no others.
func (i *Instances) LaunchKeys(ctx context.Context, image types.Image) ([]string, error) {
	keys, err := Keys(ctx, i.ec2, image)
	if err != nil && !cloud.IsNotFound(err) {
		return nil, err
	}
	if len(keys) > 0 && aws.ToString(image.OwnerId) == i.stack.Settings.Account() {
		return keys, nil
	}
	out, err := i.ec2.GetEbsDefaultKmsKeyId(ctx, &ec2.GetEbsDefaultKmsKeyIdInput{})
	switch {
	case cloud.Is(err, "UnauthorizedOperation"): // a stack that was made before asks for no more
		return keys, nil
	case err != nil:
		return nil, cloud.Fault(ctx, "read the default key of EBS", err)
	}
	if key := aws.ToString(out.KmsKeyId); key != "" && !strings.HasSuffix(key, "alias/aws/ebs") {
		keys = append(keys, key)
	}
	return keys, nil
}

// Key reads a key, as ReadKey does, in the installation's region.
func (i *Instances) Key(ctx context.Context, op, key string) (*kmstypes.KeyMetadata, error) {
	return ReadKey(ctx, i.kms, i.stack.Config.Region, op, key)
}

// ReadKey reads a key, and refuses one that is not enabled: CodeFailed.
func ReadKey(ctx context.Context, client *kms.Client, region, op, key string) (*kmstypes.KeyMetadata, error) {
	known, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(key)})
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	is := known.KeyMetadata
	arn := cmp.Or(aws.ToString(is.Arn), key)
	at := " --region " + region + " --key-id " + arn
	failed := func(format, hint string) error {
		return pipeline.Errorf(pipeline.CodeFailed, op, format, arn).WithHint("%s", hint)
	}
	switch is.KeyState {
	case kmstypes.KeyStateEnabled, "":
		return is, nil
	case kmstypes.KeyStateDisabled:
		return nil, failed("the KMS key %s is disabled", "Enable it: aws kms enable-key"+at+". Or use another key.")
	case kmstypes.KeyStatePendingDeletion, kmstypes.KeyStatePendingReplicaDeletion:
		return nil, failed("the KMS key %s is to be deleted", "What it encrypts is lost with it. Keep it: aws kms cancel-key-deletion"+at+", and then aws kms enable-key"+at+". Or use another key, and bake again.")
	default:
		return nil, failed("the KMS key %s is in state "+string(is.KeyState), "The page \"Key states\" of AWS KMS says what that means. Use another key, or have it enabled.")
	}
}

// keyFaults are the codes of reasons by which EC2 ends an instance whose volumes' key it can't
// use.
var keyFaults = []string{"Client.InternalError", "Client.InvalidKMSKey.InvalidState"}

// ended is Ended. Where EC2 could not use a key, it looks for the key and what is wrong with it.
func (i *Instances) ended(ctx context.Context, one types.Instance) error {
	err := Ended(one)
	if err == nil || one.StateReason == nil || !slices.Contains(keyFaults, aws.ToString(one.StateReason.Code)) {
		return err
	}
	image, ok, looked := i.images.Get(ctx, aws.ToString(one.ImageId))
	if looked != nil || !ok {
		return err
	}
	keys, looked := i.LaunchKeys(ctx, image)
	if looked != nil || len(keys) == 0 {
		return err
	}
	for _, key := range keys {
		if _, wrong := i.Key(ctx, opWait, key); pipeline.CodeOf(wrong) == pipeline.CodeFailed {
			var of *pipeline.Error
			errors.As(wrong, &of)
			return pipeline.Errorf(pipeline.CodeFailed, opWait, "instance %s was terminated: %s: %w", ID(one), aws.ToString(one.StateReason.Message), wrong).WithHint("%s", of.Hint)
		}
	}
	return pipeline.Errorf(pipeline.CodeFailed, opWait, "instance %s was terminated: %s", ID(one), aws.ToString(one.StateReason.Message)).WithHint("%s", KeyHint(keys...))
}
