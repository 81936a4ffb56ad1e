// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// told gives the notices of the last event, as "kind stage: text".
func (s *story) notified() []string {
	s.t.Helper()
	var all []string
	for _, n := range s.state().Notices(s.events[len(s.events)-1]) {
		all = append(all, fmt.Sprintf("%s %s: %s", n.Kind, n.Stage, strings.ReplaceAll(n.Text, id("x"), "x")))
	}
	return all
}

func TestNotices(t *testing.T) {
	base := func() *story { return tell(t).route().offered("x") }
	tried := func() *story { return base().passed("acceptance", "x").passed("exploratory", "x") }
	back := func() *story {
		s := base().through("x", "y").passed("production", "y")
		run := Run{ID: "r-back", Stage: "production", Kind: KindStage, Build: id("x"), Status: RunPassed, Digest: s.state().Stages["production"].Digest(s.state().Pipeline), Actor: "bob"}
		return s.event(RunEnded, Facts{Run: &run, Current: &Current{Stage: "production", Build: id("x"), Run: "r-back", Previous: id("y")}})
	}
	for name, tt := range map[string]struct {
		story *story
		want  []string
	}{
		"a stage that passes opens others": {base().passed("acceptance", "x"), []string{"passed acceptance: x passed acceptance.", "ready exploratory: exploratory may begin with x.", "ready capacity: capacity may begin with x."}},
		"one that wants a decision":        {tried(), []string{"waiting exploratory: exploratory waits for a decision on x: `penstock approve"}},
		"the first of two says what is missing": {tried().passed("capacity", "x"),
			[]string{"passed capacity: x passed capacity. pre-production still waits for exploratory to pass it."}},
		"the second says what may begin": {tried().passed("capacity", "x").decided("exploratory", "x", Approved),
			[]string{"passed exploratory: bob approved x at exploratory.", "ready pre-production: pre-production may begin with x."}},
		"the other way round": {tried().decided("exploratory", "x", Approved).passed("capacity", "x"),
			[]string{"passed capacity: x passed capacity.", "ready pre-production: pre-production may begin with x."}},
		"a stage that people move waits": {tried().decided("exploratory", "x", Approved).passed("capacity", "x").passed("pre-production", "x"),
			[]string{"passed pre-production: x passed pre-production.", "waiting production: production waits for a promotion of x: `penstock promote"}},
		"a paused stage waits": {base().current("capacity").passed("acceptance", "x"),
			[]string{"passed acceptance", "ready exploratory", "waiting capacity: capacity could begin with x, and waits for a person to resume it"}},
		"a failure":   {base().ran("acceptance", "x", RunFailed), []string{"failed acceptance: acceptance failed for x: "}},
		"a cancel":    {base().ran("acceptance", "x", RunCancelled), nil},
		"a rejection": {tried().decided("exploratory", "x", Rejected), []string{"rejected exploratory: bob rejected x at exploratory: because"}},
		"an override": {tried().overridden("exploratory", "x"), []string{"overridden exploratory: alice let x pass exploratory, which it had not passed: because."}},
		"the first of two, overridden": {tried().overridden("exploratory", "x"),
			[]string{"overridden exploratory: alice let x pass exploratory, which it had not passed: because. pre-production still waits for capacity to pass it."}},
		"an override that opens": {tried().passed("capacity", "x").overridden("exploratory", "x"),
			[]string{"overridden exploratory", "ready pre-production: pre-production may begin with x."}},
		"a deployment":       {base().through("x").passed("production", "x"), []string{"deployed production: production runs x."}},
		"a rollback":         {back(), []string{"rolled_back production: production is back at x, from "}},
		"a bake":             {base().event(RunEnded, Facts{Run: &Run{ID: "r-1", Stage: "image/base", Kind: KindBake, Image: "img-2", Status: RunPassed}}), []string{"baked image/base: Image img-2 of image/base is baked."}},
		"a bake that failed": {base().event(RunEnded, Facts{Run: &Run{ID: "r-1", Stage: "image/base", Kind: KindBake, Status: RunFailed, Error: "no disk"}}), []string{"failed image/base: The bake of image/base failed: no disk"}},
		"a promotion":        {base().promoted("production", "x"), nil},
		"an environment": {base().event(EnvironmentNoticed, Facts{Raised: &Raised{Kind: NoticeDrift, Environment: Environment{ID: "e-1", Purpose: ForStage, Stage: "production", Status: EnvGone}}}),
			[]string{`drift production: The environment e-1 of stage "production" is gone.`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.story.notified()
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
	s := tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x")
	s.event(BuildDecided, Facts{Decision: &Decision{
		Pipeline: "shop", Stage: "exploratory", Build: id("x"), Run: s.state().Results[StageBuild("exploratory", id("x"))][0].ID,
		Result: Approved, Approvals: []Approval{{Person: "bob"}}, Actor: "bob", At: s.now.Add(time.Second),
	}})
	early := s.events[len(s.events)-1]
	before := s.state().Notices(early)
	s.passed("capacity", "x")
	late := s.events[len(s.events)-1]
	after := s.state()
	if got := after.Notices(early); !slices.Equal(got, before) {
		t.Errorf("then %+v\nnow %+v", before, got)
	}
	if n := before[0]; !strings.Contains(n.Text, "pre-production still waits for capacity") || n.ID != fmt.Sprintf("shop-%d-0", early.Seq) || n.Ledger != early.Anchor() || n.Ledger.Hash == "" {
		t.Errorf("the first: %+v", n)
	}
	if all := after.Notices(late); len(all) != 2 || all[1].Kind != NoticeReady {
		t.Errorf("the second: %+v", all)
	}
}

// A kind of event that may tell nothing that is wanted is known without a look at more.
func TestMayTell(t *testing.T) {
	s := tell(t).route().offered("x").passed("acceptance", "x").ran("capacity", "x", RunFailed).passed("exploratory", "x").
		decided("exploratory", "x", Approved).overridden("capacity", "x").current("production").passed("pre-production", "x")
	st, told := s.state(), 0
	for _, e := range s.events {
		for _, n := range st.Notices(e) {
			told++
			if !e.MayTell(NotifyTarget{On: []NoticeKind{n.Kind}}) {
				t.Errorf("event %s tells %s after all", e.Kind, n.Kind)
			}
		}
		if e.Kind == StageDefined && e.MayTell(NotifyTarget{}) {
			t.Errorf("event %s may tell", e.Kind)
		}
	}
	if told < 8 {
		t.Errorf("%d notices", told)
	}
	failed := s.events[slices.IndexFunc(s.events, func(e Event) bool { return e.Kind == RunEnded && e.Facts.Run.Status == RunFailed })]
	if failed.MayTell(NotifyTarget{On: []NoticeKind{NoticePassed}}) {
		t.Error("a failure may tell that something passed")
	}
}

// A target that is mentioned twice is one that is told of both.
func TestTargets(t *testing.T) {
	failed, passed := []NoticeKind{NoticeFailed}, []NoticeKind{NoticePassed}
	p := Pipeline{Notify: []NotifyTarget{{Command: "a", On: failed}, {Command: "b", On: failed}, {Command: "a", On: passed}, {Command: "b"}}}
	got := p.Targets()
	if len(got) != 2 || !slices.Equal(got[0].On, []NoticeKind{NoticeFailed, NoticePassed}) || got[1].On != nil {
		t.Errorf("targets %+v", got)
	}
	if len(p.Notify[0].On) != 1 {
		t.Error("the definition was changed")
	}
}

func TestDescribeTarget(t *testing.T) {
	for want, target := range map[string]NotifyTarget{
		"webhook example.com":      {Webhook: "https://user:secret@example.com/hook?token=s3cret"},
		"webhook $HOOK":            {Webhook: "$HOOK"},
		"slack hooks.example.com":  {Slack: "https://hooks.example.com/services/T/B/secret"},
		"event bus default":        {EventBus: "default"},
		"command notify-send this": {Command: "notify-send this\nand that"},
	} {
		if got := target.Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	a, b := NotifyTarget{Command: "cat"}, NotifyTarget{Command: "cat", On: []NoticeKind{NoticeFailed}}
	if a.Key() != b.Key() || a.Key() == (NotifyTarget{Command: "cut"}).Key() {
		t.Error("the key of a target is not that of what it is")
	}
}
