// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// TestObstacle tells histories and checks what keeps a build from production, and what to do.
func TestObstacle(t *testing.T) {
	manual, nightly := Named("qa", "dev"), A(TypeCommit)
	manual.Trigger = TriggerManual
	nightly.Name, nightly.Source = "nightly", &SourceRef{Repository: "other", Commit: "c", Digest: "n"}
	live := A(TypeProduction, "pre-production")
	through := func() *Story { return Tell(t).Route().Offered("x").Passed("acceptance", "x") }
	dev := func() *Story {
		return Tell(t).Stages(CommitOf("x"), Named("dev"), manual, Named("live", "qa")).Offered("x")
	}
	tests := map[string]struct {
		story *Story
		stage Stage
		build string
		kind  ObstacleKind
		at    string
		does  string // the advice's command, or part of the hint where it has none
		comes bool
	}{
		"nothing":                      {Tell(t).Route().Through("x"), live, "x", "", "", "", false},
		"no such build":                {Tell(t).Route(), live, "x", ObstacleNoBuild, "", "penstock builds shop", false},
		"the first stage is missing":   {Tell(t).Route().Offered("x"), live, "x", ObstacleNotRun, "acceptance", "terraform apply", true},
		"a decision":                   {through().Passed("exploratory", "x"), live, "x", ObstacleUndecided, "exploratory", "penstock approve shop exploratory " + ID("x"), true},
		"a rejection":                  {through().Decided("acceptance", "x", Rejected), live, "x", ObstacleRejected, "acceptance", "penstock approve --lift shop acceptance " + ID("x"), false},
		"it failed commit":             {Tell(t).Route().Stages(CommitOf("x")).Offered("x").Ran("commit", "x", RunFailed), live, "x", ObstacleFailed, "commit", "penstock logs r-", true},
		"it failed commit, long ago":   {Tell(t).Route().Stages(CommitOf("y")).Offered("x").Ran("commit", "x", RunFailed).Offered("y"), live, "x", ObstacleOutdated, "commit", "penstock builds shop", false},
		"another commit stage made it": {Tell(t).Stages(CommitOf("x"), nightly, Named("dev", "nightly")).Offered("x"), Named("dev", "nightly"), "x", ObstacleOtherMake, "nightly", "penstock builds shop", false},
		"a newer one went by":          {through().Offered("y").Passed("acceptance", "y").Passed("exploratory", "y"), live, "x", ObstaclePassedBy, "exploratory", `set build = "` + ID("x") + `" on stage "exploratory"`, false},
		"a way that is lost goes first": {through().Passed("exploratory", "x").Offered("y").Passed("acceptance", "y").Passed("capacity", "y"), live, "x",
			ObstaclePassedBy, "capacity", `on stage "capacity"`, false},
		"it failed, and is tried again": {through().Passed("exploratory", "x").Decided("exploratory", "x", Approved).Ran("capacity", "x", RunFailed), live, "x", ObstacleFailed, "capacity", "penstock logs r-", true},
		"nobody promoted it":            {dev().Passed("dev", "x"), Named("live", "qa"), "x", ObstacleManual, "qa", "penstock promote shop qa " + ID("x"), true},
		"somebody promoted it":          {dev().Passed("dev", "x").Promoted("qa", "x"), Named("live", "qa"), "x", ObstacleNotRun, "qa", "terraform apply", true},
		"a pin":                         {dev().Stages(PinnedTo(manual, ID("y"))).Passed("dev", "x"), Named("live", "qa"), "x", ObstaclePinned, "qa", `Set build = "` + ID("x") + `" on stage "qa"`, false},
		"a held stage":                  {dev().Passed("dev", "x").Paused("qa"), Named("live", "qa"), "x", ObstaclePaused, "qa", "penstock resume shop qa", true},
		"a decision at a held stage":    {through().Passed("exploratory", "x").Paused("exploratory"), live, "x", ObstacleUndecided, "exploratory", "penstock approve shop exploratory " + ID("x"), true},
		"a stage that is gone":          {Tell(t).Stages(CommitOf("x")).Offered("x"), Named("live", "gone"), "x", ObstacleNoStage, "gone", "Define stage", false},
		"a run under way":               {Tell(t).Route().Offered("x").Ran("acceptance", "x", RunRunning), live, "x", ObstacleRunning, "acceptance", "penstock logs -f shop acceptance", true},
		"a platform that is not there":  {Tell(t).Stages(CommitOf("x"), A(TypeBootstrap)).Offered("x"), Named("live", "commit", "bootstrap"), "x", ObstacleNotRun, "bootstrap", "terraform apply", true},
		"no stage before it":            {Tell(t).Stages(CommitOf("x"), Named("dev")).Offered("x").Ran("commit", "x", RunFailed), Named("dev"), "x", ObstacleFailed, "commit", "penstock logs r-", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, found := ObstacleTo(tt.story.State(), tt.stage, ID(tt.build))
			if found != (tt.kind != "") || o.Kind != tt.kind || o.Stage != tt.at || o.Comes != tt.comes {
				t.Fatalf("%+v, want %s at %q", o, tt.kind, tt.at)
			}
			if found && reason.Command(o.Advice()) != tt.does && !strings.Contains(reason.Advice(o.Advice()), tt.does) {
				t.Errorf("advice %q: %s", reason.Command(o.Advice()), reason.Advice(o.Advice()))
			}
			if text := o.Cause() + reason.Advice(o.Advice()); found && (strings.Contains(text, `""`) || strings.Contains(text, "  ") || strings.Contains(text, "0001")) {
				t.Error(text)
			}
		})
	}
}

