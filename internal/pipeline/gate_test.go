// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestDecide tells histories and asks what a stage does next. The numbers are
// those of the gate rules.
func TestDecide(t *testing.T) {
	qa, dev := named("qa", "dev"), named("dev")
	fan := named("fan", "left", "right")
	forked := func(s *story) *story {
		return s.stages(commitOf("x"), named("left", "commit"), named("right", "commit"), fan)
	}
	changed := func(s Stage) Stage { s.Steps = []Step{{Name: "new", Command: "true"}}; return s }
	manual := named("qa", "dev")
	manual.Trigger = TriggerManual

	tests := map[string]struct {
		story     *story
		stage     Stage
		candidate string // a short name; empty for none
		action    Action
		status    Status
		waits     string // part of what it waits for
	}{
		"1: a commit stage takes the build of its source": {
			tell(t).route(), commitOf("x"), "x", ActionRun, StatusIdle, ""},
		"1: a passed commit stage has nothing to do": {
			tell(t).stages(commitOf("x")).offered("x"), commitOf("x"), "x", ActionNone, StatusPassed, ""},
		"1: a stage takes the newest build that passed what is above": {
			tell(t).route().offered("x", "y").passed("acceptance", "x"), a(TypeAcceptance, "commit"), "y", ActionRun, StatusIdle, ""},
		"1: no after means every build that its commit stage made": {
			tell(t).stages(commitOf("x"), dev).offered("x", "y").ran("commit", "y", RunFailed), dev, "x", ActionRun, StatusIdle, ""},
		"1: the same stage twice counts once": {
			tell(t).route().offered("x"), a(TypeAcceptance, "commit", "commit"), "x", ActionRun, StatusIdle, ""},
		"1: fan-in takes the newest common build": {
			forked(tell(t)).offered("x", "y", "z").passed("left", "x", "y").passed("right", "x", "z"), fan, "x", ActionRun, StatusIdle, ""},
		"1: fan-in waits for the second branch": {
			forked(tell(t)).offered("x", "y").passed("left", "x", "y").passed("right", "x").passed("fan", "x"), fan, "x", ActionNone, StatusWaiting, `"right"`},
		"1: nothing above means nothing to do": {
			tell(t).route(), a(TypeAcceptance, "commit"), "", ActionNone, StatusWaiting, `"commit"`},

		"2: a pin moves the stage": {
			tell(t).route().through("x", "y"), pinnedTo(a(TypeProduction, "pre-production"), id("x")), "x", ActionRun, StatusIdle, ""},
		"2: a pin to what is held has nothing to do": {
			tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvRunning),
			pinnedTo(a(TypeProduction, "pre-production"), id("x")), "x", ActionNone, StatusPassed, ""},

		"3: an unpinned stage does not move back": {
			tell(t).stages(commitOf("x"), dev, qa).offered("x", "y").passed("dev", "x").passed("qa", "y"), qa, "y", ActionNone, StatusPassed, ""},
		"3: a pin may move back": {
			tell(t).route().through("x", "y").passed("production", "y").serves("production", "y", EnvRunning),
			pinnedTo(a(TypeProduction, "pre-production"), id("x")), "x", ActionRun, StatusIdle, ""},
		"3: the removal of a pin moves nothing back": {
			tell(t).stages(commitOf("x"), dev, qa).offered("x", "y").passed("dev", "x", "y").passed("qa", "y", "x").decided("qa", "y", Rejected),
			qa, "x", ActionNone, StatusPassed, ""},

		"4: a manual stage does not move by itself": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x").passed("dev", "x"), manual, "", ActionNone, StatusWaiting, "promotion of " + id("x")},
		"4: a promotion moves it": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x").passed("dev", "x").promoted("qa", "x"), manual, "x", ActionRun, StatusIdle, ""},
		"4: a promotion from before what is held counts no more": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x", "y").passed("dev", "x", "y").promoted("qa", "x").passed("qa", "x", "y"),
			manual, "y", ActionNone, StatusPassed, ""},
		"4: a promotion that was made while the stage ran still counts": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x", "y").passed("dev", "x", "y").promoted("qa", "y").passedSince("qa", "y", func(s *story) { s.promoted("qa", "x") }).
				passedSince("qa", "x", func(*story) {}).stages(manual).promoted("qa", "y").passedSince("qa", "y", func(s *story) { s.promoted("qa", "x") }),
			manual, "x", ActionAdopt, StatusWaiting, "promotion of " + id("y")},
		"4: a promotion that a run followed counts no more": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x", "y").passed("dev", "x", "y").promoted("qa", "x").passedSince("qa", "x", func(*story) {}).
				stages(pinnedTo(manual, id("y"))).passedSince("qa", "y", func(*story) {}).stages(manual),
			manual, "y", ActionNone, StatusPassed, ""},
		"4: a promotion of what may not enter moves nothing": {
			tell(t).stages(commitOf("x"), dev, manual).offered("x").promoted("qa", "x"), manual, "", ActionNone, StatusWaiting, `"dev"`},

		"5: a rejected build is passed over": {
			tell(t).stages(commitOf("x"), dev, qa).offered("x", "y").passed("dev", "x", "y").decided("dev", "y", Rejected), qa, "x", ActionRun, StatusIdle, ""},
		"5: a rejected build between two passed ones": {
			tell(t).stages(commitOf("x"), dev, qa).offered("x", "y", "z").passed("dev", "x", "y", "z").decided("qa", "y", Rejected).passed("qa", "x"),
			qa, "z", ActionRun, StatusIdle, ""},
		"5: a rejection two stages above holds": {
			tell(t).stages(commitOf("x"), dev, qa, named("live", "qa")).offered("x").passed("dev", "x").passed("qa", "x").decided("dev", "x", Rejected),
			named("live", "qa"), "", ActionNone, StatusRejected, id("x")},
		"5: a later approval lifts it": {
			tell(t).stages(commitOf("x"), dev, qa).offered("x").passed("dev", "x").decided("dev", "x", Rejected).decided("dev", "x", Approved),
			qa, "x", ActionRun, StatusIdle, ""},
		"5: a rejected source is no candidate of its commit stage": {
			tell(t).stages(commitOf("x")).offered("x").decided("commit", "x", Rejected), commitOf("x"), "", ActionNone, StatusRejected, ""},

		"6: a passed run is not repeated": {
			tell(t).stages(commitOf("x"), dev).offered("x").passed("dev", "x"), dev, "x", ActionNone, StatusPassed, ""},
		"6: a failed run is": {
			tell(t).stages(commitOf("x"), dev).offered("x").ran("dev", "x", RunFailed), dev, "x", ActionRun, StatusIdle, ""},
		"6: a cancelled run judges nothing": {
			tell(t).stages(commitOf("x"), dev).offered("x").ran("dev", "x", RunCancelled), dev, "x", ActionRun, StatusIdle, ""},
		"6: a changed definition runs again": {
			tell(t).stages(commitOf("x"), dev).offered("x").passed("dev", "x"), changed(dev), "x", ActionRun, StatusIdle, ""},
		"6: back to a definition that passed": {
			tell(t).stages(commitOf("x"), dev).offered("x").passed("dev", "x").stages(changed(dev)).ran("dev", "x", RunFailed), dev, "x", ActionNone, StatusPassed, ""},
		"6: another scale resizes": {
			tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvRunning).
				event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{Instances: 9}, Service: Service{Start: "start"}}}),
			a(TypeProduction, "pre-production"), "x", ActionAdjust, StatusPassed, ""},
		"6: other trusted proxies are told to the endpoint": {
			tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvRunning),
			trusting(a(TypeProduction, "pre-production")), "x", ActionAdjust, StatusPassed, ""},
		"6: another type of instances deploys anew": {
			tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvRunning).
				event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{Instances: 9, InstanceType: "m7g.large"}, Service: Service{Start: "start"}}}),
			a(TypeProduction, "pre-production"), "x", ActionRun, StatusIdle, ""},
		"6: a stage that is not of production's size has its own": {
			tell(t).route().through("x").event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Scale: Scale{InstanceType: "m7g.large"}, Service: Service{Start: "start"}}}),
			a(TypeAcceptance, "commit"), "x", ActionNone, StatusPassed, ""},
		"6: a build offered again has passed already": {
			tell(t).stages(commitOf("x"), dev).offered("x", "y").passed("dev", "x", "y").event(BuildOffered, Facts{Build: &Build{ID: id("x"), Pipeline: "shop", Stage: "commit"}}),
			dev, "x", ActionAdopt, StatusPassed, ""},

		"an approval is awaited": {
			tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x"), a(TypeExploratory, "acceptance"), "x", ActionNone, StatusWaiting, "penstock approve shop exploratory " + id("x")},
		"a decision on another run counts no more": {
			tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x").decided("exploratory", "x", Approved).passed("exploratory", "x"),
			a(TypeExploratory, "acceptance"), "x", ActionNone, StatusWaiting, "decision"},
		"a rejection shows": {
			tell(t).route().offered("x").passed("acceptance", "x").passed("exploratory", "x").decided("exploratory", "x", Rejected),
			a(TypeExploratory, "acceptance"), "", ActionNone, StatusRejected, ""},
		"an environment that is gone is restored": {
			tell(t).route().through("x").passed("production", "x").serves("production", "x", EnvGone), a(TypeProduction, "pre-production"), "x", ActionRestore, StatusIdle, ""},
		"a bootstrap stage runs once": {
			tell(t), a(TypeBootstrap), "", ActionRun, StatusIdle, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := Decide(tt.story.state(), tt.stage)
			want := ""
			if tt.candidate != "" {
				want = id(tt.candidate)
			}
			if m.Err != nil || m.Candidate != want || m.Action != tt.action || m.Status != tt.status {
				t.Errorf("candidate %q, action %s, status %s, error %v;\nwant %q, %s, %s (builds: x is %s, y is %s, z is %s)",
					m.Candidate, m.Action, m.Status, m.Err, want, tt.action, tt.status, id("x"), id("y"), id("z"))
			}
			if !strings.Contains(m.WaitingFor, tt.waits) || (tt.waits == "") != (m.WaitingFor == "") && tt.status != StatusRejected {
				t.Errorf("waits for %q, want %q", m.WaitingFor, tt.waits)
			}
		})
	}
}

