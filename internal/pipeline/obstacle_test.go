// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestObstacle tells histories and asks what keeps a build from production, and what to do.
func TestObstacle(t *testing.T) {
	manual, nightly := named("qa", "dev"), a(TypeCommit)
	manual.Trigger = TriggerManual
	nightly.Name, nightly.Source = "nightly", &SourceRef{Repository: "other", Commit: "c", Digest: "n"}
	live := a(TypeProduction, "pre-production")
	through := func() *story { return tell(t).route().offered("x").passed("acceptance", "x") }
	dev := func() *story {
		return tell(t).stages(commitOf("x"), named("dev"), manual, named("live", "qa")).offered("x")
	}
	tests := map[string]struct {
		story *story
		stage Stage
		build string
		kind  ObstacleKind
		at    string
		does  string // the advice's command, or part of the hint where it has none
		comes bool
	}{
		"nothing":                      {tell(t).route().through("x"), live, "x", "", "", "", false},
		"no such build":                {tell(t).route(), live, "x", ObstacleNoBuild, "", "penstock builds shop", false},
		"the first stage is missing":   {tell(t).route().offered("x"), live, "x", ObstacleNotRun, "acceptance", "terraform apply", true},
		"a decision":                   {through().passed("exploratory", "x"), live, "x", ObstacleUndecided, "exploratory", "penstock approve shop exploratory " + id("x"), true},
		"a rejection":                  {through().decided("acceptance", "x", Rejected), live, "x", ObstacleRejected, "acceptance", "penstock approve --lift shop acceptance " + id("x"), false},
		"it failed commit":             {tell(t).route().stages(commitOf("x")).offered("x").ran("commit", "x", RunFailed), live, "x", ObstacleFailed, "commit", "penstock logs r-", true},
		"it failed commit, long ago":   {tell(t).route().stages(commitOf("y")).offered("x").ran("commit", "x", RunFailed).offered("y"), live, "x", ObstacleOutdated, "commit", "penstock builds shop", false},
		"another commit stage made it": {tell(t).stages(commitOf("x"), nightly, named("dev", "nightly")).offered("x"), named("dev", "nightly"), "x", ObstacleOtherMake, "nightly", "penstock builds shop", false},
		"a newer one went by":          {through().offered("y").passed("acceptance", "y").passed("exploratory", "y"), live, "x", ObstaclePassedBy, "exploratory", `set build = "` + id("x") + `" on stage "exploratory"`, false},
		"a way that is lost goes first": {through().passed("exploratory", "x").offered("y").passed("acceptance", "y").passed("capacity", "y"), live, "x",
			ObstaclePassedBy, "capacity", `on stage "capacity"`, false},
		"it failed, and is tried again": {through().passed("exploratory", "x").decided("exploratory", "x", Approved).ran("capacity", "x", RunFailed), live, "x", ObstacleFailed, "capacity", "penstock logs r-", true},
		"nobody promoted it":            {dev().passed("dev", "x"), named("live", "qa"), "x", ObstacleManual, "qa", "penstock promote shop qa " + id("x"), true},
		"somebody promoted it":          {dev().passed("dev", "x").promoted("qa", "x"), named("live", "qa"), "x", ObstacleNotRun, "qa", "terraform apply", true},
		"a pin":                         {dev().stages(pinnedTo(manual, id("y"))).passed("dev", "x"), named("live", "qa"), "x", ObstaclePinned, "qa", `Set build = "` + id("x") + `" on stage "qa"`, false},
		"a paused stage":                {dev().passed("dev", "x").current("qa"), named("live", "qa"), "x", ObstaclePaused, "qa", "penstock resume shop qa", true},
		"a decision at a paused stage":  {through().passed("exploratory", "x").current("exploratory"), live, "x", ObstacleUndecided, "exploratory", "penstock approve shop exploratory " + id("x"), true},
		"a stage that is gone":          {tell(t).stages(commitOf("x")).offered("x"), named("live", "gone"), "x", ObstacleNoStage, "gone", "Define stage", false},
		"a run under way":               {tell(t).route().offered("x").ran("acceptance", "x", RunRunning), live, "x", ObstacleRunning, "acceptance", "penstock logs -f shop acceptance", true},
		"a platform that is not there":  {tell(t).stages(commitOf("x"), a(TypeBootstrap)).offered("x"), named("live", "commit", "bootstrap"), "x", ObstacleNotRun, "bootstrap", "terraform apply", true},
		"no stage before it":            {tell(t).stages(commitOf("x"), named("dev")).offered("x").ran("commit", "x", RunFailed), named("dev"), "x", ObstacleFailed, "commit", "penstock logs r-", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, found := tt.story.state().Obstacle(tt.stage, id(tt.build))
			if found != (tt.kind != "") || o.Kind != tt.kind || o.Stage != tt.at || o.Comes != tt.comes {
				t.Fatalf("%+v, want %s at %q", o, tt.kind, tt.at)
			}
			if found && o.Advice().Command() != tt.does && !strings.Contains(o.Hint(), tt.does) {
				t.Errorf("advice %q: %s", o.Advice().Command(), o.Hint())
			}
			if text := o.Cause() + o.Hint(); found && (strings.Contains(text, `""`) || strings.Contains(text, "  ") || strings.Contains(text, "0001")) {
				t.Error(text)
			}
		})
	}
}

