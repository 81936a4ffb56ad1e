// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"regexp"

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

// What STS takes: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html. The
// limits of lengths are not in the pattern, which would take longer to compile than all others
// together, in each process.
var (
	externalID = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)
	roleARN    = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$`)
)

// ExternalIDs says in words what IsExternalID accepts.
const ExternalIDs = "2 to 1224 letters, digits and _+=,.@:/-"

// IsExternalID reports whether a text can be the external ID that a role asks for.
func IsExternalID(id string) bool {
	return len(id) >= 2 && len(id) <= 1224 && externalID.MatchString(id)
}

// IsRoleARN reports whether a text is the ARN of a role, of any partition.
func IsRoleARN(arn string) bool {
	return len(arn) <= 2048 && roleARN.MatchString(arn)
}