// A replaced base image makes another build of the same source, which the stages below
// get when it has passed; back on the old image the build of before counts.
func TestReplacedBaseImage(t *testing.T) {
	dev := named("dev")
	rebased := commitOf("x")
	rebased.BaseImage = "img-2"
	next := BuildID("shop", "x", "img-2")
	s := tell(t).stages(commitOf("x"), dev).offered("x").passed("dev", "x").stages(rebased)
	if m := Decide(s.state(), rebased); m.Candidate != next || m.Candidate == id("x") || m.Action != ActionRun {
		t.Errorf("on the new image the commit stage does %q for %s, want a run for %s", m.Action, m.Candidate, next)
	}
	if m := Decide(s.state(), dev); m.Candidate != id("x") || m.Action != ActionNone || m.Status != StatusPassed {
		t.Errorf("before the new build passed, the stage below does %q for %s, and is %s", m.Action, m.Candidate, m.Status)
	}
	run := Run{ID: "r-rebased", Pipeline: "shop", Stage: "commit", Kind: KindStage, Build: next, Digest: rebased.Digest(s.state().Pipeline), Status: RunPassed}
	s.event(RunEnded, Facts{Run: &run, Build: &Build{ID: next, Pipeline: "shop", Stage: "commit", Digest: "x", BaseImage: "img-2"}, Current: &Current{Stage: "commit", Build: next}})
	if m := Decide(s.state(), dev); m.Candidate != next || m.Action != ActionRun {
		t.Errorf("after it passed, the stage below does %q for %s", m.Action, m.Candidate)
	}
	if l := s.state().Launch(dev, next); l.Image != "img-2" {
		t.Errorf("it is launched from %q", l.Image)
	}
	if m := Decide(s.state(), commitOf("x")); m.Candidate != id("x") || m.Action != ActionAdopt {
		t.Errorf("back on the old image the commit stage does %q for %s", m.Action, m.Candidate)
	}
}