// Nothing waits for a build that can no longer come.
func TestWaitsForWhatComes(t *testing.T) {
	live := A(TypeProduction, "pre-production")
	reverted := func() *Story { // x passed, y did not compile, and a revert made x the newest again
		s := Tell(t).Route().Stages(CommitOf("y")).Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Passed("capacity", "x").Offered("y").Ran("commit", "y", RunFailed)
		b := s.State().Builds[ID("x")]
		b.Order = 0
		return s.Stages(CommitOf("x")).Event(StageMoved, Facts{Build: &b})
	}
	tests := map[string]struct {
		story  *Story
		stage  Stage
		status Status
		waits  string
	}{
		"for the build of the commit stage, though it failed": {Tell(t).Route().Stages(CommitOf("x")).Offered("x").Ran("commit", "x", RunFailed), live, StatusWaiting, `#1 to pass "commit", where it failed`},
		"not for one that did not compile":                    {reverted(), live, StatusWaiting, `#1 to pass "exploratory"`},
		"for a new one where the newest is rejected":          {reverted().Decided("exploratory", "x", Rejected), live, StatusRejected, "a build newer than #1"},
		"and what passed by is not waited for":                {Tell(t).Route().Offered("x", "y").Passed("acceptance", "y").Decided("acceptance", "y", Rejected), A(TypeCapacity, "acceptance"), StatusRejected, "a build newer than #2"},
		"for both ways":                                       {Tell(t).Route().Offered("x").Passed("acceptance", "x"), live, StatusWaiting, `#1 to pass "exploratory" and "capacity"`},
		"for a release":                                       {Tell(t).Route().Offered("x").Paused("acceptance"), live, StatusWaiting, `#1 to pass "acceptance", which is paused`},
		"for nothing, below two commit stages": {Tell(t).Stages(CommitOf("x"), func() Stage {
			s := A(TypeCommit)
			s.Name, s.Source = "web", &SourceRef{Repository: "w", Digest: "w"}
			return s
		}()).Offered("x"),
			Named("live", "commit", "web"), StatusWaiting, "nothing: no build can ever pass both"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := look(tt.story.State(), tt.stage)
			if v.Status != tt.status || !strings.Contains(reason.WaitingFor(v.Next), tt.waits) {
				t.Errorf("%s, waits for %q, want %q", v.Status, reason.WaitingFor(v.Next), tt.waits)
			}
		})
	}
}

// After a rejection, the build before it that nobody has decided on is on offer again, but no
// build that is older than one that passed.
func TestOnOfferAgain(t *testing.T) {
	exploratory := A(TypeExploratory, "acceptance")
	tried := func(builds ...string) *Story {
		s := Tell(t).Route()
		for _, b := range builds {
			s.Offered(b).Passed("acceptance", b).Passed("exploratory", b)
		}
		return s
	}
	tests := map[string]struct {
		story     *Story
		candidate string
		status    Status
	}{
		"the one before":            {tried("x", "y").Decided("exploratory", "y", Rejected), "x", StatusWaiting},
		"one that a rejection left": {tried("x", "y", "z").Decided("exploratory", "z", Rejected).Decided("exploratory", "y", Rejected), "x", StatusWaiting},
		"not behind what passed":    {tried("x", "y", "z").Decided("exploratory", "y", Approved).Decided("exploratory", "z", Rejected), "", StatusRejected},
		"not what was rejected":     {tried("x", "y").Decided("exploratory", "y", Rejected).Decided("exploratory", "x", Rejected), "", StatusRejected},
		"not what did not run":      {Tell(t).Route().Offered("x", "y").Passed("acceptance", "x", "y").Passed("exploratory", "y").Decided("exploratory", "y", Rejected), "", StatusRejected},
		"nor what runs differently": {tried("x", "y").Stages(func() Stage { s := exploratory; s.Steps = []Step{{Name: "new"}}; return s }()).Ran("exploratory", "y", RunPassed).Decided("exploratory", "y", Rejected), "", StatusRejected},
		"and back":                  {tried("x", "y").Decided("exploratory", "y", Rejected).Decided("exploratory", "y", Approved), "y", StatusPassed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.State()
			v, want := look(st, st.Stages["exploratory"]), ""
			m := v.Move
			if tt.candidate != "" {
				want = ID(tt.candidate)
			}
			if m.Candidate.ID != want || v.Status != tt.status || v.Undecided != want && tt.status == StatusWaiting {
				t.Errorf("candidate %q, %s (%s), waits for %q; want %q, %s", m.Candidate.ID, v.Status, m.Action, reason.Waiting(m.Wait), want, tt.status)
			}
		})
	}
}

