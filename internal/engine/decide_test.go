// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// offered returns a pipeline with a build that waits at exploratory, and with an approval by
// several people if asked.
func offered(t *testing.T, approvals int) *desk {
	d := open(t)
	d.mustApply(route("1"))
	d.authorize(func(p *pipeline.Pipeline) {
		p.Authorization.Approvals = approvals
		p.Authorization.People = map[string][]string{"bob": {"robert"}}
	})
	return d
}

func (d *desk) decide(who, stage string, v pipeline.DecisionResult, reason string) error {
	_, err := d.as(who).Decide(d.ctx, "shop", stage, build("1"), v, reason)
	return err
}

func (d *desk) lift(who, stage string) (pipeline.Decision, error) {
	return d.as(who).Lift(d.ctx, "shop", stage, build("1"), decision.Looked{}, "it was the test")
}

// version returns the version of the decision on the build.
func (d *desk) version(stage string) int64 {
	return d.seen().Version(pipeline.RecordDecision, pipeline.StageBuild(stage, build("1")))
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// wantCode checks an error's code, its text and its hint.
func wantCode(t *testing.T, err error, code pipeline.Code, says ...string) {
	t.Helper()
	if pipeline.CodeOf(err) != code || reason.Hint(err) == "" {
		t.Fatalf("error %v with code %q and hint %q, want %q", err, pipeline.CodeOf(err), reason.Hint(err), code)
	}
	for _, text := range says {
		if all := err.Error() + " " + reason.Hint(err); !strings.Contains(all, text) {
			t.Errorf("%q does not say %q", all, text)
		}
	}
}

func TestApprovalLiftsNoRejection(t *testing.T) {
	d := offered(t, 1)
	d.must(d.decide("bob", "exploratory", pipeline.Rejected, "it leaks"))
	err := d.decide("carol", "exploratory", pipeline.Approved, "")
	wantCode(t, err, pipeline.CodeRefused, "by bob on 2026-", "it leaks", "penstock approve --lift shop exploratory "+build("1"))
	if _, err := d.lift("carol", "acceptance"); err == nil {
		t.Fatal("it lifted what is not rejected")
	} else {
		wantCode(t, err, pipeline.CodeRefused, "not rejected there", "penstock approve --lift shop exploratory")
	}
	got, err := d.lift("carol", "exploratory")
	d.must(err)
	if len(got.Lifted) != 1 || got.Lifted[0].Actor != "bob" || got.Lifted[0].Reason != "it leaks" || got.Actor != "carol" || d.status("exploratory").Passed != build("1") {
		t.Errorf("lifted: %+v", got)
	}
	if _, err := d.lift("carol", "exploratory"); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("lifted twice: %v", err)
	}
	if _, err := d.Lift(d.ctx, "shop", "exploratory", "", decision.Looked{}, ""); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("no build: %v", err)
	}
}