func TestPinIsRefused(t *testing.T) {
	s := tell(t).route().through("x").offered("y").passed("acceptance", "y").passed("capacity", "y").offered("z").decided("commit", "z", Rejected)
	production := a(TypeProduction, "pre-production")
	tests := map[string]struct {
		stage      Stage
		build      string
		code       Code
		says, hint string
	}{
		"unknown":              {production, "b-0000000000", CodeNotFound, "no build", "penstock builds shop"},
		"malformed":            {production, "latest", CodeInvalid, `"latest" is not a build ID`, "ten hexadecimal digits"},
		"skips a stage":        {production, id("y"), CodeRefused, `has not passed stage "exploratory" yet`, "Apply the configuration"},
		"skips an approval":    {a(TypePreProduction, "exploratory", "capacity"), id("y"), CodeRefused, `"exploratory"`, ""},
		"rejected far above":   {production, id("z"), CodeRefused, `rejected at stage "commit" by bob`, "penstock approve --lift shop commit " + id("z")},
		"stage does not exist": {named("qa", "nowhere"), id("x"), CodeRefused, `"nowhere", which is not part of the pipeline`, "Define stage"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Decide(s.state(), pinnedTo(tt.stage, tt.build)).Err
			if CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) || !strings.Contains(HintOf(err), tt.hint) || HintOf(err) == "" {
				t.Errorf("error %v with code %s and hint %q, want %s, %q and %q", err, CodeOf(err), HintOf(err), tt.code, tt.says, tt.hint)
			}
		})
	}
	if err := s.state().CheckPin(production, id("x")); err != nil {
		t.Errorf("pin to a build that passed: %v", err)
	}
	waiting := tell(t).route().offered("x").passed("acceptance", "x").passed("capacity", "x").passed("exploratory", "x").state()
	err := waiting.CheckPin(a(TypePreProduction, "exploratory", "capacity"), id("x"))
	if hint := HintOf(err); !strings.Contains(hint, "penstock approve shop exploratory "+id("x")) {
		t.Errorf("a pin that only lacks an approval hints %q", hint)
	}
}

