// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// keys are the keys of KMS that volumes of fleets use.
type keys struct {
	stack     *stack.Stack
	instances *instance.Instances
	kms       *kms.Client
	limit     time.Duration // of a wait for a grant of another account
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

// grantLimit is how long a grant of another account may take until KMS knows it everywhere:
// "in some cases it can take several minutes", and "usually less than five". Who uses it before
// is refused: https://docs.aws.amazon.com/kms/latest/developerguide/using-grant-token.html.
const grantLimit = 5 * time.Minute

// grant lets a role use the keys of volumes of an image that are not those of AWS. What a key of
// another account allows may be as new as the image's copy, so that a refusal is waited out.
func (k *keys) grant(ctx context.Context, log io.Writer, image types.Image, to serviceRole) error {
	list, err := k.instances.LaunchKeys(ctx, image)
	if err != nil {
		return err
	}
	for _, key := range list {
		op := "let " + to.what + " use the key " + key + " of image " + aws.ToString(image.ImageId)
		err := k.patient(ctx, log, op, key, func(ctx context.Context) error { return k.grantOne(ctx, op, key, to) })
		if pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
			return pipeline.Errorf(pipeline.CodeNotAllowed, op, "%w", errors.Unwrap(err)).WithHint("%s", instance.KeyHint(key))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// await waits until this account may use the keys of volumes of another account's image. Who
// may use one may be unable to look at it: a launch that is refused says so.
func (k *keys) await(ctx context.Context, log io.Writer, image types.Image) error {
	if aws.ToString(image.OwnerId) == k.stack.Settings.Account() || aws.ToBool(image.Public) {
		return nil
	}
	list, err := k.instances.LaunchKeys(ctx, image)
	if err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		return err
	}
	for _, key := range slices.DeleteFunc(list, func(key string) bool { return !k.foreign(key) }) {
		const op = "launch instance"
		err := k.patient(ctx, log, op, key, func(ctx context.Context) error {
			_, err := k.instances.Key(ctx, op, key)
			return err
		})
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			return err
		}
	}
	return nil
}

// patient does something with a key, and again while a key of another account does not allow it.
// The log says what it waits for.
func (k *keys) patient(ctx context.Context, log io.Writer, op, key string, do func(context.Context) error) error {
	refused := do(ctx)
	if pipeline.CodeOf(refused) != pipeline.CodeNotAllowed || !k.foreign(key) {
		return refused
	}
	stack.Logf(log, "AWS KMS does not let account %s use the key %s yet: what a new grant allows is known minutes later. Waiting for up to %s",
		k.stack.Settings.Account(), key, pipeline.Period(k.limit))
	err := k.stack.Wait(ctx, "AWS KMS to let account "+k.stack.Settings.Account()+" use the key "+key, k.limit, func(ctx context.Context) (poll.Probe, error) {
		err := do(ctx)
		if pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
			refused, err = err, poll.Retryable(err)
		}
		return poll.Probe{Done: true}, err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", err)
	case errors.Is(err, context.DeadlineExceeded), pipeline.CodeOf(err) == pipeline.CodeCancelled: // the wait's end may cut a request off
		return refused
	}
	return err
}

// foreign reports whether a key is one of another account.
func (k *keys) foreign(key string) bool {
	at, err := arn.Parse(key)
	return err == nil && at.AccountID != k.stack.Settings.Account()
}

func (k *keys) grantOne(ctx context.Context, op, key string, to serviceRole) error {
	known, err := k.instances.Key(ctx, op, key)
	if err != nil {
		return err
	}
	if known.KeyManager == kmstypes.KeyManagerTypeAws {
		return nil
	}
	_, err = k.kms.CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: known.Arn, GranteePrincipal: aws.String(k.stack.ServiceLinkedRole(to.service, to.name)), Name: aws.String(to.grant), Operations: instance.KeyOperations,
	})
	if cloud.Is(err, "InvalidArnException") {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).
			WithHint("%s was never used in this account. Make its role: "+
				"aws iam create-service-linked-role --aws-service-name %s", to.what, to.service)
	}
	return cloud.Fault(ctx, op, err)
}
