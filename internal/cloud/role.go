// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// refusedRole names the first of the roles that AWS does not let the caller assume, with the
// caller; nil where that is not what went wrong. As who a role is assumed, the configurations
// say, the last one as who has them all.
func refusedRole(ctx context.Context, way []aws.Config, roles []Role) error {
	for n, r := range roles {
		_, err := way[n+1].Credentials.Retrieve(ctx)
		if err == nil {
			continue
		}
		if faults[Code(err)].code != pipeline.CodeNotAllowed {
			return nil
		}
		caller := "the caller"
		if who, err := sts.NewFromConfig(way[n]).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err == nil {
			caller = aws.ToString(who.Arn)
		}
		account := "another account"
		if at, err := arn.Parse(r.ARN); err == nil {
			account = "account " + at.AccountID
		}
		return pipeline.Errorf(pipeline.CodeNotAllowed, "assume role", "AWS does not let %s assume role %s of %s: %w", caller, r.ARN, account, err).
			WithHint("The role must be there and trust %s, which its owners in %s say, and ask for no other external ID than the one that is passed. Policies of %s must allow sts:AssumeRole on it.", caller, account, caller)
	}
	return nil
}