func TestCheckStage(t *testing.T) {
	st := tell(t).stages(commitOf("x"), named("dev", "qa"), named("qa", "commit"), named("free"), a(TypeBootstrap)).state()
	tests := map[string]struct {
		stage Stage
		says  string
	}{
		"fine":                    {named("live", "qa"), ""},
		"after itself":            {named("qa", "qa"), "after itself"},
		"after nothing":           {named("qa", "nowhere"), `no stage "nowhere"`},
		"a cycle of two":          {named("qa", "dev"), "after each other"},
		"a cycle of builds":       {a(TypeCommit, "free"), "makes the builds that stage \"free\""},
		"after a bootstrap stage": {a(TypeCommit, "bootstrap"), ""},
		"a second commit stage":   {func() Stage { s := a(TypeCommit, "qa"); s.Name = "nightly"; return s }(), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckStage(st, tt.stage)
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || CodeOf(err) != CodeInvalid || HintOf(err) == "") {
				t.Errorf("error %v (%s), want %q", err, HintOf(err), tt.says)
			}
		})
	}
	st.Pipeline.Service.Start = ""
	if err := CheckStage(st, a(TypeAcceptance, "commit")); err == nil || !strings.Contains(err.Error(), "service.start") {
		t.Errorf("an environment without a service: %v", err)
	}
}

// Two commit stages may have a pipeline each to themselves, but nothing comes after both,
// however far below them, unless they make the same builds.
func TestStagesThatNeverMeet(t *testing.T) {
	commit := func(name, repository, digest string, after ...string) Stage {
		return Stage{Pipeline: "shop", Name: name, Type: TypeCommit, After: after, BaseImage: "img-1",
			Source: &SourceRef{Repository: repository, Commit: "c" + digest, Digest: digest}}.WithDefaults(nil, nil)
	}
	api, web := commit("api", "api.git", "x"), commit("web", "web.git", "y")
	apiQA, webQA, free := named("api-qa", "api"), named("web-qa", "web"), named("free")
	both := named("both", "api-qa", "web-qa")
	undecided := web
	undecided.Source = nil
	rebased, again, older := commit("web", "api.git", "x"), commit("web", "api.git", "x"), commit("web", "api.git", "w")
	rebased.BaseImage = "img-2"
	images := commit("web", "api.git", "w")
	images.Source.Commit = api.Source.Commit
	pinned := pinnedTo(both, id("x"))
	tests := map[string]struct {
		recorded []Stage
		stage    Stage
		says     string
	}{
		"separate ways":                        {[]Stage{api, web, apiQA}, webQA, ""},
		"below both at once":                   {[]Stage{api, web}, named("live", "api", "web"), `"api" and "web"`},
		"below a stage of each":                {[]Stage{api, web, apiQA, webQA}, both, `"api-qa" (whose builds "api" makes) and "web-qa" (whose builds "web" makes)`},
		"a pin opens nothing":                  {[]Stage{api, web, apiQA, webQA}, pinned, "no build can ever pass both"},
		"far below":                            {[]Stage{api, web, apiQA, webQA, named("a", "api-qa", "free"), named("b", "web-qa"), free}, named("live", "a", "b"), "no build can ever pass both"},
		"once is enough":                       {[]Stage{api, web, apiQA, webQA, both}, named("live", "both"), ""},
		"one of them, and one that takes all":  {[]Stage{api, web, free}, named("live", "api", "free"), ""},
		"both, and one that takes all":         {[]Stage{api, web, free}, named("live", "api", "free", "web"), `"api" and "web"`},
		"a bootstrap stage, too":               {[]Stage{api, web, a(TypeBootstrap)}, named("live", "api", "bootstrap"), ""},
		"a commit stage after another":         {[]Stage{api, apiQA}, commit("web", "web.git", "y", "api-qa"), `"api-qa" (whose builds "api" makes) and "web"`},
		"the same source":                      {[]Stage{api, again}, named("live", "api", "web"), ""},
		"the same source, at another commit":   {[]Stage{api, older}, named("live", "api", "web"), ""},
		"the same source, on another image":    {[]Stage{api, rebased}, named("live", "api", "web"), "no build can ever pass both"},
		"other files of the same commit":       {[]Stage{api, images}, named("live", "api", "web"), "no build can ever pass both"},
		"a source that is not known yet":       {[]Stage{api, undecided}, named("live", "api", "web"), ""},
		"a stage that is gone":                 {[]Stage{api, web, named("old", "gone")}, named("live", "api", "old"), ""},
		"a branch that is impossible already":  {[]Stage{api, web, apiQA, both, webQA}, named("live", "both", "api-qa"), ""},
		"two ways of one commit stage":         {[]Stage{api, web, apiQA, named("api-load", "api")}, named("live", "api-qa", "api-load"), ""},
		"a cycle of stages ends, and is named": {[]Stage{api, web, named("a", "b"), named("b", "a")}, named("live", "a", "web"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckStage(tell(t).stages(tt.recorded...).state(), tt.stage)
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || CodeOf(err) != CodeInvalid || HintOf(err) == "") {
				t.Errorf("error %v (%s), want %q", err, HintOf(err), tt.says)
			}
		})
	}
}