// TestAdviceWorks makes random states, and follows the advice about every build that may not
// enter a stage, until it may, or the only advice is to choose another one.
func TestAdviceWorks(t *testing.T) {
	const most = 30 // times that one gate takes an advice
	followed := map[Verb]int{}
	for seed := range uint64(40) {
		s := Chance(t, rand.New(rand.NewPCG(seed, 2)))
		st := s.State()
		for _, name := range []string{"acceptance", "exploratory", "pre-production", "production"} {
			for build := range st.Builds {
				c := s.Clone()
				for n := 0; follow(t, c, name, build, followed); n++ {
					if n == most {
						o, _ := ObstacleTo(c.State(), c.State().Stages[name], build)
						t.Fatalf("seed %d: %s into %s: the advices have no end; the last: %s %s", seed, build, name, o.Cause(), reason.Advice(o.Advice()))
					}
				}
			}
		}
		for _, stage := range st.Stages {
			if m := decide(st, stage); strings.Contains(reason.Waiting(m.Wait), `""`) || m.Err() != nil && reason.Hint(m.Err()) == "" {
				t.Fatalf("seed %d: %s waits for %q, %v", seed, stage.Name, reason.Waiting(m.Wait), m.Err())
			}
		}
	}
	for _, verb := range []Verb{VerbApprove, VerbLift, VerbPromote, VerbResume, VerbApply, VerbMend, VerbPin, VerbPinBack, VerbFollow, VerbChoose, VerbElsewhere} {
		if followed[verb] == 0 {
			t.Errorf("no advice was to %s", verb)
		}
	}
}

// follow follows the advice about a build that may not enter a stage, as far as it is
// allowed. It reports false once there is nothing left to do.
func follow(t *testing.T, s *Story, name, build string, followed map[Verb]int) bool {
	t.Helper()
	st := s.State()
	o, found := ObstacleTo(st, st.Stages[name], build)
	if !found {
		return false
	}
	advice := o.Advice()
	followed[advice.Verb]++
	at, short := st.Stages[advice.Stage], st.Builds[build].Digest
	refuse := func(why string) {
		t.Fatalf("%s into %s: %s %s\nbut %s", build, name, o.Cause(), reason.Advice(o.Advice()), why)
	}
	move, run := decide(st, at), false
	switch v, _ := st.ResultOf(at, build); advice.Verb {
	case VerbApprove:
		if v.Status != RunPassed || !at.Approval || st.RejectedAt(build) != "" || st.Passed(at.Name, build) {
			refuse("there is nothing to approve")
		}
		s.Decided(at.Name, short, Approved)
	case VerbLift:
		if st.Decisions[StageBuild(at.Name, build)].Result != Rejected {
			refuse("it is not rejected there")
		}
		s.Decided(at.Name, short, Approved)
	case VerbPromote:
		if err := CheckPaused(st, at, "promote"); at.Trigger != TriggerManual || at.Pin != "" || err != nil || Eligible(st, at, build) != nil {
			refuse("it can't be promoted")
		}
		s.Promoted(at.Name, short)
		run = true
	case VerbResume:
		if _, paused := st.Pauses[at.Name]; !paused {
			refuse("nobody holds it")
		}
		s.Event(StageResumed, Facts{Gone: []Key{{Kind: RecordPause, ID: at.Name}}})
	case VerbApply, VerbMend:
		run = true
	case VerbPin, VerbPinBack:
		s.Stages(PinnedTo(at, build))
		run = true
	case VerbElsewhere:
		at = st.Stages[o.Stage]
		if len(at.Awaits()) == 0 || at.Awaits()[0].Stage != advice.Stage || at.Awaits()[0].Pipeline != advice.Pipeline {
			refuse("no such stage keeps it closed")
		}
		at.Elsewhere = slices.Clone(at.Elsewhere)
		for i := range at.Elsewhere {
			at.Elsewhere[i].Build = "b-00000000f1"
		}
		s.Stages(at)
	case VerbFollow:
		if !st.RunsNow(at.Name) {
			refuse("nothing runs")
		}
		s.Ran(at.Name, short, RunPassed)
	case VerbChoose:
		if at.Type != TypeCommit || move.Candidate.ID == build || o.Choice != "" && Eligible(st, st.Stages[name], o.Choice) != nil {
			refuse("it is no dead end, or the choice is none")
		}
		return false
	default:
		refuse("nobody can do that")
	}
	if run {
		st = s.State()
		if move = decide(st, st.Stages[at.Name]); move.Err() != nil || move.Candidate.ID != build || move.Action == ActionNone {
			refuse("an apply does " + string(move.Action) + " for " + move.Candidate.ID)
		}
		if move.Action == ActionRun {
			s.Ran(at.Name, short, RunPassed)
		} else {
			current := Current{Stage: at.Name, Build: build}
			s.Event(StageMoved, Facts{Current: &current})
		}
	}
	return true
}
