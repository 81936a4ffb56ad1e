// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// TestDecide tells histories and checks what a stage does next. The numbers are those of the
// gate rules.
func TestDecide(t *testing.T) {
	qa, dev := Named("qa", "dev"), Named("dev")
	fan := Named("fan", "left", "right")
	forked := func(s *Story) *Story {
		return s.Stages(CommitOf("x"), Named("left", "commit"), Named("right", "commit"), fan)
	}
	changed := func(s Stage) Stage { s.Steps = []Step{{Name: "new", Command: "true"}}; return s }
	manual := Named("qa", "dev")
	manual.Trigger = TriggerManual

	tests := map[string]struct {
		story     *Story
		stage     Stage
		candidate string // a short name; empty for none
		action    Action
		status    Status
		waits     string // part of what it waits for
	}{
		"1: a commit stage takes the build of its source": {
			Tell(t).Route(), CommitOf("x"), "x", ActionRun, StatusIdle, ""},
		"1: a passed commit stage has nothing to do": {
			Tell(t).Stages(CommitOf("x")).Offered("x"), CommitOf("x"), "x", ActionNone, StatusPassed, ""},
		"1: a stage takes the newest build that passed what is above": {
			Tell(t).Route().Offered("x", "y").Passed("acceptance", "x"), A(TypeAcceptance, "commit"), "y", ActionRun, StatusIdle, ""},
		"1: no after means every build that its commit stage made": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x", "y").Ran("commit", "y", RunFailed), dev, "x", ActionRun, StatusIdle, ""},
		"1: the same stage twice counts once": {
			Tell(t).Route().Offered("x"), A(TypeAcceptance, "commit", "commit"), "x", ActionRun, StatusIdle, ""},
		"1: fan-in takes the newest common build": {
			forked(Tell(t)).Offered("x", "y", "z").Passed("left", "x", "y").Passed("right", "x", "z"), fan, "x", ActionRun, StatusIdle, ""},
		"1: fan-in waits for the second branch": {
			forked(Tell(t)).Offered("x", "y").Passed("left", "x", "y").Passed("right", "x").Passed("fan", "x"), fan, "x", ActionNone, StatusWaiting, `"right"`},
		"1: nothing above means nothing to do": {
			Tell(t).Route(), A(TypeAcceptance, "commit"), "", ActionNone, StatusWaiting, `"commit"`},

		"2: a pin moves the stage": {
			Tell(t).Route().Through("x", "y"), PinnedTo(A(TypeProduction, "pre-production"), ID("x")), "x", ActionRun, StatusIdle, ""},
		"2: a pin to what is held has nothing to do": {
			Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvRunning),
			PinnedTo(A(TypeProduction, "pre-production"), ID("x")), "x", ActionNone, StatusPassed, ""},

		"3: an unpinned stage does not move back": {
			Tell(t).Stages(CommitOf("x"), dev, qa).Offered("x", "y").Passed("dev", "x").Passed("qa", "y"), qa, "y", ActionNone, StatusPassed, ""},
		"3: a pin may move back": {
			Tell(t).Route().Through("x", "y").Passed("production", "y").Serves("production", "y", EnvRunning),
			PinnedTo(A(TypeProduction, "pre-production"), ID("x")), "x", ActionRun, StatusIdle, ""},
		"3: the removal of a pin moves nothing back": {
			Tell(t).Stages(CommitOf("x"), dev, qa).Offered("x", "y").Passed("dev", "x", "y").Passed("qa", "y", "x").Decided("qa", "y", Rejected),
			qa, "x", ActionNone, StatusPassed, ""},

		"4: a manual stage does not move by itself": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x").Passed("dev", "x"), manual, "", ActionNone, StatusWaiting, "promotion of #1: `penstock promote shop qa 1`, or build = \"" + ID("x")},
		"4: a promotion moves it": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x").Passed("dev", "x").Promoted("qa", "x"), manual, "x", ActionRun, StatusWaiting, "an apply, which moves it to #1"},
		"4: a promotion from before what is held counts no more": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x", "y").Passed("dev", "x", "y").Promoted("qa", "x").Passed("qa", "x", "y"),
			manual, "y", ActionNone, StatusPassed, ""},
		"4: a promotion that was made while the stage ran still counts": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x", "y").Passed("dev", "x", "y").Promoted("qa", "y").PassedSince("qa", "y", func(s *Story) { s.Promoted("qa", "x") }).
				PassedSince("qa", "x", func(*Story) {}).Stages(manual).Promoted("qa", "y").PassedSince("qa", "y", func(s *Story) { s.Promoted("qa", "x") }),
			manual, "x", ActionAdopt, StatusWaiting, "an apply, which moves it to #1"},
		"4: a promotion that a run followed counts no more": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x", "y").Passed("dev", "x", "y").Promoted("qa", "x").PassedSince("qa", "x", func(*Story) {}).
				Stages(PinnedTo(manual, ID("y"))).PassedSince("qa", "y", func(*Story) {}).Stages(manual),
			manual, "y", ActionNone, StatusPassed, ""},
		"4: a promotion of what may not enter moves nothing": {
			Tell(t).Stages(CommitOf("x"), dev, manual).Offered("x").Promoted("qa", "x"), manual, "", ActionNone, StatusWaiting, `"dev"`},

		"5: a rejected build is passed over": {
			Tell(t).Stages(CommitOf("x"), dev, qa).Offered("x", "y").Passed("dev", "x", "y").Decided("dev", "y", Rejected), qa, "x", ActionRun, StatusIdle, ""},
		"5: a rejected build between two passed ones": {
			Tell(t).Stages(CommitOf("x"), dev, qa).Offered("x", "y", "z").Passed("dev", "x", "y", "z").Decided("qa", "y", Rejected).Passed("qa", "x"),
			qa, "z", ActionRun, StatusIdle, ""},
		"5: a rejection two stages above holds": {
			Tell(t).Stages(CommitOf("x"), dev, qa, Named("live", "qa")).Offered("x").Passed("dev", "x").Passed("qa", "x").Decided("dev", "x", Rejected),
			Named("live", "qa"), "", ActionNone, StatusRejected, "newer than #1"},
		"5: a later approval lifts it": {
			Tell(t).Stages(CommitOf("x"), dev, qa).Offered("x").Passed("dev", "x").Decided("dev", "x", Rejected).Decided("dev", "x", Approved),
			qa, "x", ActionRun, StatusIdle, ""},
		"5: a rejected source is no candidate of its commit stage": {
			Tell(t).Stages(CommitOf("x")).Offered("x").Decided("commit", "x", Rejected), CommitOf("x"), "", ActionNone, StatusRejected, ""},

		"6: a passed run is not repeated": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x").Passed("dev", "x"), dev, "x", ActionNone, StatusPassed, ""},
		"6: a failed run is": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x").Ran("dev", "x", RunFailed), dev, "x", ActionRun, StatusFailed, ""},
		"6: a cancelled run judges nothing": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x").Ran("dev", "x", RunCancelled), dev, "x", ActionRun, StatusIdle, ""},
		"6: a changed definition runs again": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x").Passed("dev", "x"), changed(dev), "x", ActionRun, StatusIdle, ""},
		"6: back to a definition that passed": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x").Passed("dev", "x").Stages(changed(dev)).Ran("dev", "x", RunFailed), dev, "x", ActionNone, StatusPassed, ""},
		"6: another scale resizes": {
			Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvRunning).
				Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{Instances: 9}, Service: Service{Start: "start"}}}),
			A(TypeProduction, "pre-production"), "x", ActionAdjust, StatusPassed, ""},
		"6: other trusted proxies are told to the endpoint": {
			Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvRunning),
			trusting(A(TypeProduction, "pre-production")), "x", ActionAdjust, StatusPassed, ""},
		"6: another type of instances deploys anew": {
			Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvRunning).
				Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{Instances: 9, InstanceType: "m7g.large"}, Service: Service{Start: "start"}}}),
			A(TypeProduction, "pre-production"), "x", ActionRun, StatusIdle, ""},
		"6: a stage that is not of production's size has its own": {
			Tell(t).Route().Through("x").Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{InstanceType: "m7g.large"}, Service: Service{Start: "start"}}}),
			A(TypeAcceptance, "commit"), "x", ActionNone, StatusPassed, ""},
		"6: a build offered again has passed already": {
			Tell(t).Stages(CommitOf("x"), dev).Offered("x", "y").Passed("dev", "x", "y").Event(BuildOffered, Facts{Build: &Build{ID: ID("x"), Pipeline: "shop", Stage: "commit"}}),
			dev, "x", ActionAdopt, StatusIdle, ""},

		"an approval is awaited": {
			Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x"), A(TypeExploratory, "acceptance"), "x", ActionNone, StatusWaiting, "#1: `penstock approve shop exploratory 1`"},
		"a decision on another run counts no more": {
			Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Decided("exploratory", "x", Approved).Passed("exploratory", "x"),
			A(TypeExploratory, "acceptance"), "x", ActionNone, StatusWaiting, "decision"},
		"a rejection shows": {
			Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Decided("exploratory", "x", Rejected),
			A(TypeExploratory, "acceptance"), "", ActionNone, StatusRejected, ""},
		"an environment that is gone is restored": {
			Tell(t).Route().Through("x").Passed("production", "x").Serves("production", "x", EnvGone), A(TypeProduction, "pre-production"), "x", ActionRestore, StatusIdle, ""},
		"a bootstrap stage runs once": {
			Tell(t), A(TypeBootstrap), "", ActionRun, StatusIdle, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := look(tt.story.State(), tt.stage)
			m := v.Move
			want := ""
			if tt.candidate != "" {
				want = ID(tt.candidate)
			}
			if m.Err() != nil || m.Candidate.ID != want || m.Action != tt.action || v.Status != tt.status {
				t.Errorf("candidate %q, action %s, status %s, error %v;\nwant %q, %s, %s (builds: x is %s, y is %s, z is %s)",
					m.Candidate.ID, m.Action, v.Status, m.Err(), want, tt.action, tt.status, ID("x"), ID("y"), ID("z"))
			}
			if waits := reason.WaitingFor(v.Next); !strings.Contains(waits, tt.waits) || (tt.waits == "") != (waits == "") && tt.status != StatusRejected {
				t.Errorf("waits for %q, want %q", waits, tt.waits)
			}
		})
	}
}

