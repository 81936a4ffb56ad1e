// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
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
	barred map[pipeline.Target]bool     // places by reader roles that are not for this caller
}

// opening is a target that is being opened, or has been.
type opening struct {
	done     chan struct{} // closed when it has ended
	err      error
	cloud    *cloud.Cloud
	made     bootstrap.Resources
	platform *aws.Platform
}

// Check implements pipeline.Targets.
func (t *targets) Check(s pipeline.Siting) error {
	for _, at := range s.At {
		if err := checkRole("check targets", at); err != nil {
			return err
		}
	}
	return nil
}

// checkRole refuses a role that is of no account.
func checkRole(op string, at pipeline.Target) error {
	if at.RoleARN == "" || at.Account() != "" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role", at.RoleARN).
		WithHint("Write role_arn and reader_role_arn like arn:aws:iam::123456789012:role/penstock-TargetRole.")
}

// Open implements pipeline.Targets.
func (t *targets) Open(ctx context.Context, at pipeline.Target) (pipeline.Platform, error) {
	o, err := t.open(ctx, at)
	if err != nil {
		return nil, err
	}
	return o.platform, nil
}

// Look implements pipeline.Targets. A reader role that does not trust who deploys is not tried
// again by a process that may take the other one.
func (t *targets) Look(ctx context.Context, at pipeline.Target) (pipeline.Platform, error) {
	by := at
	by.RoleARN = at.ReaderRoleARN
	place := t.place(by)
	t.mu.Lock()
	barred := t.barred[place]
	t.mu.Unlock()
	if by.RoleARN == "" || barred {
		return t.Open(ctx, at)
	}
	there, err := t.Open(ctx, by)
	if !cloud.Is(err, "AccessDenied") {
		return there, err
	}
	there, refused := t.Open(ctx, at)
	if refused != nil {
		return nil, t.unseen(at, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.barred[place] = true
	return there, nil
}

// unseen says what lets a caller look at a target, after AWS refused the reader role.
func (t *targets) unseen(at pipeline.Target, err error) error {
	for own := (*pipeline.Error)(nil); errors.As(err, &own); {
		err = own.Err // of AWS, without the remedy for who deploys
	}
	return pipeline.Errorf(pipeline.CodeFailed, "look at "+at.Describe(), "use role %s: %w", at.ReaderRoleARN, err).
		WithHint("The role must exist, and trust %s with the external ID that is passed; and that caller must be allowed to take it.", t.home.ARN).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbAllowReader, Value: at.ReaderRoleARN})
}

// newTargets returns the targets of a ledger, which is in a stack with a platform.
func newTargets(home *cloud.Cloud, made bootstrap.Resources, platform func(*cloud.Cloud, bootstrap.Resources) *aws.Platform, logger hclog.Logger) *targets {
	ours := &opening{done: make(chan struct{}), cloud: home, made: made, platform: platform(home, made)}
	close(ours.done)
	return &targets{home: home, stack: made.Stack, platform: platform, lender: lender{logger: logger}, opened: map[pipeline.Target]*opening{{}: ours}, barred: map[pipeline.Target]bool{}}
}

// place returns where a target is; that of the ledger is the zero one, however it is written.
func (t *targets) place(at pipeline.Target) pipeline.Target {
	place := at.Place()
	place.Name = "" // two names are no two places
	if place.Region == t.home.Config.Region {
		place.Region = ""
	}
	if place.Stack == t.stack {
		place.Stack = ""
	}
	return place
}

// open returns a target that is open. Whoever asks meanwhile waits for the same opening, which
// goes on without who asked first. One that failed is tried again.
func (t *targets) open(ctx context.Context, at pipeline.Target) (*opening, error) {
	op := "open " + at.Describe()
	if err := checkRole(op, at); err != nil {
		return nil, err
	}
	place := t.place(at)
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

// ask opens a target and asks AWS whether what its stack needs is there.
func (t *targets) ask(ctx context.Context, at pipeline.Target) ([]audit.Answer, error) {
	o, err := t.open(ctx, at)
	if err != nil {
		return nil, err
	}
	opened := audit.Answer{Check: "targets", Text: fmt.Sprintf("stack %q of account %s in region %s can be used", o.made.Stack, o.cloud.Account, o.cloud.Config.Region)}
	if version := o.made.TemplateVersion; version != bootstrap.TemplateVersion {
		opened.State, opened.Hint = audit.Doubt, "Bring it up to date, with credentials of that account."
		opened.Text += fmt.Sprintf(", but has version %d of the template, and this program has version %d", version, bootstrap.TemplateVersion)
	}
	answers := []audit.Answer{opened}
	if role := at.ReaderRoleARN; role != "" {
		answers = append(answers, t.askReader(ctx, at))
	}
	return append(answers, audit.New(o.cloud.Config, o.made).Ask(ctx)...), nil
}

// askReader asks whether the reader role of a target can be taken.
func (t *targets) askReader(ctx context.Context, at pipeline.Target) audit.Answer {
	at.RoleARN = at.ReaderRoleARN
	if _, err := t.open(ctx, at); err != nil {
		return audit.Answer{Check: "targets", State: audit.Doubt, Text: fmt.Sprintf("the reader role can't be used by %s: %v", t.home.ARN, err), Hint: "Name the caller among the readers there, and the role among the reader roles of the ledger's stack."}
	}
	return audit.Answer{Check: "targets", Text: "the reader role can be used"}
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
			WithHint("If the status page of the region reports a disruption, apply again when it is over. Otherwise correct region.")
	}
	if o.err != nil {
		t.mu.Lock()
		delete(t.opened, at)
		t.mu.Unlock()
	}
	close(o.done)
}

