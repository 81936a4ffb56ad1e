// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// told returns the notices of the last event, as "kind stage: text".
func told(s *Story) []string {
	st := s.State()
	var all, names []string
	for _, name := range []string{"x", "y"} {
		names = append(names, fmt.Sprintf("#%d", st.Builds[ID(name)].Number), name)
	}
	for _, n := range notice.Of(st, s.Events[len(s.Events)-1]) {
		all = append(all, fmt.Sprintf("%s %s: %s", n.Kind, n.Stage, strings.NewReplacer(names...).Replace(n.Text)))
	}
	return all
}

// cancelled tells that alice takes the promotion to production back.
func cancelled(s *Story) *Story {
	p := s.State().Promotions["production"]
	return s.Event(PromotionCancelled, Facts{Gone: []Key{{Kind: RecordPromotion, ID: p.Stage}}, Ended: &Ended{Promotion: &p}})
}

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestNotices(t *testing.T) {
	base := func() *Story { return Tell(t).Route().Offered("x") }
	tried := func() *Story { return base().Passed("acceptance", "x").Passed("exploratory", "x") }
	back := func() *Story {
		s := base().Through("x", "y").Passed("production", "y")
		run := Run{ID: "r-back", Stage: "production", Kind: KindStage, Build: ID("x"), Status: RunPassed, Digest: s.State().Stages["production"].Digest(s.State().Pipeline), Actor: "bob"}
		return s.Event(RunEnded, Facts{Run: &run, Current: &Current{Stage: "production", Build: ID("x"), Run: "r-back", Previous: ID("y")}})
	}
	for name, tt := range map[string]struct {
		story *Story
		want  []string
	}{
		"a stage that passes opens others": {base().Passed("acceptance", "x"), []string{"passed acceptance: x passed acceptance.", "ready exploratory: exploratory may begin with x.", "ready capacity: capacity may begin with x."}},
		"one that wants a decision":        {tried(), []string{"waiting exploratory: exploratory waits for a decision on x: `penstock approve"}},
		"the first of two says what is missing": {tried().Passed("capacity", "x"),
			[]string{"passed capacity: x passed capacity. pre-production still waits for exploratory to pass it."}},
		"the second says what may begin": {tried().Passed("capacity", "x").Decided("exploratory", "x", Approved),
			[]string{"passed exploratory: bob approved x at exploratory.", "ready pre-production: pre-production may begin with x."}},
		"the other way round": {tried().Decided("exploratory", "x", Approved).Passed("capacity", "x"),
			[]string{"passed capacity: x passed capacity.", "ready pre-production: pre-production may begin with x."}},
		"a stage that people move waits": {tried().Decided("exploratory", "x", Approved).Passed("capacity", "x").Passed("pre-production", "x"),
			[]string{"passed pre-production: x passed pre-production.", "waiting production: production waits for a promotion of x: `penstock promote"}},
		"a paused stage waits": {base().Paused("capacity").Passed("acceptance", "x"),
			[]string{"passed acceptance", "ready exploratory", "waiting capacity: capacity could begin with x, and waits for a person to resume it"}},
		"a failure":   {base().Ran("acceptance", "x", RunFailed), []string{"failed acceptance: acceptance failed for x: "}},
		"a cancel":    {base().Ran("acceptance", "x", RunCancelled), nil},
		"a rejection": {tried().Decided("exploratory", "x", Rejected), []string{"rejected exploratory: bob rejected x at exploratory: because"}},
		"an override": {tried().Overridden("exploratory", "x"), []string{"overridden exploratory: alice let x pass exploratory, which it had not passed: because."}},
		"the first of two, overridden": {tried().Overridden("exploratory", "x"),
			[]string{"overridden exploratory: alice let x pass exploratory, which it had not passed: because. pre-production still waits for capacity to pass it."}},
		"an override that opens": {tried().Passed("capacity", "x").Overridden("exploratory", "x"),
			[]string{"overridden exploratory", "ready pre-production: pre-production may begin with x."}},
		"a deployment":       {base().Through("x").Passed("production", "x"), []string{"deployed production: production runs x."}},
		"a rollback":         {back(), []string{"rolled_back production: production is back at x, from y."}},
		"a bake":             {base().Event(RunEnded, Facts{Run: &Run{ID: "r-1", Stage: "image/base", Kind: KindBake, Image: "img-2", Status: RunPassed}}), []string{"baked image/base: Image img-2 of image/base is baked."}},
		"a bake that failed": {base().Event(RunEnded, Facts{Run: &Run{ID: "r-1", Stage: "image/base", Kind: KindBake, Status: RunFailed, Error: "no disk"}}), []string{"failed image/base: The bake of image/base failed: no disk"}},
		"a promotion":        {base().Promoted("production", "x"), nil},
		"a promotion that is taken back": {cancelled(base().Through("x", "y").Passed("production", "x").Promoted("production", "y")),
			[]string{"cancelled production: alice took bob's promotion of y to production back. It stays at x."}},
		"one's own":          {cancelled(base().Through("x").Event(BuildPromoted, Facts{Promotion: &Promotion{Pipeline: "shop", Stage: "production", Build: ID("x"), Actor: "alice"}})), []string{"cancelled production: alice took the promotion of x to production back."}},
		"the end of a pause": {base().Paused("capacity").Event(StageResumed, Facts{Gone: []Key{{Kind: RecordPause, ID: "capacity"}}}), nil},
		"an environment": {base().Event(EnvironmentNoticed, Facts{Raised: &Raised{Kind: NoticeDrift, Environment: Environment{ID: "e-1", Purpose: ForStage, Stage: "production", Status: EnvGone}}}),
			[]string{`drift production: The environment e-1 of stage "production" is gone.`}},
		"drift": {base().Event(DriftChecked, Facts{Drift: &Drift{Stage: "production", Total: 250, At: began, Since: began, Changes: []ModuleChange{
			{Address: "acme_database.main", Action: ModuleDestroy}, {Address: "acme_dns.a", Action: ModuleUpdate}, {Address: "acme_dns.b", Action: ModuleUpdate}, {Address: "acme_dns.c", Action: ModuleUpdate}}}}),
			[]string{"drift production: The infrastructure of production differs from what was applied: acme_database.main is gone, acme_dns.a was changed, acme_dns.b was changed, and 247 more."}},
		"drift at a target": {base().Event(DriftChecked, Facts{Drift: &Drift{Stage: "production@eu", Total: 1, At: began, Since: began, Changes: []ModuleChange{{Address: "acme_dns.a", Action: ModuleUpdate}}}}),
			[]string{"drift production: The infrastructure of production at target eu differs from what was applied: acme_dns.a was changed."}},
		"the same drift": {base().Event(DriftChecked, Facts{Drift: &Drift{Stage: "production", Total: 1, At: began.Add(time.Hour), Since: began, Changes: []ModuleChange{{Address: "acme_dns.a", Action: ModuleUpdate}}}}), nil},
		"no drift":       {base().Event(DriftChecked, Facts{Drift: &Drift{Stage: "production", At: began}}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := told(tt.story)
			if len(got) != len(tt.want) {
				t.Fatalf("told %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("told %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

// What is told of an event does not change by what happens before it is told.
func TestNoticesOfThen(t *testing.T) {
	s := Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x")
	s.Event(BuildDecided, Facts{Decision: &Decision{
		Pipeline: "shop", Stage: "exploratory", Build: ID("x"), Run: s.State().Results[StageBuild("exploratory", ID("x"))][0].ID,
		Result: Approved, Approvals: []Approval{{Person: "bob"}}, Actor: "bob", At: s.Now.Add(time.Second),
	}})
	early := s.Events[len(s.Events)-1]
	before := notice.Of(s.State(), early)
	s.Passed("capacity", "x")
	late := s.Events[len(s.Events)-1]
	after := s.State()
	if got := notice.Of(after, early); !slices.Equal(got, before) {
		t.Errorf("then %+v\nnow %+v", before, got)
	}
	if n := before[0]; !strings.Contains(n.Text, "pre-production still waits for capacity") || n.ID != fmt.Sprintf("shop-%d-0", early.Seq) || n.Ledger != early.Anchor() || n.Ledger.Hash == "" {
		t.Errorf("the first: %+v", n)
	}
	if all := notice.Of(after, late); len(all) != 2 || all[1].Kind != NoticeReady {
		t.Errorf("the second: %+v", all)
	}
}

// A kind of event that may tell nothing that is wanted is known without a look at more.
func TestMayNotify(t *testing.T) {
	s := Tell(t).Route().Offered("x").Passed("acceptance", "x").Ran("capacity", "x", RunFailed).Passed("exploratory", "x").
		Decided("exploratory", "x", Approved).Overridden("capacity", "x").Paused("production").Passed("pre-production", "x")
	st, told := s.State(), 0
	for _, e := range s.Events {
		for _, n := range notice.Of(st, e) {
			told++
			if !e.MayNotify(NotifyTarget{On: []NoticeKind{n.Kind}}) {
				t.Errorf("event %s tells %s after all", e.Kind, n.Kind)
			}
		}
		if e.Kind == StageDefined && e.MayNotify(NotifyTarget{}) {
			t.Errorf("event %s may tell", e.Kind)
		}
	}
	if told < 8 {
		t.Errorf("%d notices", told)
	}
	failed := s.Events[slices.IndexFunc(s.Events, func(e Event) bool { return e.Kind == RunEnded && e.Facts.Run.Status == RunFailed })]
	if failed.MayNotify(NotifyTarget{On: []NoticeKind{NoticePassed}}) {
		t.Error("a failure may tell that something passed")
	}
}
