// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// as returns the options of a caller to whom AWS allows writes by the partition key, as
// the policies of the roles do.
func as(c *cloudtest.Cloud, o ledger.DynamoOptions, put, remove func(pk string) bool) ledger.DynamoOptions {
	key := func(item map[string]types.AttributeValue) string {
		pk, _ := item["pk"].(*types.AttributeValueMemberS)
		return pk.Value
	}
	check := func(in any) bool {
		switch in := in.(type) {
		case *dynamodb.PutItemInput:
			return put(key(in.Item))
		case *dynamodb.UpdateItemInput:
			return put(key(in.Key))
		case *dynamodb.DeleteItemInput:
			return remove(key(in.Key))
		case *dynamodb.BatchWriteItemInput:
			for _, w := range in.RequestItems[o.Table] {
				if !put(key(w.DeleteRequest.Key)) {
					return false
				}
			}
		case *dynamodb.TransactWriteItemsInput:
			for _, w := range in.TransactItems {
				if w.Put != nil && !put(key(w.Put.Item)) || w.Update != nil && !put(key(w.Update.Key)) || w.Delete != nil && !remove(key(w.Delete.Key)) {
					return false
				}
			}
		}
		return true
	}
	guard := middleware.InitializeMiddlewareFunc("Guard", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		if !check(in.Parameters) {
			return middleware.InitializeOutput{}, middleware.Metadata{}, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "the role is not authorized"}
		}
		return next.HandleInitialize(ctx, in)
	})
	cfg := c.Own()
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error { return s.Initialize.Add(guard, middleware.After) })
	o.Client = dynamodb.NewFromConfig(cfg)
	return o
}

func decisions(pk string) bool { return strings.HasPrefix(pk, "decisions#") }
func all(string) bool          { return true }
func none(string) bool         { return false }

func other(pk string) bool { return !decisions(pk) }

func decides(build string, result pipeline.DecisionResult, who string) pipeline.Event {
	return pipeline.Event{Kind: pipeline.BuildDecided, Actor: who, Facts: pipeline.Facts{Decision: &pipeline.Decision{
		Pipeline: "shop", Stage: "exploratory", Build: build, Result: result, Actor: who,
	}}}
}

