// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// keys are the keys of KMS that volumes of fleets use.
type keys struct {
	stack     *stack.Stack
	instances *instance.Instances
	kms       *kms.Client
}

// serviceRole is a service-linked role that launches instances for who asks for them. Unlike
// who asks, it may use no key but by a grant, or by the key's policy.
type serviceRole struct {
	what, service, name string
	grant               string // name of grants to it, so that a repeated one is none
}

var (
	scalingRole = serviceRole{"Auto Scaling", "autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling", "penstock-autoscaling"}
	spotRole    = serviceRole{"EC2 Spot", "spot.amazonaws.com", "AWSServiceRoleForEC2Spot", "penstock-spot"}
)

// grant lets a role use the keys of volumes of an image that are not those of AWS.
func (k *keys) grant(ctx context.Context, image types.Image, to serviceRole) error {
	list, err := k.instances.LaunchKeys(ctx, image)
	if err != nil {
		return err
	}
	for _, key := range list {
		op := "let " + to.what + " use the key " + key + " of image " + aws.ToString(image.ImageId)
		if err := k.grantOne(ctx, op, key, to); pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
			return pipeline.Errorf(pipeline.CodeNotAllowed, op, "%w", errors.Unwrap(err)).WithHint("%s", instance.KeyHint(key))
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (k *keys) grantOne(ctx context.Context, op, key string, to serviceRole) error {
	known, err := k.instances.Key(ctx, op, key)
	if err != nil {
		return err
	}
	if known.KeyManager == kmstypes.KeyManagerTypeAws {
		return nil
	}
	role := "arn:" + stack.Partition(k.stack.Config.Region) + ":iam::" + k.stack.Settings.Account() + ":role/aws-service-role/" + to.service + "/" + to.name
	_, err = k.kms.CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: known.Arn, GranteePrincipal: aws.String(role), Name: aws.String(to.grant), Operations: instance.KeyOperations,
	})
	if cloud.Is(err, "InvalidArnException") {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).
			WithHint("%s was never used in this account. Make its role: "+
				"aws iam create-service-linked-role --aws-service-name %s", to.what, to.service)
	}
	return cloud.Fault(ctx, op, err)
}