// Nothing waits for a build that can't come any more.
func TestWaitsForWhatComes(t *testing.T) {
	live := a(TypeProduction, "pre-production")
	reverted := func() *story { // x passed, y did not compile, and a revert made x the newest again
		s := tell(t).route().stages(commitOf("y")).offered("x").passed("acceptance", "x").passed("exploratory", "x").passed("capacity", "x").offered("y").ran("commit", "y", RunFailed)
		b := s.state().Builds[id("x")]
		b.Order = 0
		return s.stages(commitOf("x")).event(StageMoved, Facts{Build: &b})
	}
	tests := map[string]struct {
		story  *story
		stage  Stage
		status Status
		waits  string
	}{
		"for the build of the commit stage, though it failed": {tell(t).route().stages(commitOf("x")).offered("x").ran("commit", "x", RunFailed), live, StatusWaiting, id("x") + ` to pass "commit", where it failed`},
		"not for one that did not compile":                    {reverted(), live, StatusWaiting, id("x") + ` to pass "exploratory"`},
		"for a new one where the newest is rejected":          {reverted().decided("exploratory", "x", Rejected), live, StatusRejected, "a build newer than " + id("x")},
		"and what passed by is not waited for":                {tell(t).route().offered("x", "y").passed("acceptance", "y").decided("acceptance", "y", Rejected), a(TypeCapacity, "acceptance"), StatusRejected, "a build newer than " + id("y")},
		"for both ways":                                       {tell(t).route().offered("x").passed("acceptance", "x"), live, StatusWaiting, id("x") + ` to pass "exploratory" and "capacity"`},
		"for a release":                                       {tell(t).route().offered("x").current("acceptance"), live, StatusWaiting, id("x") + ` to pass "acceptance", which is paused`},
		"for nothing, below two commit stages": {tell(t).stages(commitOf("x"), func() Stage {
			s := a(TypeCommit)
			s.Name, s.Source = "web", &SourceRef{Repository: "w", Digest: "w"}
			return s
		}()).offered("x"),
			named("live", "commit", "web"), StatusWaiting, "nothing: no build can ever pass both"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := Decide(tt.story.state(), tt.stage)
			if m.Status != tt.status || !strings.Contains(m.WaitingFor, tt.waits) {
				t.Errorf("%s, waits for %q, want %q", m.Status, m.WaitingFor, tt.waits)
			}
		})
	}
}

