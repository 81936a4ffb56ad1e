// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws"
)

var _ pipeline.Targets = (*targets)(nil)

// openTimeout bounds the opening of a target, with all attempts at its requests: a region that
// does not answer keeps those that are waited for beside it no longer.
const openTimeout = 2 * time.Minute

// targets are the accounts and regions of AWS where environments are that are not where the
// ledger is. Each is opened once.
type targets struct {
	home     *cloud.Cloud
	stack    string                                                // the ledger's, whose name those of targets have
	platform func(*cloud.Cloud, bootstrap.Resources) *aws.Platform // of an account and region

	lender lender

	mu     sync.Mutex
	opened map[pipeline.Target]*opening // by place
}

// opening is a target that is being opened, or has been.
type opening struct {
	done     chan struct{} // closed when it has ended
	err      error
	cloud    *cloud.Cloud
	made     bootstrap.Resources
	platform *aws.Platform
}

// Open implements pipeline.Targets.
func (t *targets) Open(ctx context.Context, at pipeline.Target) (pipeline.Platform, error) {
	o, err := t.open(ctx, at)
	if err != nil {
		return nil, err
	}
	return o.platform, nil
}

// open returns a target that is open. Whoever asks meanwhile waits for the same opening, which
// goes on without who asked first. One that failed is tried again.
func (t *targets) open(ctx context.Context, at pipeline.Target) (*opening, error) {
	op := "open " + at.Describe()
	if at.RoleARN != "" && at.Account() == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role", at.RoleARN).WithHint("Write role_arn like arn:aws:iam::123456789012:role/penstock-TargetRole.")
	}
	place := at.Place()
	place.Name = ""
	t.mu.Lock()
	o := t.opened[place]
	if o == nil {
		o = &opening{done: make(chan struct{})}
		t.opened[place] = o
		go t.begin(context.WithoutCancel(ctx), place, o)
	}
	t.mu.Unlock()
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, pipeline.Errorf(pipeline.CodeCancelled, op, "%w", ctx.Err())
	}
	if o.err != nil {
		return nil, pipeline.Errorf(pipeline.CodeOf(o.err), op, "%w", o.err)
	}
	return o, nil
}

// begin opens a target, and forgets it again if that fails.
func (t *targets) begin(ctx context.Context, at pipeline.Target, o *opening) {
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	o.cloud = t.home.In(cloud.Elsewhere{Region: at.Region, Role: cloud.Role{ARN: at.RoleARN, ExternalID: at.ExternalID}})
	o.made, o.err = t.find(limited, o.cloud, at)
	switch {
	case o.err == nil:
		o.platform = t.platform(o.cloud, o.made)
	case limited.Err() != nil:
		o.err = pipeline.Errorf(pipeline.CodeFailed, "reach AWS", "no answer in %s: %w", openTimeout, o.err).
			WithHint("If the region is disturbed, its status page says so: apply again when it is well. Else correct region.")
	}
	if o.err != nil {
		t.mu.Lock()
		delete(t.opened, at)
		t.mu.Unlock()
	}
	close(o.done)
}

// find returns what the stack of a target made. Errors are CodeFailed.
func (t *targets) find(ctx context.Context, there *cloud.Cloud, at pipeline.Target) (made bootstrap.Resources, err error) {
	region, account := there.Config.Region, there.Account
	if at.RoleARN != "" {
		if _, err := there.Credentials(ctx); err != nil {
			return made, err
		}
	}
	name := cmp.Or(at.Stack, t.stack)
	failed := func(hint, format string, args ...any) error {
		return pipeline.Errorf(pipeline.CodeFailed, "find stack "+name, format, args...).WithHint("%s", hint)
	}
	create := "penstock bootstrap target --region " + region + " --stack " + name
	made, err = bootstrap.Find(ctx, cloudformation.NewFromConfig(there.Config), name)
	var unknown *net.DNSError
	answer := err // of AWS, without the remedy that would do for a stack of one's own
	if own := (*pipeline.Error)(nil); errors.As(err, &own) {
		answer = own.Err
	}
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return made, failed("Correct region.", "AWS has no region %q: %w", region, answer)
	case cloud.RegionRefused(err):
		return made, failed("Enable the region in that account (aws account enable-region --region-name "+region+"), or choose another.",
			"region %s does not know the credentials of account %s, as if it was not enabled there: %w", region, account, answer)
	case pipeline.IsNotFound(err):
		return made, failed("Create it with `"+create+"`, with credentials of that account; or name another one in stack.",
			"account %s has no stack %q in region %s", account, name, region)
	case cloud.Is(err, "AccessDenied"):
		return made, failed("A role of Penstock's may look at the stack that made it, and at no other: correct stack and region, or create the stack with `"+create+"`, with credentials of that account.",
			"%s may not look at stack %q in region %s of account %s, as if it was no role of that stack: %w", cmp.Or(at.RoleARN, there.ARN), name, region, account, answer)
	case err != nil:
		return made, pipeline.Errorf(pipeline.CodeFailed, "find stack "+name, "in account %s, region %s: %w", account, region, err)
	case made.TemplateVersion < bootstrap.TargetVersion:
		return made, failed("Bring it up to date with `"+create+"`, with credentials of that account.",
			"it has version %d of the template in account %s, region %s, but version %d is needed for a target", made.TemplateVersion, account, region, bootstrap.TargetVersion)
	}
	if is := settings(AWS{}, made).Account(); account != is {
		return made, failed("Correct role_arn: it must be of the account that has the stack.", "its roles are of account %s, but %s is of account %s", is, cmp.Or(at.RoleARN, "the caller"), account)
	}
	if lacks := made.Lacks(); len(lacks) > 0 {
		return made, failed("Add that with `"+create+"`, with credentials of that account.", "it has no %s in account %s, region %s", strings.Join(lacks, ", "), account, region)
	}
	return made, nil
}