// A replaced base image makes another build of the same source, which the stages below get
// once it has passed. Back on the old image, the earlier build counts.
func TestReplacedBaseImage(t *testing.T) {
	dev := Named("dev")
	rebased := CommitOf("x")
	rebased.BaseImage = "img-2"
	next := BuildID("shop", "x", "img-2")
	s := Tell(t).Stages(CommitOf("x"), dev).Offered("x").Passed("dev", "x").Stages(rebased)
	if m := decide(s.State(), rebased); m.Candidate.ID != next || m.Candidate.ID == ID("x") || m.Action != ActionRun {
		t.Errorf("on the new image the commit stage does %q for %s, want a run for %s", m.Action, m.Candidate.ID, next)
	}
	if m := decide(s.State(), dev); m.Candidate.ID != ID("x") || m.Action != ActionNone || look(s.State(), dev).Status != StatusPassed {
		t.Errorf("before the new build passed, the stage below does %q for %s", m.Action, m.Candidate.ID)
	}
	run := Run{ID: "r-rebased", Pipeline: "shop", Stage: "commit", Kind: KindStage, Build: next, Digest: rebased.Digest(s.State().Pipeline), Status: RunPassed}
	s.Event(RunEnded, Facts{Run: &run, Build: &Build{ID: next, Pipeline: "shop", Stage: "commit", Digest: "x", BaseImage: "img-2"}, Current: &Current{Stage: "commit", Build: next}})
	if m := decide(s.State(), dev); m.Candidate.ID != next || m.Action != ActionRun {
		t.Errorf("after it passed, the stage below does %q for %s", m.Action, m.Candidate.ID)
	}
	if l := s.State().Launch(dev, next); l.Image != "img-2" {
		t.Errorf("it is launched from %q", l.Image)
	}
	if m := decide(s.State(), CommitOf("x")); m.Candidate.ID != ID("x") || m.Action != ActionAdopt {
		t.Errorf("back on the old image the commit stage does %q for %s", m.Action, m.Candidate.ID)
	}
}

