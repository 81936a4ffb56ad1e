// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
// that needs the role's credentials assumes it, and renews them before they end. It asks STS in
// the region of c, and where that region does not make credentials of the role's account, in
// the other one. Rates of requests are limited apart from those of c, as AWS limits those of
// each account and region. Where the role can't be assumed, requests fail with CodeFailed, and
// the error names the role and the remedy.
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
	role := assumed{role: at.Role.ARN, caller: c.ARN}
	for _, region := range slices.Compact([]string{c.Config.Region, there.Config.Region}) {
		asks := sts.NewFromConfig(c.Config, func(o *sts.Options) { o.Region = region })
		role.ways = append(role.ways, way{region, stscreds.NewAssumeRoleProvider(asks, at.Role.ARN, at.Role.options)})
	}
	there.Config.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = SpareLife })
	there.Account, there.ARN = accountOf(at.Role.ARN), at.Role.ARN
	return there
}

// assumed has the credentials of a role elsewhere, and says why it has not.
type assumed struct {
	ways         []way  // regions whose STS is asked, one after another
	role, caller string // ARNs
}

// way is STS in a region.
type way struct {
	region   string
	provider aws.CredentialsProvider
}

// Retrieve implements aws.CredentialsProvider. STS makes credentials in a region that the
// account of the role has enabled and activated, whatever the caller's account has:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html.
func (a assumed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	var err error
	var refused []string
	for _, by := range a.ways {
		got, answer := by.provider.Retrieve(ctx)
		if answer == nil {
			return got, nil
		}
		if len(refused) == 0 || !RegionRefused(answer) { // the first refusal says most of what all say
			err = answer
		}
		if !Is(err, "RegionDisabledException", "OptInRequired") {
			break
		}
		refused = append(refused, by.region)
	}
	return aws.Credentials{}, a.failed(ctx, err, refused)
}

// failed says why a role can't be assumed, after regions refused to make its credentials.
func (a assumed) failed(ctx context.Context, err error, refused []string) error {
	op := "assume role " + a.role
	var own *pipeline.Error
	switch {
	case errors.As(err, &own):
		return err
	case ctx.Err() != nil:
		return Fault(ctx, op, err)
	case Is(err, "AccessDenied"): // AWS says no more of a role that is not there, or that asks for something else
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).
			WithHint("The role must exist, and trust %s with the external ID that is passed; and that caller must be allowed to call sts:AssumeRole on it.", a.caller).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbCreateTarget}, pipeline.Advice{Verb: pipeline.VerbAllowTarget, Value: a.role})
	case Is(err, "RegionDisabledException", "OptInRequired"):
		return pipeline.Errorf(pipeline.CodeFailed, op, "AWS STS makes no credentials of account %s in region %s: %w", accountOf(a.role), strings.Join(refused, " or "), err).
			WithHint("In account %s, enable region %[2]s, and activate AWS STS in region %[2]s (IAM, Account settings).", accountOf(a.role), strings.Join(refused, " or "))
	}
	f, known := faults[Code(err)]
	if !known {
		f.hint = "Check the ARN of the role, and whether AWS STS answers in region " + a.ways[len(refused)].region + "."
	}
	return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err).WithHint("%s", f.hint)
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