func TestCheckData(t *testing.T) {
	st := tell(t).route().state()
	for from, says := range map[string]string{
		"": "", "production": "", "later": "", "capacity": `"capacity", which keeps no environment`, "qa": `"qa", the stage itself`,
	} {
		s := named("qa", "commit")
		s.Env = &EnvironmentSpec{DataFrom: from}
		err := CheckData(st, s)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), "data_from names "+says) || CodeOf(err) != CodeInvalid || HintOf(err) == "") {
			t.Errorf("data_from %q: %v (%s)", from, err, HintOf(err))
		}
	}
}

func TestCyclesEnd(t *testing.T) {
	st := tell(t).stages(named("one", "two"), named("two", "three"), named("three", "one")).state()
	if got := st.Ancestors([]string{"one"}); len(got) != 3 {
		t.Errorf("ancestors %v", got)
	}
	if got := st.StagesInOrder(); len(got) != 3 {
		t.Errorf("stages %v", got)
	}
	Decide(st, named("one", "two"))
}

func TestInputsThatChangeRunAgain(t *testing.T) {
	s := tell(t).stages(commitOf("x"), named("dev", "commit")).offered("x").passed("dev", "x")
	build := s.state().Builds[id("x")]
	build.Artifact = &Artifact{Digest: "sha256:1"}
	s.event(RunEnded, Facts{Build: &build})
	if m := Decide(s.state(), named("dev", "commit")); m.Action != ActionRun || !strings.Contains(m.Why, "artifact") {
		t.Errorf("action %s (%s)", m.Action, m.Why)
	}
	held := named("dev", "commit")
	held.Trigger = TriggerManual
	if m := Decide(s.state(), held); m.Action != ActionNone {
		t.Errorf("a manual stage moves by itself: %s (%s)", m.Action, m.Why)
	}
}

func TestLaunch(t *testing.T) {
	s := tell(t).event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Service: Service{Install: "install", Start: "start"}}}).
		stages(commitOf("x"), a(TypeAcceptance, "commit"), a(TypeCapacity, "acceptance"), named("early", "commit")).offered("x")
	build := s.state().Builds[id("x")]
	build.Artifact = &Artifact{Digest: "sha256:1"}
	s.event(RunEnded, Facts{Build: &build})
	if got := s.state().Launch(a(TypeCapacity, "acceptance"), id("x")); got.Image != "img-1" || !got.Install {
		t.Errorf("before the bake: %+v", got)
	}
	build.Image, build.BakedBy = "img-app", "acceptance"
	s.event(RunEnded, Facts{Build: &build})
	st := s.state()
	for stage, want := range map[string]string{"capacity": "img-app", "acceptance": "img-1", "early": "img-1"} {
		if got := st.Launch(st.Stages[stage], id("x")); got.Image != want || got.Install != (want == "img-1") {
			t.Errorf("%s launches %+v, want %s", stage, got, want)
		}
	}
	if got := st.Launch(Stage{}, id("x")); got.Image != "img-app" {
		t.Errorf("a person launches %+v", got)
	}
}

