// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// shop opens the lab's shop, and returns its state.
func shop(t *testing.T) (*lab.Lab, *pipeline.State) {
	t.Helper()
	l, err := lab.Open(t.Context(), lab.Options{Dir: t.TempDir(), Only: lab.Shop})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	st, err := l.Engine.State(t.Context(), lab.Shop)
	if err != nil {
		t.Fatal(err)
	}
	return l, st
}

// What a person sees before a decision is what the shop's story says of the build and of the
// one that runs.
func TestEvidence(t *testing.T) {
	l, st := shop(t)
	evidence := func(verb, stage, number string) report.Evidence {
		t.Helper()
		e, err := l.Engine.Reports.Evidence(t.Context(), st, report.EvidenceRequest{Verb: verb, Stage: stage, Build: pipeline.FindBuildID(st, number)})
		if err != nil {
			t.Fatal(err)
		}
		if e.Verb != verb || e.Stage != stage || e.Pipeline != lab.Shop || fmt.Sprint(e.Build.Number) != number || e.Directory == "" {
			t.Errorf("it is about %s at %s of %s, build %+v, in %q", e.Verb, e.Stage, e.Pipeline, e.Build, e.Directory)
		}
		return e
	}

	e := evidence("approve", "exploratory", "41")
	if e.Against != "production" || e.Current == nil || e.Current.Number != 20 || e.Build.Message != "Begin, part 5" || e.Missing != 1 || !slices.Equal(e.Next, []string{"pre-production"}) {
		t.Errorf("#41 is compared with %+v at %s; %d approvals are missing, %v comes next", e.Current, e.Against, e.Missing, e.Next)
	}
	if run, _ := st.ResultOf(st.Stages["exploratory"], e.Build.ID); e.Run != run.ID || e.Run == "" {
		t.Errorf("it is on run %q, not on %q", e.Run, run.ID)
	}
	fared := map[int64]string{}
	for _, c := range e.Diff.Ahead {
		fared[c.Number] = strings.TrimSpace(c.Rejected + " " + strings.Join(c.Failed, " "))
	}
	if len(e.Diff.Ahead) != 21 || len(e.Diff.Behind) != 0 || fared[23] != "exploratory" || fared[26] != "commit" || fared[38] != "pre-production" || fared[40] != "" || e.NoDiff != "" {
		t.Errorf("%d commits come and %d go; their builds fared %v (%s)", len(e.Diff.Ahead), len(e.Diff.Behind), fared, e.NoDiff)
	}
	var components []string
	for _, c := range e.Changes {
		components = append(components, fmt.Sprintf("%s %d +%d -%d", c.Component, c.Files, c.Added, c.Removed))
	}
	if got := strings.Join(components, ", "); got != "data 1 +1 -1, configuration 1 +1 -1, application 2 +2 -2" {
		t.Errorf("changed are %s", got)
	}
	if len(e.Tests) != 2 || e.Tests[0].Stage != "commit" || e.Tests[1].Stage != "acceptance" || e.Tests[1].Total != 48 || e.Tests[1].Failed != 0 || e.Tests[1].Before == nil || len(e.Tests[1].New) != 0 {
		t.Errorf("the tests are %+v", e.Tests)
	}
	if r := e.Rollback; r == nil || r.From.Number != 29 || r.To.Number != 20 || r.Took <= 0 {
		t.Errorf("the last rollback is %+v", e.Rollback)
	}
	if e.Applies.Watched || e.Pending != nil || len(e.Decisions) != 0 || len(e.Loads) != 0 {
		t.Errorf("applied by %+v, pending %+v, decided %+v, loaded %+v", e.Applies, e.Pending, e.Decisions, e.Loads)
	}

	e = evidence("promote", "production", "34")
	if e.Pending != nil || len(e.Next) != 0 || e.Missing != 0 || len(e.Decisions) != 1 || e.Decisions[0].Actor != "ruth" || e.Decisions[0].Verb != "approved" || e.Decisions[0].Stage != "exploratory" {
		t.Errorf("promoting #34: pending %+v, next %v, decided %+v", e.Pending, e.Next, e.Decisions)
	}
	if len(e.Loads) != 2 || e.Loads[0].Step != "expected" || e.Loads[1].Limit != 150*time.Millisecond || e.Loads[1].P99 <= 0 || !e.Loads[1].BeforeCurrent || e.Loads[1].Before != e.Current.ID || e.Loads[1].BeforeP99 <= 0 {
		t.Errorf("the load was %+v", e.Loads)
	}

	e = evidence("rollback", "production", "5")
	if e.Pending == nil || e.Pending.Actor != "ann" || st.Builds[e.Pending.Build].Number != 34 || len(e.Diff.Behind) != 15 || len(e.Diff.Ahead) != 0 {
		t.Errorf("rolling back to #5: pending %+v, diff %+v", e.Pending, e.Diff)
	}

	e = evidence("override", "acceptance", "42")
	if at := e.Tests[len(e.Tests)-1]; at.Stage != "acceptance" || at.Failed != 4 || len(at.New) != 4 || !strings.HasPrefix(at.New[0], "payment/test_06") {
		t.Errorf("the tests of #42 are %+v", e.Tests)
	}

	e = evidence("override", "pre-production", "20")
	if e.NoDiff != "it is the build that runs there now" || e.Diff != nil || e.Changes == nil {
		t.Errorf("of the current build it says %q, %+v", e.NoDiff, e.Diff)
	}
	overridden := slices.ContainsFunc(e.Decisions, func(d report.Decided) bool {
		return d.Verb == "overridden" && d.Stage == "capacity" && d.Actor == "olga" && d.Reason != ""
	})
	if !overridden {
		t.Errorf("decided on #20 was %+v", e.Decisions)
	}
}