// A rejection is lifted by as many people as approve. Votes from before the rejection do not
// count, and another rejection restarts the count.
func TestLiftOfSeveral(t *testing.T) {
	d := offered(t, 2)
	d.must(d.decide("bob", "exploratory", pipeline.Approved, ""))
	d.must(d.decide("dave", "exploratory", pipeline.Rejected, "ugly"))
	vote := func(who string, missing int) pipeline.Decision {
		t.Helper()
		got, err := d.lift(who, "exploratory")
		d.must(err)
		st := d.seen()
		if left := st.Ballot(st.Stages["exploratory"], build("1")).MissingLifts(); got.Result == pipeline.Rejected && left != missing {
			t.Fatalf("after %s it takes %d more, want %d", who, left, missing)
		}
		return got
	}
	if got := vote("carol", 1); got.Result != pipeline.Rejected || got.Actor != "dave" {
		t.Fatalf("one of two: %+v", got)
	}
	before := d.head()
	vote("carol", 1)
	if d.head() != before {
		t.Error("a second vote of one person was recorded")
	}
	d.must(d.decide("erin", "exploratory", pipeline.Rejected, "slow")) // since then
	if got := vote("bob", 1); got.Result != pipeline.Rejected {
		t.Fatalf("an earlier vote counts for a later rejection: %+v", got)
	}
	if got := vote("robert", 1); got.Result != pipeline.Rejected {
		t.Fatalf("two names of one person lift it: %+v", got)
	}
	got := vote("dave", 0) // one's own, too
	if got.Result != pipeline.Approved || len(got.Lifted) != 2 || got.Lifted[1].Reason != "slow" || len(got.Approvals) != 2 {
		t.Fatalf("two of two: %+v", got)
	}
	if d.status("exploratory").Passed != build("1") {
		t.Error("it does not pass")
	}
	d.must(d.decide("erin", "exploratory", pipeline.Rejected, "still slow"))
	if got := d.seen().Decisions[pipeline.StageBuild("exploratory", build("1"))]; len(got.Stand()) != 1 || got.Lift != nil || len(got.Approvals) != 0 {
		t.Errorf("rejected again: %+v", got)
	}
}

// A vote is on the present evidence: after another run, the count starts again.
func TestLiftIsOnTheEvidence(t *testing.T) {
	d := offered(t, 2)
	d.must(d.decide("bob", "acceptance", pipeline.Rejected, "red"))
	if _, err := d.lift("carol", "acceptance"); err != nil {
		t.Fatal(err)
	}
	d.must(d.decide("bob", "capacity", pipeline.Rejected, "red, too"))
	if got, err := d.lift("dave", "acceptance"); err != nil || got.Result != pipeline.Approved {
		t.Fatalf("%+v, %v", got, err)
	}
	if at := d.seen().RejectedAt(build("1")); at != "capacity" {
		t.Errorf("it stands rejected at %q", at)
	}
	if got, err := d.lift("dave", "capacity"); err != nil || got.Result != pipeline.Rejected {
		t.Fatalf("%+v, %v", got, err)
	}
	st := d.seen()
	key := pipeline.StageBuild("capacity", build("1"))
	again := st.Clone()
	again.Results = map[string][]pipeline.RunSummary{key: {{ID: "r-other", Status: pipeline.RunPassed}}}
	if n := again.Ballot(st.Stages["capacity"], build("1")).MissingLifts(); n != 2 {
		t.Errorf("after another run it takes %d more", n)
	}
}

// An override lifts nothing, and counts again when the rejection is lifted.
func TestLiftAndOverride(t *testing.T) {
	d := offered(t, 1)
	d.authorize(func(p *pipeline.Pipeline) { p.Authorization.Override = []string{"*"} })
	_, err := d.Override(d.ctx, "shop", "exploratory", build("1"), "nobody is here")
	d.must(err)
	d.must(d.decide("bob", "exploratory", pipeline.Rejected, "I am"))
	if _, err := d.Override(d.ctx, "shop", "exploratory", build("1"), "hurry"); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(reason.Hint(err), "--lift") {
		t.Errorf("an override of a rejected build: %v", err)
	}
	if d.status("exploratory").Passed != "" {
		t.Error("an override from before the rejection counts")
	}
	_, err = d.lift("bob", "exploratory")
	d.must(err)
	if d.status("exploratory").Passed != build("1") {
		t.Error("it does not pass again")
	}
}