// After a rejection the build before it that nobody has decided on is on offer again, but
// none that is older than one that passed.
func TestOnOfferAgain(t *testing.T) {
	exploratory := a(TypeExploratory, "acceptance")
	tried := func(builds ...string) *story {
		s := tell(t).route()
		for _, b := range builds {
			s.offered(b).passed("acceptance", b).passed("exploratory", b)
		}
		return s
	}
	tests := map[string]struct {
		story     *story
		candidate string
		status    Status
	}{
		"the one before":            {tried("x", "y").decided("exploratory", "y", Rejected), "x", StatusWaiting},
		"one that a rejection left": {tried("x", "y", "z").decided("exploratory", "z", Rejected).decided("exploratory", "y", Rejected), "x", StatusWaiting},
		"not behind what passed":    {tried("x", "y", "z").decided("exploratory", "y", Approved).decided("exploratory", "z", Rejected), "", StatusRejected},
		"not what was rejected":     {tried("x", "y").decided("exploratory", "y", Rejected).decided("exploratory", "x", Rejected), "", StatusRejected},
		"not what did not run":      {tell(t).route().offered("x", "y").passed("acceptance", "x", "y").passed("exploratory", "y").decided("exploratory", "y", Rejected), "", StatusRejected},
		"nor what runs differently": {tried("x", "y").stages(func() Stage { s := exploratory; s.Steps = []Step{{Name: "new"}}; return s }()).ran("exploratory", "y", RunPassed).decided("exploratory", "y", Rejected), "", StatusRejected},
		"and back":                  {tried("x", "y").decided("exploratory", "y", Rejected).decided("exploratory", "y", Approved), "y", StatusPassed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.state()
			m, want := Decide(st, st.Stages["exploratory"]), ""
			if tt.candidate != "" {
				want = id(tt.candidate)
			}
			if m.Candidate != want || m.Status != tt.status {
				t.Errorf("candidate %q, %s (%s), waits for %q; want %q, %s", m.Candidate, m.Status, m.Action, m.WaitingFor, want, tt.status)
			}
		})
	}
}

// TestAdviceWorks makes states by chance, and follows the advice about every build that may
// not enter a stage until it may, or there is none but to choose another one.
func TestAdviceWorks(t *testing.T) {
	const most = 30 // times that one gate takes an advice
	followed := map[Verb]int{}
	for seed := range uint64(40) {
		s := chance(t, rand.New(rand.NewPCG(seed, 2)))
		st := s.state()
		for _, name := range []string{"acceptance", "exploratory", "pre-production", "production"} {
			for build := range st.Builds {
				c := *s
				c.rows, c.events = map[Key]Record{}, s.events[:len(s.events):len(s.events)]
				for k, v := range s.rows {
					c.rows[k] = v
				}
				for n := 0; c.follow(name, build, followed); n++ {
					if n == most {
						o, _ := c.state().Obstacle(c.state().Stages[name], build)
						t.Fatalf("seed %d: %s into %s: the advices have no end; the last: %s %s", seed, build, name, o.Cause(), o.Hint())
					}
				}
			}
		}
		for _, stage := range st.Stages {
			if m := Decide(st, stage); strings.Contains(m.WaitingFor, `""`) || m.Err != nil && HintOf(m.Err) == "" {
				t.Fatalf("seed %d: %s waits for %q, %v", seed, stage.Name, m.WaitingFor, m.Err)
			}
		}
	}
	for _, verb := range []Verb{VerbApprove, VerbLift, VerbPromote, VerbResume, VerbApply, VerbPin, VerbWait, VerbChoose} {
		if followed[verb] == 0 {
			t.Errorf("no advice was to %s", verb)
		}
	}
}

