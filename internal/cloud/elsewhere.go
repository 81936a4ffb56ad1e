// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// SpareLife is how long credentials of a role elsewhere are good for at least when they are
// handed on. Those with less are renewed first: who gets them looks for new ones five minutes
// before they end.
const SpareLife = 10 * time.Minute

// Elsewhere is another region, or another account.
type Elsewhere struct {
	Region string // empty: the same
	Role   Role   // in the other account; no ARN: the same account
}

// In returns the way to somewhere else, for the same caller. It makes no request: the first
// that needs the role's credentials assumes it, in the region of c, where the caller certainly
// may, and renews them before they end. Rates of requests are limited apart from those of c,
// as AWS limits those of each account and region. Where the role can't be assumed, requests
// fail with CodeFailed, and the error names the role and the remedy.
func (c *Cloud) In(at Elsewhere) *Cloud {
	there := &Cloud{Config: c.Config.Copy(), Account: c.Account, ARN: c.ARN, Skew: c.Skew, attempts: c.attempts}
	if at.Region != "" {
		there.Config.Region = at.Region
	}
	limits := newRetryer(cmp.Or(c.attempts, maxAttempts))
	there.Config.Retryer = func() aws.Retryer { return limits }
	if at.Role.ARN == "" {
		return there
	}
	role := assumed{stscreds.NewAssumeRoleProvider(sts.NewFromConfig(c.Config), at.Role.ARN, at.Role.options), at.Role.ARN, c.ARN}
	there.Config.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = SpareLife })
	there.Account, there.ARN = accountOf(at.Role.ARN), at.Role.ARN
	return there
}

// assumed has the credentials of a role elsewhere, and says why it has not.
type assumed struct {
	provider     aws.CredentialsProvider
	role, caller string // ARNs
}

// Retrieve implements aws.CredentialsProvider.
func (a assumed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := a.provider.Retrieve(ctx)
	if err == nil {
		return got, nil
	}
	op := "assume role " + a.role
	var own *pipeline.Error
	switch {
	case errors.As(err, &own):
		return got, err
	case ctx.Err() != nil:
		return got, Fault(ctx, op, err)
	case Is(err, "AccessDenied"): // AWS says no more of a role that is not there, or that asks for something else
		return got, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).
			WithHint("The role must exist, and trust %s with the external ID that is passed; and that caller must be allowed to call sts:AssumeRole on it. "+
				"`penstock bootstrap target` makes such a role, and `penstock bootstrap --target-roles` allows the call.", a.caller)
	}
	f, known := faults[Code(err)]
	if !known {
		f.hint = "Check the ARN of the role, and whether AWS STS answers in the region of the ledger."
	}
	return got, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).WithHint("%s", f.hint)
}

// RegionRefused reports whether an error is the answer of a region that is not enabled for
// the caller's account: its services know no credentials of the account.
func RegionRefused(err error) bool {
	return Is(err, "AuthFailure", "InvalidClientTokenId", "OptInRequired", "RegionDisabledException", "UnrecognizedClientException")
}

// Credentials returns the caller's credentials, for another process to use until they end.
func (c *Cloud) Credentials(ctx context.Context) (aws.Credentials, error) {
	got, err := c.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return got, Fault(ctx, "get credentials", fmt.Errorf("of %s: %w", c.ARN, err))
	}
	return got, nil
}

// accountOf returns the account of an ARN; empty where it names none.
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}