// A decision is refused if another one was made since the person looked, whatever it is.
// Approvals of the same run add up, though.
func TestDecidedSinceOneLooked(t *testing.T) {
	for name, tt := range map[string]struct {
		first  func(*desk) error
		second pipeline.DecisionResult
		says   []string // nil: it is taken
	}{
		"an approval after a rejection": {func(d *desk) error { return d.decide("bob", "exploratory", pipeline.Rejected, "it leaks") }, pipeline.Approved,
			[]string{"since you looked", "rejected", "by bob on 2026-", "it leaks", "--lift"}},
		"a rejection after a rejection": {func(d *desk) error { return d.decide("bob", "exploratory", pipeline.Rejected, "it leaks") }, pipeline.Rejected,
			[]string{"since you looked", "by bob on 2026-", "it leaks"}},
		"a rejection after an approval": {func(d *desk) error { return d.decide("bob", "exploratory", pipeline.Approved, "fine") }, pipeline.Rejected,
			[]string{"since you looked", "bob approved build", "on 2026-", "fine"}},
		"an approval after an approval": {func(d *desk) error { return d.decide("bob", "exploratory", pipeline.Approved, "fine") }, pipeline.Approved, nil},
		"an approval after a lift": {func(d *desk) error {
			err := d.decide("bob", "exploratory", pipeline.Rejected, "it leaks")
			for _, who := range []string{"carol", "dave"} {
				if err == nil {
					_, err = d.lift(who, "exploratory")
				}
			}
			return err
		}, pipeline.Approved, []string{"since you looked, dave lifted", "by bob", "it leaks"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := offered(t, 2)
			looked := d.version("exploratory")
			d.must(tt.first(d))
			before := d.head()
			_, err := d.as("erin").DecideOn(d.ctx, "shop", "exploratory", build("1"), decision.Looked{Decision: &looked}, tt.second, "I think so")
			if tt.says == nil {
				d.must(err)
				return
			}
			wantCode(t, err, pipeline.CodeConflict, tt.says...)
			if d.head() != before {
				t.Error("what was refused was recorded")
			}
			now := d.version("exploratory")
			if tt.second == pipeline.Rejected {
				_, err = d.as("erin").DecideOn(d.ctx, "shop", "exploratory", build("1"), decision.Looked{Decision: &now}, tt.second, "I think so")
				d.must(err)
			}
		})
	}
	d := offered(t, 1)
	d.must(d.decide("bob", "exploratory", pipeline.Rejected, "it leaks"))
	looked := d.version("exploratory")
	d.must(d.decide("carol", "exploratory", pipeline.Rejected, "and it is ugly"))
	_, err := d.as("dave").Lift(d.ctx, "shop", "exploratory", build("1"), decision.Looked{Decision: &looked}, "")
	wantCode(t, err, pipeline.CodeConflict, "since you looked", "by carol", "and it is ugly", "by bob")
}

// racing makes something happen between a decision's look at the state and its record.
type racing struct {
	engine.Ledger
	once sync.Once
	do   func()
}

func (r *racing) Append(ctx context.Context, b pipeline.Batch) ([]pipeline.Event, error) {
	r.once.Do(r.do)
	return r.Ledger.Append(ctx, b)
}