func TestPinIsRefused(t *testing.T) {
	s := Tell(t).Route().Through("x").Offered("y").Passed("acceptance", "y").Passed("capacity", "y").Offered("z").Decided("commit", "z", Rejected)
	production := A(TypeProduction, "pre-production")
	tests := map[string]struct {
		stage      Stage
		build      string
		code       Code
		says, hint string
	}{
		"unknown":              {production, "b-0000000000", CodeNotFound, "no build", "penstock builds shop"},
		"malformed":            {production, "latest", CodeInvalid, `"latest" is not a build ID`, "ten hexadecimal digits"},
		"skips a stage":        {production, ID("y"), CodeRefused, `has not passed stage "exploratory" yet`, "Apply the configuration"},
		"skips an approval":    {A(TypePreProduction, "exploratory", "capacity"), ID("y"), CodeRefused, `"exploratory"`, ""},
		"rejected far above":   {production, ID("z"), CodeRefused, `rejected at stage "commit" by bob`, "penstock approve --lift shop commit " + ID("z")},
		"stage does not exist": {Named("qa", "nowhere"), ID("x"), CodeRefused, `"nowhere", which is not part of the pipeline`, "Define stage"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := decide(s.State(), PinnedTo(tt.stage, tt.build)).Err()
			if CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) || !strings.Contains(reason.Hint(err), tt.hint) || reason.Hint(err) == "" {
				t.Errorf("error %v with code %s and hint %q, want %s, %q and %q", err, CodeOf(err), reason.Hint(err), tt.code, tt.says, tt.hint)
			}
		})
	}
	if err := CheckPin(s.State(), production, ID("x")); err != nil {
		t.Errorf("pin to a build that passed: %v", err)
	}
	waiting := Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("capacity", "x").Passed("exploratory", "x").State()
	err := CheckPin(waiting, A(TypePreProduction, "exploratory", "capacity"), ID("x"))
	if hint := reason.Hint(err); !strings.Contains(hint, "penstock approve shop exploratory "+ID("x")) {
		t.Errorf("a pin that only lacks an approval hints %q", hint)
	}
}