// The chain of a build: what stages of other pipelines had passed, which channels lead to its
// image, and where it runs.
func TestEvidenceOfTheChain(t *testing.T) {
	l, recorded := shop(t)
	st := recorded.Clone()
	id := pipeline.FindBuildID(st, "20") // which production holds
	before := pipeline.FindBuildID(st, "5")
	evidence := func(build string) report.Evidence {
		t.Helper()
		e, err := l.Engine.Reports.Evidence(t.Context(), st, report.EvidenceRequest{Verb: "promote", Stage: "production", Build: build})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := evidence(id)
	if len(e.Gated) != 0 || len(e.Channels) != 0 || e.Gated == nil || e.Channels == nil {
		t.Errorf("without a gate elsewhere and channels it has %+v and %+v", e.Gated, e.Channels)
	}
	if len(e.Held) != 1 || e.Held[0].Stage != "production" || e.Held[0].Environment == "" || e.Held[0].Since.IsZero() {
		t.Errorf("it runs in %+v", e.Held)
	}

	on := pipeline.Elsewhere{Ledger: "l-1", Pipeline: "images", Stage: "tested", Build: "b-1", Head: pipeline.Anchor{Sequence: 4, Hash: "h"}}
	production := st.Stages["production"]
	production.Elsewhere = []pipeline.Elsewhere{on}
	at := func(name string) pipeline.StageTarget {
		return pipeline.StageTarget{Target: pipeline.Target{Name: name, Region: name}, Wave: 1}
	}
	production.Targets = []pipeline.StageTarget{at("eu-west-1"), at("us-east-1")}
	st.Stages["production"] = production
	env, _ := recorded.RunEnvironment("production", pipeline.ForStage)
	env.ID, env.Stage, env.Target, env.Build = "e-us", pipeline.AtTarget("production", "us-east-1"), at("us-east-1").Target, id
	st.Environments[env.ID] = env
	now := time.Now()
	st.Channels["production"] = pipeline.Channel{
		Pipeline: lab.Shop, Stage: "production", Name: "/shop/image", At: now, ChannelImage: pipeline.ChannelImage{Build: id, Run: "r-1", Image: "ami-1", Images: map[string]string{"eu-west-1": "ami-1"}},
		Replaced: &pipeline.ChannelImage{Build: before, Image: "ami-0"},
	}
	base := st.Builds[id].BaseImage
	st.Channels["image/base"] = pipeline.Channel{Pipeline: lab.Shop, Stage: "image/base", Name: "/shop/base", At: now, ChannelImage: pipeline.ChannelImage{Image: base}}
	st.Channels["qa"] = pipeline.Channel{Pipeline: lab.Shop, Stage: "qa", ChannelImage: pipeline.ChannelImage{Build: before, Image: "ami-0"}, Moving: &pipeline.ChannelAim{Name: "/shop/qa", Build: id, Image: "ami-1"}}
	e = evidence(id)
	run, _ := st.ResultOf(production, id)
	if len(e.Gated) > 1 || run.ID == "" && (len(e.Gated) != 1 || e.Gated[0].On != on || e.Gated[0].Run != "") {
		t.Errorf("it was gated on %+v", e.Gated)
	}
	if len(e.Held) != 1 || e.Held[0].Target != "us-east-1" || e.Held[0].Place != "us-east-1" || e.Held[0].Environment != "e-us" {
		t.Errorf("it runs in %+v", e.Held)
	}
	var channels []string
	for _, c := range e.Channels {
		text := fmt.Sprint(c.Stage, " ", c.Channel, " ", c.Standing, " ", c.Image)
		if c.Before != nil {
			text += fmt.Sprint(" before #", c.Before.Number)
		}
		if c.After != nil {
			text += fmt.Sprint(" now #", c.After.Number)
		}
		channels = append(channels, text)
	}
	want := []string{"production /shop/image leads ami-1 before #5", "qa /shop/qa moves ami-1 now #5"}
	if base != "" {
		want = slices.Insert(want, 0, "image/base /shop/base leads "+base)
	}
	if !slices.Equal(channels, want) {
		t.Errorf("it is published by %q, want %q", channels, want)
	}
	if led := evidence(before).Channels; len(led) != 2 || led[0].Standing != report.ChannelLed || led[0].After.ID != id || led[1].Standing != report.ChannelLeads {
		t.Errorf("the build before is published by %+v", led)
	}
	if open := evidence(pipeline.FindBuildID(st, "34")).Gated; len(open) != 1 || open[0].Run != "" || !open[0].At.IsZero() || open[0].On != on {
		t.Errorf("before its run, a build is gated on %+v", open)
	}
}

// What can't be known is said, and what does not exist is an error.
func TestEvidenceOfLess(t *testing.T) {
	l, st := shop(t)
	id := pipeline.FindBuildID(st, "41")
	for _, wrong := range []report.EvidenceRequest{{Verb: "approve", Stage: "nowhere", Build: id}, {Verb: "approve", Stage: "exploratory", Build: "b-0000000000"}} {
		if _, err := l.Engine.Reports.Evidence(t.Context(), st, wrong); !pipeline.IsNotFound(err) {
			t.Errorf("of %+v: %v", wrong, err)
		}
	}
	q := report.EvidenceRequest{Verb: "approve", Stage: "exploratory", Build: id, Compare: func(context.Context, string, string) (report.Diff, error) {
		return report.Diff{}, errors.New("the repository is away")
	}}
	if e, err := l.Engine.Reports.Evidence(t.Context(), st, q); err != nil || e.NoDiff != "the repository is away" || e.Diff != nil || e.Current == nil {
		t.Errorf("without the repository: %q, %+v, %v", e.NoDiff, e.Diff, err)
	}
	new := st.Clone()
	new.Current = map[string]pipeline.Current{}
	q.Compare = nil
	if e, err := l.Engine.Reports.Evidence(t.Context(), new, q); err != nil || e.Current != nil || e.Rollback != nil || !strings.Contains(e.NoDiff, "no stage that releases holds a build") {
		t.Errorf("without anything released: %+v, %v", e, err)
	}
}

// A listing of runs says which build each is of, where it failed, and what became of the build
// where the run passed all the same.
func TestRunViews(t *testing.T) {
	l, st := shop(t)
	of := func(stage, number string) report.RunView {
		t.Helper()
		page, err := l.Engine.Reports.Runs(t.Context(), lab.Shop, pipeline.RunQuery{Stage: stage, Build: pipeline.FindBuildID(st, number), Limit: 1})
		if err != nil || len(page.Runs) != 1 {
			t.Fatalf("the run of #%s at %s: %+v, %v", number, stage, page, err)
		}
		return report.RunViewsOf(st, page.Runs)[0]
	}
	for _, tt := range []struct {
		stage, number string
		step          string
		outcome       pipeline.Outcome
	}{
		{"commit", "41", "", ""},
		{"acceptance", "42", "api tests", ""},
		{"pre-production", "38", "smoke", ""},
		{"security-scan", "14", "scan", ""},
		{"exploratory", "41", "", pipeline.OutcomeWaiting},
		{"exploratory", "40", "", pipeline.OutcomeSuperseded},
		{"exploratory", "23", "", pipeline.OutcomeRejected},
		{"exploratory", "34", "", ""},
		{"capacity", "20", "peak", ""}, // it failed, and was overridden: the run says the first
		{"acceptance", "43", "", ""},   // it is under way
	} {
		got := of(tt.stage, tt.number)
		if got.Step != tt.step || got.Outcome != tt.outcome || fmt.Sprint(got.BuildNumber) != tt.number || got.Message == "" {
			t.Errorf("#%s at %s: step %q, outcome %q, number %d, message %q", tt.number, tt.stage, got.Step, got.Outcome, got.BuildNumber, got.Message)
		}
	}
	gone := report.RunViewOf(&pipeline.State{}, of("exploratory", "41").RunSummary)
	if gone.BuildNumber != 0 || gone.Message != "" || gone.Outcome != "" || gone.Build == "" {
		t.Errorf("of a build that was collected: %+v", gone)
	}
	if bake := report.Stands(st, pipeline.RunSummary{Kind: pipeline.KindBake, Status: pipeline.RunPassed, Stage: "image/base"}); bake != "" {
		t.Errorf("a bake stands as %q", bake)
	}
}