// Two people decide at the same instant: both decisions are accepted, or the later one is
// refused and says what the other was. Nobody lifts a rejection that they did not see.
func TestTwoDecideAtOnce(t *testing.T) {
	approve, reject := pipeline.Approved, pipeline.Rejected
	for name, tt := range map[string]struct{ first, second pipeline.DecisionResult }{
		"a rejection before an approval": {reject, approve}, "an approval before a rejection": {approve, reject},
		"two approvals": {approve, approve}, "two rejections": {reject, reject},
	} {
		t.Run(name, func(t *testing.T) {
			d := offered(t, 2)
			late := d.as("carol")
			config := late.config
			config.Ledger = &racing{Ledger: late.config.Ledger, do: func() { d.must(d.decide("bob", "exploratory", tt.first, "at once")) }}
			_, err := engine.New(config).As(pipeline.Person{Name: "carol"}).Decisions.Do(d.ctx, command(verb(tt.second), "shop", "exploratory", build("1"), "no, yes"))
			st := d.seen()
			if tt.first == approve && tt.second == approve {
				d.must(err)
				if n := len(st.Ballot(st.Stages["exploratory"], build("1")).Approvals()); n != 2 {
					t.Errorf("%d approvals count", n)
				}
				return
			}
			wantCode(t, err, pipeline.CodeConflict, "bob", "at once", "since you looked")
			if got := st.Decisions[pipeline.StageBuild("exploratory", build("1"))]; got.Result != tt.first || got.Actor != "bob" {
				t.Errorf("decided: %+v", got)
			}
		})
	}
	t.Run("many", func(t *testing.T) {
		d := offered(t, 3)
		people := []string{"ann", "bob", "carol", "dave", "erin", "frank"}
		var work sync.WaitGroup
		results := make([]error, len(people))
		for i, who := range people {
			e := d.as(who)
			work.Go(func() {
				vote := approve
				if i == 3 {
					vote = reject
				}
				_, results[i] = e.Decisions.Do(d.ctx, decision.Command{Verb: verb(vote), Pipeline: "shop", Stage: "exploratory", Build: build("1"), Reason: "at once"})
			})
		}
		work.Wait()
		got := d.seen().Decisions[pipeline.StageBuild("exploratory", build("1"))]
		for i, err := range results {
			if code := pipeline.CodeOf(err); err != nil && code != pipeline.CodeConflict && code != pipeline.CodeRefused {
				t.Errorf("%s: %v", people[i], err)
			}
		}
		if rejected := results[3] == nil; rejected != (got.Result == reject) {
			t.Errorf("dave's rejection: %v; decided %+v", results[3], got)
		}
		for i, who := range people {
			counts := slices.ContainsFunc(got.Approvals, func(a pipeline.Approval) bool { return a.Actor == who })
			if got.Result == approve && i != 3 && counts != (results[i] == nil) {
				t.Errorf("%s: %v, and the approval counts: %v", who, results[i], counts)
			}
		}
	})
}

// The engine accepts what a refusal and a status advise.
func TestApproveStatusAndPlanAgree(t *testing.T) {
	d := open(t)
	d.mustApply(route("1"))
	d.mustApply(route("2"))
	one, two := build("1"), build("2")
	if _, err := d.Decide(d.ctx, "shop", "exploratory", "", pipeline.Rejected, "ugly"); err != nil {
		t.Fatal(err)
	}
	if got := d.status("exploratory"); got.Move.Candidate.ID != one || got.Status != gate.StatusWaiting || got.Move.Action != gate.ActionAdopt {
		t.Fatalf("after the rejection of %s: %+v", two, got.Move)
	}
	d.mustApply(route("2"))
	if got := d.status("exploratory"); got.Current.Build != one || got.Move.Action != gate.ActionNone {
		t.Fatalf("after an apply: %+v", got)
	}
	if got := d.status("pre-production"); !strings.Contains(reason.Waiting(got.Move.Wait), "#1 to pass") {
		t.Errorf("pre-production waits for %q", reason.Waiting(got.Move.Wait))
	}
	got, err := d.Decide(d.ctx, "shop", "exploratory", "", pipeline.Approved, "")
	if err != nil || got.Build != one {
		t.Errorf("approved %q: %v", got.Build, err)
	}
	d.mustApply(route("2"))
	if got := d.status("pre-production"); got.Passed != one {
		t.Errorf("pre-production passed %q", got.Passed)
	}
	if _, err := d.Decide(d.ctx, "shop", "exploratory", one, pipeline.Rejected, "too"); err != nil {
		t.Fatal(err)
	}
	_, err = d.Decide(d.ctx, "shop", "exploratory", "", pipeline.Approved, "")
	wantCode(t, err, pipeline.CodeRefused, "waits for a build newer than #2")
	if _, err := d.Lift(d.ctx, "shop", "exploratory", two, decision.Looked{}, ""); err != nil {
		t.Fatal(err)
	}
	if got := d.status("exploratory"); got.Move.Candidate.ID != two {
		t.Errorf("after the lift: %+v", got.Move)
	}
}