// find returns what the stack of a target made. Errors are CodeFailed, but for a stack that is
// none for targets: that is CodeInvalid.
func (t *targets) find(ctx context.Context, there *cloud.Cloud, at pipeline.Target) (made bootstrap.Resources, err error) {
	region, account := there.Config.Region, there.Account
	if at.RoleARN != "" {
		if _, err := there.Credentials(ctx); err != nil {
			return made, err
		}
	}
	name := cmp.Or(at.Stack, t.stack)
	failed := func(format string, args ...any) *pipeline.Error {
		return pipeline.Errorf(pipeline.CodeFailed, "find stack "+name, format, args...)
	}
	advice := func(verb pipeline.Verb) pipeline.Advice {
		return pipeline.Advice{Verb: verb, Region: region, Stack: name}
	}
	made, err = bootstrap.Find(ctx, cloudformation.NewFromConfig(there.Config), name)
	var unknown *net.DNSError
	answer := err // of AWS, without the remedy that would do for a stack of one's own
	if own := (*pipeline.Error)(nil); errors.As(err, &own) {
		answer = own.Err
	}
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return made, failed("AWS has no region %q: %w", region, answer).WithHint("Correct region.")
	case cloud.RegionRefused(err):
		return made, failed("region %s does not know the credentials of account %s, probably because it is not enabled there: %w", region, account, answer).
			WithHint("Enable region %s in that account, or choose another.", region)
	case pipeline.IsNotFound(err):
		return made, failed("account %s has no stack %q in region %s", account, name, region).WithHint("Correct stack and region.").WithAdvice(advice(pipeline.VerbCreateTarget))
	case cloud.Is(err, "AccessDenied"):
		return made, failed("%s may not describe stack %q in region %s of account %s, probably because it is not a role of that stack: %w", cmp.Or(at.RoleARN, there.ARN), name, region, account, answer).
			WithHint("A role that Penstock makes may describe only the stack that made it: correct stack and region.").WithAdvice(advice(pipeline.VerbCreateTarget))
	case err != nil:
		return made, pipeline.Errorf(pipeline.CodeFailed, "find stack "+name, "in account %s, region %s: %w", account, region, err)
	case made.TemplateVersion < bootstrap.TargetVersion:
		return made, failed("it has version %d of the template in account %s, region %s, but version %d is needed for a target", made.TemplateVersion, account, region, bootstrap.TargetVersion).
			WithAdvice(advice(pipeline.VerbUpdateTarget))
	}
	return made, t.suits(at, there, made)
}

// suits refuses a stack that no environments of another one's pipelines can be in.
func (t *targets) suits(at pipeline.Target, there *cloud.Cloud, made bootstrap.Resources) error {
	op, region, account := "find stack "+made.Stack, there.Config.Region, there.Account
	if is := settings(AWS{}, made).Account(); account != is {
		return pipeline.Errorf(pipeline.CodeFailed, op, "its roles are of account %s, but %s is of account %s", is, cmp.Or(at.RoleARN, "the caller"), account).
			WithHint("Correct role_arn: it must be of the account that has the stack.")
	}
	if made.Table != "" {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "in account %s, region %s, it has a ledger of its own, whose pipelines would end environments that they don't know", account, region).
			WithHint("Make a stack for these environments alone, with another name, and name it in stack.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbCreateTarget, Region: region})
	}
	if lacks := made.Lacks(); len(lacks) > 0 {
		return pipeline.Errorf(pipeline.CodeFailed, op, "it has no %s in account %s, region %s", strings.Join(lacks, ", "), account, region).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbUpdateTarget, Region: region, Stack: made.Stack})
	}
	return nil
}