// TestDerivedIDs fixes what must be the same on every machine and for ever.
func TestDerivedIDs(t *testing.T) {
	if got := BuildID("shop", "sha256:1", "img-1"); got != "b-cac647d2c9" {
		t.Errorf("build ID is %s", got)
	}
	if BuildID("shop", "ab", "c") == BuildID("shop", "a", "bc") || id("x") == BuildID("shop", "x", "img-2") || id("x") == BuildID("other", "x", "img-1") {
		t.Error("different inputs give one build ID")
	}
	s := a(TypeCapacity, "acceptance")
	base := s.Digest(Pipeline{})
	if base != "d-3660d30af3f48b38" {
		t.Errorf("definition digest is %s", base)
	}
	same := s
	same.After, same.Pin, same.Trigger, same.Name = []string{"x"}, "b-1", TriggerManual, "other"
	same.Env = &EnvironmentSpec{Instances: 7}
	if same.Digest(Pipeline{Scale: Scale{Instances: 5}}) != base {
		t.Error("a name, gate, pin or number of instances changed the digest")
	}
	for name, change := range map[string]func(*Stage, *Pipeline){
		"step":        func(s *Stage, _ *Pipeline) { s.Steps = []Step{{Name: "x"}} },
		"environment": func(s *Stage, _ *Pipeline) { s.Env = &EnvironmentSpec{Env: map[string]string{"A": "b"}} },
		"service":     func(_ *Stage, p *Pipeline) { p.Service.Start = "other" },
		"runner":      func(s *Stage, _ *Pipeline) { s.Runner = RunnerCodeBuild },
		"machines":    func(s *Stage, _ *Pipeline) { s.Steps = []Step{{Load: &Load{Machines: 2}}} },
		"secrets":     func(s *Stage, _ *Pipeline) { s.Env = &EnvironmentSpec{SecretsVersion: 2} },
	} {
		changed, p := s, Pipeline{}
		change(&changed, &p)
		if changed.Digest(p) == base {
			t.Errorf("a change of the %s did not change the digest", name)
		}
	}
}

// TestRandomHistories checks what must hold after any history.
func TestRandomHistories(t *testing.T) {
	names := []string{"u", "v", "w", "x", "y", "z"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := tell(t).route()
		stages := []string{"commit", "acceptance", "exploratory", "capacity", "pre-production", "production"}
		s.offered(names[r.IntN(len(names))])
		for range 25 {
			stage, build := stages[r.IntN(len(stages))], names[r.IntN(len(names))]
			switch r.IntN(6) {
			case 0:
				s.offered(build)
			case 1, 2:
				s.ran(stage, build, []RunStatus{RunPassed, RunFailed, RunCancelled}[r.IntN(3)])
			case 3:
				s.decided(stage, build, []DecisionResult{Approved, Rejected}[r.IntN(2)])
			case 4:
				s.promoted("production", build)
			case 5:
				s.serves("production", build, []EnvironmentStatus{EnvRunning, EnvGone}[r.IntN(2)])
			}
		}
		st := s.state()
		for _, name := range stages[1:] {
			stage := st.Stages[name]
			m := Decide(st, stage)
			if again := Decide(st, stage); again != m {
				t.Fatalf("seed %d: %s: decided %+v, then %+v", seed, name, m, again)
			}
			held := st.Current[name].Build
			switch {
			case m.Candidate == "":
			case st.rejectedAt(stage, m.Candidate) != "":
				t.Fatalf("seed %d: %s moves to rejected %s", seed, name, m.Candidate)
			case m.Candidate != held && st.Eligible(stage, m.Candidate) != nil:
				t.Fatalf("seed %d: %s moves to %s: %v", seed, name, m.Candidate, st.Eligible(stage, m.Candidate))
			case stage.Trigger == TriggerAutomatic && st.Builds[m.Candidate].Order < st.Builds[held].Order && !(stage.Approval && st.rejectedAt(stage, held) != ""):
				t.Fatalf("seed %d: %s moves back from %s to %s", seed, name, held, m.Candidate)
			}
		}
	}
}

// trusting makes a stage's endpoint trust nobody.
func trusting(s Stage) Stage {
	s.Env.TrustedProxies = []string{}
	return s
}