func TestCyclesEnd(t *testing.T) {
	st := Tell(t).Stages(Named("one", "two"), Named("two", "three"), Named("three", "one")).State()
	if got := st.Ancestors([]string{"one"}); len(got) != 3 {
		t.Errorf("ancestors %v", got)
	}
	if got := st.StagesInOrder(); len(got) != 3 {
		t.Errorf("stages %v", got)
	}
	decide(st, Named("one", "two"))
}

func TestInputsThatChangeRunAgain(t *testing.T) {
	s := Tell(t).Stages(CommitOf("x"), Named("dev", "commit")).Offered("x").Passed("dev", "x")
	build := s.State().Builds[ID("x")]
	build.Artifact = &Artifact{Digest: "sha256:1"}
	s.Event(RunEnded, Facts{Build: &build})
	if m := decide(s.State(), Named("dev", "commit")); m.Action != ActionRun || !strings.Contains(m.Why.String(), "artifact") {
		t.Errorf("action %s (%s)", m.Action, m.Why)
	}
	manual := Named("dev", "commit")
	manual.Trigger = TriggerManual
	if m := decide(s.State(), manual); m.Action != ActionNone {
		t.Errorf("a manual stage moves by itself: %s (%s)", m.Action, m.Why)
	}
}

// TestRandomHistories checks the invariants after any history.
func TestRandomHistories(t *testing.T) {
	names := []string{"u", "v", "w", "x", "y", "z"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := Tell(t).Route()
		stages := []string{"commit", "acceptance", "exploratory", "capacity", "pre-production", "production"}
		s.Offered(names[r.IntN(len(names))])
		for range 25 {
			stage, build := stages[r.IntN(len(stages))], names[r.IntN(len(names))]
			switch r.IntN(6) {
			case 0:
				s.Offered(build)
			case 1, 2:
				s.Ran(stage, build, []RunStatus{RunPassed, RunFailed, RunCancelled}[r.IntN(3)])
			case 3:
				s.Decided(stage, build, []DecisionResult{Approved, Rejected}[r.IntN(2)])
			case 4:
				s.Promoted("production", build)
			case 5:
				s.Serves("production", build, []EnvironmentStatus{EnvRunning, EnvGone}[r.IntN(2)])
			}
		}
		st := s.State()
		for _, name := range stages[1:] {
			stage := st.Stages[name]
			m := decide(st, stage)
			if again := decide(st, stage); !reflect.DeepEqual(again, m) {
				t.Fatalf("seed %d: %s: decided %+v, then %+v", seed, name, m, again)
			}
			current := st.Current[name].Build
			switch {
			case m.Candidate.ID == "":
			case st.RejectedAbove(stage, m.Candidate.ID) != "":
				t.Fatalf("seed %d: %s moves to rejected %s", seed, name, m.Candidate.ID)
			case m.Candidate.ID != current && Eligible(st, stage, m.Candidate.ID) != nil:
				t.Fatalf("seed %d: %s moves to %s: %v", seed, name, m.Candidate.ID, Eligible(st, stage, m.Candidate.ID))
			case stage.Trigger == TriggerAutomatic && st.Builds[m.Candidate.ID].Order < st.Builds[current].Order && !(stage.Approval && st.RejectedAt(current) != ""):
				t.Fatalf("seed %d: %s moves back from %s to %s", seed, name, current, m.Candidate.ID)
			}
		}
	}
}

// trusting makes a stage's endpoint trust nobody.
func trusting(s Stage) Stage {
	s.Env.TrustedProxies = []string{}
	return s
}
