// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// written is a pipeline that is in the ledger as a test wants it.
type written struct {
	*bed
	pipeline pipeline.Pipeline
	build    pipeline.Build
	batch    pipeline.Batch
}

// write makes a pipeline with one build, of its stage commit.
func (b *bed) write(name string) *written {
	b.Helper()
	made := time.Now().Add(-time.Hour)
	w := &written{bed: b, pipeline: pipeline.Pipeline{Name: name, Owner: b.app.Owner}, batch: pipeline.Batch{Pipeline: name}}
	w.build = pipeline.Build{
		ID: pipeline.BuildID(name, "x", ""), Pipeline: name, Stage: "commit", Order: 1, CreatedAt: made,
		Revision: pipeline.Revision{Repository: "r", Commit: strings.Repeat("a", 40), Author: "Ada <ada@example.com>", Message: "Weigh parcels", Time: made},
	}
	w.add(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &w.pipeline})
	w.add(pipeline.BuildOffered, pipeline.Facts{Build: &w.build})
	w.pass(w.stage(pipeline.TypeCommit, "commit", func(s *pipeline.Stage) { s.Source = &pipeline.SourceRef{Repository: "r", Digest: "x"} }))
	return w
}

func (w *written) add(kind pipeline.EventKind, facts pipeline.Facts) {
	w.batch.Events = append(w.batch.Events, pipeline.Event{Kind: kind, Actor: "ann", Facts: facts})
}

// stage defines a stage.
func (w *written) stage(kind pipeline.StageType, name string, change func(*pipeline.Stage)) pipeline.Stage {
	no, s := false, pipeline.Stage{Pipeline: w.pipeline.Name, Owner: w.pipeline.Owner, Applied: true, Type: kind, Name: name}
	change(&s)
	s = s.WithDefaults(nil, &no)
	s.Env = nil // no platform has one
	w.add(pipeline.StageDefined, pipeline.Facts{Stage: &s})
	return s
}

// pass lets the build pass a stage.
func (w *written) pass(s pipeline.Stage) {
	run := pipeline.Run{
		ID: "r-" + s.Name, Pipeline: s.Pipeline, Stage: s.Name, Kind: pipeline.KindStage, Build: w.build.ID, Digest: s.Digest(w.pipeline), Status: pipeline.RunPassed, Phase: pipeline.PhaseDone,
		StartedAt: w.build.CreatedAt, EndedAt: w.build.CreatedAt.Add(time.Minute), Order: 1,
	}
	w.add(pipeline.RunEnded, pipeline.Facts{Run: &run, Current: &pipeline.Current{Stage: s.Name, Build: w.build.ID, Run: run.ID, At: run.EndedAt}})
}

func after(names ...string) func(*pipeline.Stage) {
	return func(s *pipeline.Stage) { s.After = names }
}

// rest writes the pipelines whose stages are in the states that the lab's pipelines lack.
func (b *bed) rest() {
	b.Helper()
	rest := b.write("rest")
	rest.stage(pipeline.TypeCommit, "web", func(s *pipeline.Stage) { s.Source = &pipeline.SourceRef{Repository: "w", Digest: "w"} })
	rest.stage(pipeline.TypeCustom, "web-tests", after("web"))
	rest.stage(pipeline.TypeCustom, "both", after("commit", "web"))
	rest.stage(pipeline.TypeProduction, "release", after("commit"))
	rest.stage(pipeline.TypeProduction, "pinned", func(s *pipeline.Stage) { s.After, s.Pin = []string{"web"}, rest.build.ID })
	rest.stage(pipeline.TypeCustom, "slow", after("commit"))
	rest.add(pipeline.StagePaused, pipeline.Facts{Pause: &pipeline.Pause{Stage: "slow", Actor: "olga", At: time.Now(), Reason: "the sale"}})
	rest.stage(pipeline.TypeCustom, "after-slow", after("slow"))
	rest.stage(pipeline.TypeCustom, "based", func(s *pipeline.Stage) {
		s.After, s.Elsewhere = []string{"commit"}, []pipeline.Elsewhere{{Ledger: "l-other", Pipeline: "images", Stage: "tested"}}
	})
	apptest.Append(b.T, b.app, rest.batch)

	rejected := b.write("rejected")
	rejected.pass(rejected.stage(pipeline.TypeCustom, "trial", after("commit")))
	rejected.stage(pipeline.TypeProduction, "release", after("trial"))
	rejected.add(pipeline.BuildDecided, pipeline.Facts{Decision: &pipeline.Decision{
		Pipeline: "rejected", Stage: "trial", Build: rejected.build.ID, Run: "r-trial", Result: pipeline.Rejected, Rejections: []pipeline.Rejection{{Actor: "ben", At: time.Now(), Reason: "too heavy"}}, At: time.Now(),
	}})
	apptest.Append(b.T, b.app, rejected.batch)
}