// A caller who may only decide decides, and it counts at once. A caller who may write all
// else puts it into the history, and can't decide.
func TestRolesOfTheLedger(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	approver, deployer := openTable(t, as(c, o, decisions, none)), openTable(t, as(c, o, other, all)) // on a table that nobody has used
	write := func(l *ledger.Dynamo, expect map[pipeline.Key]int64, events ...pipeline.Event) error {
		_, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: events, Expect: expect})
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v (%s)", err, reason.Hint(err))
		}
	}
	result := func(build string) pipeline.DecisionResult {
		t.Helper()
		st, err := deployer.State(t.Context(), "shop")
		must(err)
		return st.Decisions[pipeline.StageBuild("exploratory", build)].Result
	}
	head := func() int64 {
		t.Helper()
		n, err := approver.Head(t.Context(), "shop")
		must(err)
		return n
	}
	key := func(build string) pipeline.Key {
		return pipeline.Key{Kind: pipeline.RecordDecision, ID: pipeline.StageBuild("exploratory", build)}
	}
	must(write(deployer, nil, build("b-1"), build("b-2")))
	if err := write(deployer, nil, decides("b-1", pipeline.Approved, "dora")); pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(reason.Hint(err), "ApproverRole") {
		t.Errorf("a deployer decides: %v (%s)", err, reason.Hint(err))
	}
	if err := write(approver, nil, build("b-3")); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("an approver offers a build: %v", err)
	}
	if result("b-1") != "" || head() != 2 {
		t.Errorf("after refused writes b-1 is %q, the head %d", result("b-1"), head())
	}
	must(write(approver, map[pipeline.Key]int64{key("b-1"): 0}, decides("b-1", pipeline.Approved, "ada")))
	if result("b-1") != pipeline.Approved || head() != 3 {
		t.Errorf("pending, b-1 is %q, the head %d", result("b-1"), head())
	}
	if err := write(approver, map[pipeline.Key]int64{key("b-1"): 0}, decides("b-1", pipeline.Rejected, "eve")); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("a decision on what somebody else has decided meanwhile: %v", err)
	}
	if n, err := deployer.Verify(t.Context(), "shop"); err != nil || n != 2 {
		t.Errorf("with a pending decision %d events are fine, %v", n, err)
	}
	if newest, err := approver.Newest(t.Context(), "shop"); err != nil || newest.Sequence != 2 {
		t.Errorf("with a pending decision the newest event of the history is %v, %v", newest, err)
	}
	if _, from, err := deployer.StateFrom(t.Context(), "shop"); err != nil || from != 2 {
		t.Errorf("with a pending decision the state is of event %d, %v", from, err)
	}
	must(write(deployer, nil, build("b-4")))
	if _, from, err := deployer.StateFrom(t.Context(), "shop"); err != nil || from != head() {
		t.Errorf("without a pending decision the state is of event %d of %d, %v", from, head(), err)
	}
	events, err := deployer.Events(t.Context(), "shop", 0, 10)
	must(err)
	if len(events) != 4 || events[2].Facts.Decision == nil || events[2].Actor != "ada" || events[3].Facts.Build == nil || head() != 4 {
		t.Errorf("the history is %+v, the head %d", events, head())
	}
	// Changed before it is absorbed, and again after.
	must(write(approver, nil, decides("b-2", pipeline.Approved, "ada")))
	must(write(approver, nil, decides("b-2", pipeline.Rejected, "ada")))
	if result("b-2") != pipeline.Rejected || head() != 6 {
		t.Errorf("pending twice, b-2 is %q, the head %d", result("b-2"), head())
	}
	must(write(deployer, nil, build("b-5")))
	if events, err = deployer.Events(t.Context(), "shop", 4, 10); err != nil || len(events) != 3 || events[0].Facts.Decision.Result != pipeline.Approved || events[1].Facts.Decision.Result != pipeline.Rejected || head() != 7 {
		t.Errorf("the history goes on with %+v, %v; the head is %d", events, err, head())
	}
	st, err := deployer.State(t.Context(), "shop")
	must(err)
	must(write(approver, map[pipeline.Key]int64{key("b-2"): st.Version(key("b-2").Kind, key("b-2").ID)}, decides("b-2", pipeline.Approved, "ada")))
	if result("b-2") != pipeline.Approved {
		t.Errorf("b-2 is %q", result("b-2"))
	}
	must(write(deployer, nil, build("b-6")))
	if n, err := deployer.Verify(t.Context(), "shop"); err != nil || n != head() {
		t.Errorf("%d of %d events are fine, %v", n, head(), err)
	}

	// A caller who may write the history forges a decision in it: it does not count.
	_, err = openTable(t, o).Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{decides("b-6", pipeline.Approved, "eve")}})
	must(err)
	remove := func(pk string) {
		t.Helper()
		_, err := o.Client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &o.Table, Key: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: "decision#" + pipeline.StageBuild("exploratory", "b-6")},
		}})
		must(err)
	}
	remove("decisions#shop")
	if result("b-6") != "" {
		t.Error("a decision counts that is only in the history")
	}
	if _, err := deployer.Verify(t.Context(), "shop"); pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), "b-6") {
		t.Errorf("a forged decision is verified: %v", err)
	}
	must(deployer.Purge(t.Context(), "shop"))
	if n := head(); n != 0 {
		t.Errorf("after a purge the head is %d", n)
	}
	must(write(deployer, nil, build("b-1")))
	if result("b-1") != "" || result("b-2") != "" {
		t.Error("decisions outlive their pipeline")
	}
}

