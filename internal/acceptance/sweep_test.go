// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// mark is the tag of everything that the program makes, beside that of the stack. Its value
// is the region of the stack.
const mark = "penstock-acceptance"

// kind is a kind of things that the route makes.
type kind struct {
	name   string
	list   func(ctx context.Context) (ids []string, err error) // the program's own, in no order
	remove func(ctx context.Context, id string) error          // what does not exist any more is no error
}

// kinds are all of them, in the order in which they can be removed.
func (a *account) kinds() []kind {
	return slices.Concat(a.ending(), a.machines(), a.traffic(), a.images(a.region), a.images(a.second),
		a.parameters(a.region), a.parameters(a.second), a.foundation())
}

// mine reports whether tags say that the program made what has them.
func (a *account) mine(tags map[string]string) bool {
	return tags[stack.TagStack] == a.stack && tags[mark] == a.region
}

// tagsOf returns the tags of something, of whatever service.
func tagsOf[T any](list []T, pair func(T) (key, value *string)) map[string]string {
	tags := map[string]string{}
	for _, t := range list {
		key, value := pair(t)
		tags[aws.ToString(key)] = aws.ToString(value)
	}
	return tags
}

// pager is a paginator of the SDK.
type pager[Page, Options any] interface {
	HasMorePages() bool
	NextPage(ctx context.Context, options ...func(*Options)) (*Page, error)
}

// collect returns what f finds on all pages.
func collect[Page, Options, Thing any](ctx context.Context, pages pager[Page, Options], f func(*Page) ([]Thing, error)) (all []Thing, err error) {
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		found, err := f(page)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// gone returns nil for an error with one of the codes that say that something is not there.
func gone(err error, codes ...string) error {
	if cloud.Is(err, codes...) {
		return nil
	}
	return err
}

// sweepLimit bounds the removal of the things of one kind. A stack with a VPC takes longest.
const sweepLimit = 30 * time.Minute

// sweep removes what the program made, and waits until it is gone. It returns what there was.
// A stack of the name that another made is an error, and then nothing is touched. Where
// something can't be removed the rest is, as that costs money, too.
func sweep(ctx context.Context, a *account) (removed []string, err error) {
	if err := a.strange(ctx); err != nil {
		return nil, err
	}
	for _, k := range a.kinds() {
		seen := map[string]bool{}
		schedule := poll.Schedule{First: 50 * time.Millisecond, Max: 15 * time.Second, Factor: 2, Limit: sweepLimit, What: "the end of every " + k.name}
		failed := poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
			ids, err := k.list(ctx)
			if err != nil {
				return poll.Probe{}, fmt.Errorf("list each %s: %w", k.name, err)
			}
			var refused error
			for _, id := range ids {
				if !seen[id] {
					seen[id] = true
					removed = append(removed, k.name+" "+id)
				}
				// What is in use, or ending already, is refused: it is asked for again.
				refused = errors.Join(refused, k.remove(ctx, id))
			}
			probe := poll.Probe{Done: len(ids) == 0, State: strings.Join(ids, ", ")}
			if refused != nil {
				probe.State += ": " + refused.Error()
			}
			return probe, nil
		})
		err = errors.Join(err, failed)
	}
	return removed, err
}

// left returns what sweep would remove, and touches nothing.
func left(ctx context.Context, a *account) (all []string, err error) {
	if err := a.strange(ctx); err != nil {
		return nil, err
	}
	for _, k := range a.kinds() {
		ids, err := k.list(ctx)
		if err != nil {
			return nil, fmt.Errorf("list each %s: %w", k.name, err)
		}
		for _, id := range ids {
			all = append(all, k.name+" "+id)
		}
	}
	return all, nil
}

// strange is an error where a stack has the name of the program's, and was not made by it.
func (a *account) strange(ctx context.Context) error {
	found, err := a.find(ctx)
	if err != nil || found == nil {
		return err
	}
	tags := found.Tags
	if found.StackStatus == cfn.StackStatusReviewInProgress { // it has got no further than a change set
		if tags, err = a.proposed(ctx, found); err != nil {
			return err
		}
	}
	if a.mine(tagsOf(tags, func(t cfn.Tag) (*string, *string) { return t.Key, t.Value })) {
		return nil
	}
	return fmt.Errorf("stack %s of account %s in %s was not made by this program: it has no tag %s=%s. Name another stack with %s",
		a.stack, a.id, a.region, mark, a.region, stackVariable)
}

// find returns the stack; nil for none.
func (a *account) find(ctx context.Context) (*cfn.Stack, error) {
	found, err := cloudformation.NewFromConfig(a.own).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(a.stack)})
	if cloud.Is(err, "ValidationError") { // there is none
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found.Stacks[0], nil
}

// proposed returns the tags that the change sets of a stack would give it.
func (a *account) proposed(ctx context.Context, s *cfn.Stack) (tags []cfn.Tag, err error) {
	client := cloudformation.NewFromConfig(a.own)
	sets, err := client.ListChangeSets(ctx, &cloudformation.ListChangeSetsInput{StackName: s.StackId})
	if err != nil {
		return nil, err
	}
	for _, set := range sets.Summaries {
		d, err := client.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: set.ChangeSetId, StackName: s.StackId})
		if err != nil {
			return nil, err
		}
		tags = append(tags, d.Tags...)
	}
	return tags, nil
}

// TestSweepAccount removes what a run on an account of AWS's has left, as after a crash. It
// says first what that is, and asks.
func TestSweepAccount(t *testing.T) {
	a, agreed := realAccount(t)
	ctx := interruptible(t)
	all, err := left(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Logf("account %s has nothing of %s in %s and %s", a.id, a.stack, a.region, a.second)
		return
	}
	if err := agreed.ask(ctx, fmt.Sprintf("%sRemove from it:\n  %s\n", a.describe(), strings.Join(all, "\n  ")), 0); err != nil {
		t.Fatal(err)
	}
	removed, err := sweep(ctx, a)
	if err != nil {
		t.Error(err)
	}
	t.Logf("removed from account %s:\n  %s", a.id, strings.Join(removed, "\n  "))
}