// For each kind of what comes next there is a picture of a card, and it says what a person must
// know: what the stage is at, what comes, and why it does not yet.
func TestBrowserNext(t *testing.T) {
	b := newLab(t, lab.Options{})
	b.rest()
	me := b.browse()
	seen := map[gate.NextKind]bool{}
	for _, c := range []struct {
		kind            gate.NextKind
		pipeline, stage string
		tone            string   // of what comes next, which has a colour and a word
		card            []string // what the card says without a press
		menu            []string // what its menu says
	}{
		{gate.NextNothing, lab.Shop, "commit", "", []string{"current", "#43"}, []string{"Now", "Sort the search by relevance"}},
		{gate.NextRunning, lab.Shop, "acceptance", "running", []string{"next: running", "steps 3/3"}, []string{"#43"}},
		{gate.NextFailed, lab.Shop, "pre-production", "failed", []string{"next: failed", "smoke"}, []string{"exit status 1", "See the failure", "Run again"}},
		{gate.NextDecision, lab.Shop, "exploratory", "person", []string{"undecided", "next: a decision"}, []string{"#41", "Approve", "Reject"}},
		{gate.NextPromoted, lab.Shop, "production", "person", []string{"serving", "2/2", "#20", "next: promoted", "#34"}, []string{"ann promoted it, and the next apply moves it"}},
		{gate.NextPaused, lab.Shop, "capacity", "idle", []string{"paused", "next: paused"}, []string{"paused by olga", "the sale of the year", "Resume"}},
		{gate.NextApply, lab.Shop, "security-scan", "idle", []string{"next: the next apply", "#43"}, []string{"the next apply moves it"}},
		{gate.NextPromotion, "rest", "release", "person", []string{"no build yet", "next: a promotion", "Weigh parcels"}, []string{"waits for a promotion of #1", "Promote"}},
		{gate.NextUpstream, "rest", "after-slow", "upstream", []string{"no build yet", "next: after slow", "Weigh parcels"}, []string{`waits for #1 to pass "slow", which is paused`}},
		{gate.NextBuild, "rest", "web-tests", "upstream", []string{"no build yet", "next: a build from upstream"}, []string{`waits for a build that passed "web"`}},
		{gate.NextNewer, "rejected", "release", "upstream", []string{"no build yet", "next: a newer build"}, []string{"newer than #1, which was rejected at stage \"trial\""}},
		{gate.NextNever, "rest", "both", "person", []string{"no build yet", "next: nothing"}, []string{`no build can ever pass both "commit" and "web"`}},
		{gate.NextElsewhere, "rest", "based", "upstream", []string{"no build yet", "next: another pipeline", "Weigh parcels"}, []string{`waits for stage "tested" of pipeline "images" to pass a build`}},
		{gate.NextRefused, "rest", "pinned", "person", []string{"pinned", "next: its pin is refused"}, []string{"web"}},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			st, err := b.app.Engine.State(t.Context(), c.pipeline)
			b.must(err)
			if kind := gate.Now(st).View(c.stage).Next.Kind; kind != c.kind {
				t.Fatalf("what comes at %s is %s", c.stage, kind)
			}
			me.visit("/p/" + c.pipeline)
			me.sees("Value stream")
			holds := func(where, text string, wants []string) {
				for _, want := range wants {
					if !strings.Contains(text, want) {
						t.Errorf("the %s does not say %q: %s", where, want, text)
					}
				}
			}
			holds("card", me.card(c.stage), c.card)
			card := fmt.Sprintf("document.getElementById(%q)", "stage-"+c.stage)
			if tone := eval[string](me, card+`.querySelector(".fact.next .status")?.classList[1] ?? ""`); tone != c.tone {
				t.Errorf("what comes has the tone %q", tone)
			}
			me.click(fmt.Sprintf("li[@id='stage-%s']", c.stage), "⋯")
			holds("menu", strings.Join(strings.Fields(eval[string](me, card+`.querySelector(".pop:popover-open")?.innerText ?? "closed"`)), " "), c.menu)
			me.picture(string(c.kind))
			me.accessible(string(c.kind))
		})
		seen[c.kind] = true
	}
	for _, kind := range gate.NextKinds {
		if !seen[kind] {
			t.Errorf("nobody looks at %s", kind)
		}
	}
}

// A button that somebody else may press is there, says so without its colour, and does nothing.
func TestBrowserRefused(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Wide})
	me := b.browse()
	for _, pixels := range []int64{1440, 390} {
		me.wide(pixels)
		me.visit("/p/wide/builds/11")
		me.sees("Only qa-lead or the security team (sid) may reject.")
		off := eval[[]string](me, `(() => {
			const b = document.querySelector("button.off"), s = getComputedStyle(b);
			b.click();
			return [b.innerText, b.getAttribute("aria-disabled"), document.getElementById(b.getAttribute("aria-describedby")).innerText, s.borderStyle, location.pathname];
		})()`)
		if want := "Reject|true|Only qa-lead or the security team (sid) may reject.|dashed|/p/wide/builds/11"; strings.Join(off, "|") != want {
			t.Errorf("the button is %q", off)
		}
		if ids := eval[int](me, `(() => { const all = [...document.querySelectorAll(".why")].map(e => e.id); return all.length - new Set(all).size; })()`); ids != 0 {
			t.Errorf("%d IDs are there twice", ids)
		}
		me.picture(fmt.Sprint("refused-", pixels))
		me.accessible(fmt.Sprint("refused at ", pixels))
	}
}