// chance makes a history.
func chance(t *testing.T, r *rand.Rand) *story {
	names := []string{"u", "v", "w", "x", "y", "z"}
	stages := []string{"commit", "acceptance", "exploratory", "capacity", "pre-production", "production"}
	s := tell(t).route().offered("u")
	for range 30 {
		stage, build := stages[r.IntN(len(stages))], names[r.IntN(len(names))]
		_, made := s.state().Builds[id(build)]
		def := s.state().Stages[stage]
		switch n := r.IntN(12); {
		case n < 2:
			s.stages(commitOf(build)).offered(build)
		case !made:
		case n < 6:
			s.ran(stage, build, []RunStatus{RunPassed, RunPassed, RunFailed, RunCancelled, RunRunning}[r.IntN(5)])
		case n == 6:
			s.decided(stage, build, []DecisionResult{Approved, Rejected}[r.IntN(2)])
		case n == 7 && stage != "commit":
			s.promoted(stage, build)
		case n == 8:
			s.current(stage)
		case n == 9 && stage != "commit":
			s.stages(pinnedTo(def, []string{id(build), ""}[r.IntN(2)]))
		case n == 10 && stage != "commit":
			def.Trigger = []Trigger{TriggerManual, TriggerAutomatic}[r.IntN(2)]
			s.stages(def)
		case n == 11:
			s.overridden(stage, build)
		}
	}
	return s
}

// follow does what is advised about a build that may not enter a stage, as far as it is
// allowed. It reports false where there is nothing to do any more.
func (s *story) follow(name, build string, followed map[Verb]int) bool {
	s.t.Helper()
	st := s.state()
	o, found := st.Obstacle(st.Stages[name], build)
	if !found {
		return false
	}
	advice := o.Advice()
	followed[advice.Verb]++
	at, short := st.Stages[advice.Stage], st.Builds[build].Digest
	refuse := func(why string) {
		s.t.Fatalf("%s into %s: %s %s\nbut %s", build, name, o.Cause(), o.Hint(), why)
	}
	move, run := Decide(st, at), false
	switch v, _ := st.ResultOf(at, build); advice.Verb {
	case VerbApprove:
		if v.Status != RunPassed || !at.Approval || st.RejectedAt(build) != "" || st.Passed(at.Name, build) {
			refuse("there is nothing to approve")
		}
		s.decided(at.Name, short, Approved)
	case VerbLift:
		if st.Decisions[StageBuild(at.Name, build)].Result != Rejected {
			refuse("it is not rejected there")
		}
		s.decided(at.Name, short, Approved)
	case VerbPromote:
		if err := st.RefusePaused(at, "promote"); at.Trigger != TriggerManual || at.Pin != "" || err != nil || st.Eligible(at, build) != nil {
			refuse("it can't be promoted")
		}
		s.promoted(at.Name, short)
		run = true
	case VerbResume:
		if _, held := st.Pauses[at.Name]; !held {
			refuse("it is not paused")
		}
		s.event(StageResumed, Facts{Gone: []Key{{RecordPause, at.Name}}})
	case VerbApply:
		run = true
	case VerbPin:
		s.stages(pinnedTo(at, build))
		run = true
	case VerbWait:
		if !st.RunsNow(at.Name) {
			refuse("nothing runs")
		}
		s.ran(at.Name, short, RunPassed)
	case VerbChoose:
		if at.Type != TypeCommit || move.Candidate == build || o.Choice != "" && st.Eligible(st.Stages[name], o.Choice) != nil {
			refuse("it is no dead end, or the choice is none")
		}
		return false
	default:
		refuse("nobody can do that")
	}
	if run {
		st = s.state()
		if move = Decide(st, st.Stages[at.Name]); move.Err != nil || move.Candidate != build || move.Action == ActionNone {
			refuse("an apply does " + string(move.Action) + " for " + move.Candidate)
		}
		if move.Action == ActionRun {
			s.ran(at.Name, short, RunPassed)
		} else {
			hold := Current{Stage: at.Name, Build: build}
			s.event(StageMoved, Facts{Current: &hold})
		}
	}
	return true
}