// A plan is made while approvals are pending, and more are given before its apply, which looks at
// the pipeline as it was planned: with those that were pending then, and no others, whether
// the history has taken them in meanwhile or not.
func TestSnapshotOfPendingDecisions(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	approver, deployer := openTable(t, as(c, o, decisions, none)), openTable(t, as(c, o, other, all))
	write := func(l *ledger.Dynamo, events ...pipeline.Event) {
		t.Helper()
		if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	position := func() state.Position {
		t.Helper()
		head, err := deployer.Head(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		return state.Position{Sequence: head}
	}
	store := state.New(state.Config{Ledger: deployer, Now: time.Now})
	approved := func(at state.Position) (builds string) {
		t.Helper()
		s, err := store.SnapshotAt(t.Context(), "shop", at)
		if err != nil {
			t.Fatalf("at event %d: %v", at.Sequence, err)
		}
		for _, build := range []string{"b-1", "b-2", "b-3"} {
			if s.State().Decisions[pipeline.StageBuild("exploratory", build)].Result == pipeline.Approved {
				builds += build
			}
		}
		return builds
	}
	write(deployer, build("b-1"), build("b-2"), build("b-3"))
	before := position()
	write(approver, decides("b-1", pipeline.Approved, "ada"))
	write(approver, decides("b-2", pipeline.Approved, "ben"))
	planned := position()
	write(approver, decides("b-3", pipeline.Approved, "ada"))
	for _, when := range []string{"pending", "taken in"} {
		if a, b, c := approved(before), approved(planned), approved(position()); a != "" || b != "b-1b-2" || c != "b-1b-2b-3" {
			t.Errorf("%s: approved before %q, as planned %q, then %q", when, a, b, c)
		}
		write(deployer, build("b-4"))
	}
	ahead := position()
	ahead.Sequence++
	if _, err := store.SnapshotAt(t.Context(), "shop", ahead); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("a position that nobody has come to: %v", err)
	}
	write(approver, decides("b-4", pipeline.Approved, "ada")) // and that somebody has
	if got := approved(ahead); got != "b-1b-2b-3" {
		t.Errorf("at the next event, approved are %q", got)
	}
}

// A caller who may write only decisions leaves by hand more than a decision. Only the
// decision counts, nothing else gets into the history, and no writer is blocked.
func TestOnlyDecisionsArePending(t *testing.T) {
	t.Parallel()
	more := decides("b-1", pipeline.Approved, "eve")
	more.Pipeline, more.Facts.Build = "shop", &pipeline.Build{ID: "b-evil", Pipeline: "shop"}
	gone := decides("b-1", pipeline.Approved, "eve")
	gone.Pipeline, gone.Facts.Gone = "shop", []pipeline.Key{{Kind: pipeline.RecordBuild, ID: "b-1"}}
	elsewhere := decides("b-1", pipeline.Approved, "eve")
	elsewhere.Pipeline = "till"
	for name, event := range map[string]any{"a decision and a build": more, "a decision and a removal": gone, "one of another pipeline": elsewhere, "no event": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, o := newTable(t)
			deployer := openTable(t, o)
			write := func(id string) {
				t.Helper()
				if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build(id)}}); err != nil {
					t.Fatal(err)
				}
			}
			write("b-1")
			key := pipeline.StageBuild("exploratory", "b-1")
			doc, err := json.Marshal(decides("b-1", pipeline.Approved, "eve").Facts.Decision)
			if err != nil {
				t.Fatal(err)
			}
			body, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range []map[string]types.AttributeValue{
				{"sk": &types.AttributeValueMemberS{Value: "#head"}, "n": &types.AttributeValueMemberN{Value: "1"}},
				{"sk": &types.AttributeValueMemberS{Value: "decision#" + key}, "kind": &types.AttributeValueMemberS{Value: "decision"}, "id": &types.AttributeValueMemberS{Value: key},
					"version": &types.AttributeValueMemberN{Value: "1"}, "doc": &types.AttributeValueMemberS{Value: string(doc)}},
				{"sk": &types.AttributeValueMemberS{Value: fmt.Sprintf("pending#%016d", 1)}, "event": &types.AttributeValueMemberS{Value: string(body)}},
			} {
				item["pk"] = &types.AttributeValueMemberS{Value: "decisions#shop"}
				if _, err := o.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &o.Table, Item: item}); err != nil {
					t.Fatal(err)
				}
			}
			write("b-2")
			write("b-3")
			st, err := deployer.State(t.Context(), "shop")
			if err != nil || len(st.Builds) != 3 || st.Builds["b-evil"].ID != "" || st.Decisions[key].Result != pipeline.Approved {
				t.Errorf("the state is %+v, %v", st, err)
			}
			if n, err := deployer.Head(t.Context(), "shop"); err != nil || n != 3 {
				t.Errorf("the head is %d, %v", n, err)
			}
			if _, err := deployer.Verify(t.Context(), "shop"); pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), "is none") {
				t.Errorf("it is verified: %v", err)
			}
		})
	}
}

// A reason that is no text is kept as one, and a pending decision absorbed all the same.
func TestPendingDecisionThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	approver, deployer := openTable(t, as(c, o, decisions, none)), openTable(t, as(c, o, other, all))
	e := decides("b-1", pipeline.Rejected, "ada")
	e.Facts.Decision.Reason = "slow \xff"
	for _, w := range []struct {
		l *ledger.Dynamo
		e pipeline.Event
	}{{deployer, build("b-1")}, {approver, e}, {deployer, build("b-2")}} {
		if _, err := w.l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{w.e}}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := deployer.Verify(t.Context(), "shop"); err != nil || n != 3 {
		t.Errorf("%d events are fine, %v", n, err)
	}
}

// Whatever request fails, before or after it took effect: the decision is there once or
// not at all, and what comes after is whole.
func TestFaultsOfDecisions(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for k := 1; k <= 6; k++ {
			t.Run(fmt.Sprintf("request %d after %v", k, after), func(t *testing.T) {
				t.Parallel()
				c, o := newTable(t)
				approver, deployer := openTable(t, as(c, o, decisions, none)), openTable(t, as(c, o, other, all))
				if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-1")}}); err != nil {
					t.Fatal(err)
				}
				c.Fail(cloudtest.Fault{Service: "dynamodb", Nth: k, Code: "InternalServerError", Status: 500, After: after})
				_, decided := approver.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{decides("b-1", pipeline.Approved, "ada")}})
				_, built := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-2")}})
				c.Mend()
				want := int64(1)
				for _, err := range []error{decided, built} {
					if err == nil {
						want++
					}
				}
				if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-3")}}); err != nil {
					t.Fatal(err)
				}
				n, err := deployer.Verify(t.Context(), "shop")
				head, _ := deployer.Head(t.Context(), "shop")
				st, _ := deployer.State(t.Context(), "shop")
				if err != nil || n != want+1 || head != n || (len(st.Decisions) == 1) != (decided == nil) {
					t.Errorf("decided: %v, built: %v: %d events, the head %d, %d decisions, %v", decided, built, n, head, len(st.Decisions), err)
				}
			})
		}
	}
}

// A caller with the rights of the launcher's role launches, under a lease, and neither
// decides nor defines a pipeline.
func TestLauncherOfTheLedger(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	launches := func(pk string) bool {
		return pk == "lease" || strings.HasPrefix(pk, "view#") || strings.HasPrefix(pk, "events#") || strings.HasPrefix(pk, "runs#")
	}
	deployer, launcher := openTable(t, as(c, o, other, all)), openTable(t, as(c, o, launches, launches))
	write := func(l *ledger.Dynamo, fence *pipeline.Lease, e pipeline.Event) error {
		_, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{e}, Fence: fence})
		return err
	}
	if err := write(launcher, nil, build("b-1")); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher begins a history: %v", err)
	}
	if err := write(deployer, nil, build("b-1")); err != nil {
		t.Fatal(err)
	}
	lease, err := launcher.Acquire(t.Context(), "shop/env/bob", pipeline.Holder{Actor: "bob"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	launched := pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &pipeline.Environment{ID: "e-1", Pipeline: "shop"}}}
	if err := write(launcher, &lease, launched); err != nil {
		t.Error(err)
	}
	if err := launcher.Release(t.Context(), lease); err != nil {
		t.Error(err)
	}
	if err := write(launcher, nil, decides("b-1", pipeline.Approved, "bob")); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher decides: %v", err)
	}
	st, err := deployer.State(t.Context(), "shop")
	if err != nil || len(st.Environments) != 1 || len(st.Decisions) != 0 {
		t.Errorf("the state is %+v, %v", st, err)
	}
}

// Several approvers decide beside a deployer who writes: nothing is lost, and the
// history is whole.
func TestPendingDecisionsConcurrently(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	deployer := openTable(t, as(c, o, other, all))
	if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-0")}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const each = 12
	for a := range 4 {
		wg.Go(func() {
			approver := openTable(t, as(c, o, decisions, none))
			for n := range each {
				if _, err := approver.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{decides(fmt.Sprintf("b-%d-%d", a, n), pipeline.Approved, "ada")}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for n := range each {
			if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build(fmt.Sprintf("b-%d", n+1))}}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if _, err := deployer.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-last")}}); err != nil {
		t.Fatal(err)
	}
	st, err := deployer.State(t.Context(), "shop")
	if err != nil || len(st.Decisions) != 4*each {
		t.Errorf("%d decisions count, %v", len(st.Decisions), err)
	}
	if n, err := deployer.Verify(t.Context(), "shop"); err != nil || n != 1+4*each+each+1 {
		t.Errorf("the history has %d events, %v", n, err)
	}
}
