// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// publishing is a route whose acceptance stage publishes.
func publishing(digest string, p *pipeline.Publication) []pipeline.Stage {
	s := stage(pipeline.TypeAcceptance, "commit")
	s.Steps, s.Publish = []pipeline.Step{{Name: "journeys", Command: "try " + digest}}, p
	s.Steps[0].Command = "try"
	return []pipeline.Stage{commit(digest), s}
}

func stable() *pipeline.Publication {
	return &pipeline.Publication{Channel: "stable", Regions: []string{"there"}, Keep: 1}
}

// named returns the build that a name leads to in each region; it is a failure if it is not
// the same.
func (d *desk) named(name string) string {
	d.t.Helper()
	here, there := d.names[name+"@here"], d.names[name+"@there"]
	if here.build != there.build {
		d.t.Errorf("%s leads to build %q here, and to %q there", name, here.build, there.build)
	}
	return here.build
}

func (d *desk) wantNamed(when, want string) {
	d.t.Helper()
	if got := d.named("stable"); got != want {
		d.t.Errorf("%s, the channel leads to %q, want %q", when, got, want)
	}
	if v := d.status("acceptance"); v.Move.Action == gate.ActionPublish || v.Move.Publishes {
		d.t.Errorf("%s, the next apply would do %s: %s", when, v.Move.Action, v.Move.Why)
	}
}

// A channel leads to the newest build that passed; to an older one after a rejection or by a
// pin; and nowhere if none is left. A failed run moves nothing.
func TestChannelFollowsWhatPassed(t *testing.T) {
	d := open(t)
	d.watch = func() {
		if wrong := d.follow(); wrong != "" {
			t.Error(wrong)
		}
	}
	d.mustApply(publishing("1", stable()))
	d.wantNamed("after build 1", build("1"))
	d.mustApply(publishing("2", stable()))
	d.wantNamed("after build 2", build("2"))
	one := d.state().Channels["acceptance"].Previous
	if len(one) != 1 || one[0].Build != build("1") || d.published[one[0].Image].DeprecateAfter == 0 {
		t.Errorf("before, it led to %+v, which is published as %+v", one, d.published)
	}

	broken := publishing("3", stable())
	broken[1].Steps[0].Command = "fail"
	if err := d.apply(broken); err == nil {
		t.Fatal("build 3 passed")
	}
	if got := d.named("stable"); got != build("2") {
		t.Errorf("after a failed run, the channel leads to %s", got)
	}

	if _, err := d.Decide(t.Context(), "shop", "acceptance", build("2"), pipeline.Rejected, "bad"); err != nil {
		t.Fatal(err)
	}
	if v := d.status("acceptance"); !v.Move.Publishes {
		t.Errorf("after the rejection, the next apply does not move the channel: %+v", v.Move)
	}
	if err := d.apply(broken); err == nil { // it goes back though the newer build fails
		t.Fatal("build 3 passed")
	}
	if got := d.named("stable"); got != build("1") {
		t.Errorf("after the rejection, the channel leads to %s", got)
	}
	if p := d.published[d.state().Builds[build("1")].Image]; p.DeprecateAfter != 0 {
		t.Errorf("the image that it came back to is published as %+v", p)
	}

	d.mustApply(publishing("4", stable()))
	d.wantNamed("after build 4", build("4"))
	pinned := publishing("4", stable())
	pinned[1].Pin = build("1")
	d.mustApply(pinned)
	d.wantNamed("with a pin to build 1", build("1"))
	if _, err := d.Decide(t.Context(), "shop", "acceptance", build("1"), pipeline.Rejected, "bad, too"); err != nil {
		t.Fatal(err)
	}
	unpinned := publishing("1", stable())
	_ = d.apply(unpinned) // there may be nothing to run
	if got := d.named("stable"); got == build("1") {
		t.Errorf("the channel still leads to the rejected build")
	}
}

// If no build is left that passed, the name is removed.
func TestChannelOfNothing(t *testing.T) {
	d := open(t)
	d.mustApply(publishing("1", stable()))
	if _, err := d.Decide(t.Context(), "shop", "acceptance", build("1"), pipeline.Rejected, "bad"); err != nil {
		t.Fatal(err)
	}
	if v := d.status("acceptance"); v.Move.Action != gate.ActionPublish || !strings.Contains(v.Move.Why.String(), "no build is left") {
		t.Errorf("the next apply does %s: %s", v.Move.Action, v.Move.Why)
	}
	if _, err := d.Stages.Advance(t.Context(), run.AdvanceRequest{Stage: publishing("1", stable())[1]}); err != nil {
		t.Fatal(err)
	}
	d.wantNamed("with no build", "")
	if len(d.names) != 0 {
		t.Errorf("there are still names: %v", d.names)
	}
}

// Whatever call a process is killed at, whoever follows the name finds an image that is there
// and that passed, and the next apply completes what was begun.
func TestChannelSurvivesKills(t *testing.T) {
	first := open(t)
	first.mustApply(publishing("1", stable()))
	for _, after := range []bool{false, true} {
		for limit := 1; ; limit++ {
			w := first.world.copied()
			d := start(t, w, t.TempDir())
			passed := []string{build("1"), build("2")}
			d.watch = func() {
				if wrong := d.follow(); wrong != "" {
					t.Errorf("killed at call %d: %s", limit, wrong)
				}
				for name, n := range d.names {
					if !slices.Contains(passed, n.build) {
						t.Errorf("killed at call %d: %s leads to build %q", limit, name, n.build)
					}
				}
				if len(d.names) != 2 {
					t.Errorf("killed at call %d: there are %v", limit, d.names)
				}
			}
			d.limit, d.after = limit, after
			done := d.apply(publishing("2", stable())) == nil
			d = d.again()
			d.mustApply(publishing("2", stable()))
			d.wantNamed("at the end", build("2"))
			if done || t.Failed() {
				break
			}
		}
	}
}

// What a channel publishes changes with its definition: another name, other regions.
func TestChannelRedefined(t *testing.T) {
	d := open(t)
	d.watch = func() {
		if wrong := d.follow(); wrong != "" {
			t.Error(wrong)
		}
	}
	d.mustApply(publishing("1", stable()))
	runs := d.stepRuns["try"]
	d.mustApply(publishing("1", &pipeline.Publication{Channel: "stable", Keep: 1}))
	if n := d.names; len(n) != 1 || n["stable@here"].build != build("1") {
		t.Errorf("with one region there are %v", n)
	}
	d.mustApply(publishing("1", &pipeline.Publication{Channel: "good", Regions: []string{"there"}}))
	if n := d.names; len(n) != 2 || n["good@there"].build != build("1") {
		t.Errorf("with another name there are %v", n)
	}
	if d.stepRuns["try"] != runs {
		t.Error("a change of publish ran the stage")
	}
	refused := publishing("1", &pipeline.Publication{Channel: "good", Regions: []string{"a", "b", "c"}})
	if err := d.apply(refused); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("what the platform can't do: %v", err)
	}
}

// The end of a publication removes the name, or leaves it with its image, as on_removal says.
func TestChannelRemoved(t *testing.T) {
	for name, remove := range map[string]func(d *desk) error{
		"publish": func(d *desk) error { return d.apply(publishing("1", nil)) },
		"stage": func(d *desk) error {
			return d.Stages.Remove(t.Context(), "shop", "acceptance", d.state().Stages["acceptance"].ID)
		},
		"pipeline": func(d *desk) error { return d.Pipelines.Remove(t.Context(), "shop", "", true) },
	} {
		for _, on := range []pipeline.OnRemoval{pipeline.OnRemovalDelete, pipeline.OnRemovalKeep} {
			t.Run(name+"/"+string(on), func(t *testing.T) {
				d := open(t)
				p := stable()
				p.OnRemoval = on
				d.mustApply(publishing("1", p))
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				kept := on == pipeline.OnRemovalKeep && name != "pipeline"
				if n := len(d.names); kept && n != 2 || !kept && n != 0 {
					t.Errorf("there are %v", d.names)
				}
				if name == "pipeline" {
					return
				}
				c, recorded := pipeline.LeftAs(d.state(), "stable")
				if recorded != kept || kept && !c.Left {
					t.Errorf("recorded is %+v, %v", c, recorded)
				}
				if _, err := d.Collector.Collect(t.Context(), collect.Request{}); err != nil {
					t.Fatal(err)
				}
				if wrong := d.follow(); wrong != "" {
					t.Error(wrong)
				}
			})
		}
	}
}

// A name that something else made is taken over only if the configuration says so.
func TestChannelOfAnother(t *testing.T) {
	d := open(t)
	d.names["stable@there"] = memName{image: "img-other", owner: "somebody"}
	if err := d.apply(publishing("1", stable())); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("another's name: %v", err)
	}
	if d.state().Current["acceptance"].Build != build("1") {
		t.Error("the stage has not moved to what passed")
	}
	p := stable()
	p.Adopt = true
	d.mustApply(publishing("1", p))
	d.wantNamed("after it was adopted", build("1"))
}

// A name that something else has removed, or let lead elsewhere, is brought back by the next
// apply. One that has become something else's is refused, before anything is done, unless it may
// be adopted.
func TestChannelChangedByOthers(t *testing.T) {
	for name, change := range map[string]func(d *desk){
		"removed": func(d *desk) { delete(d.names, "stable@there") },
		"changed": func(d *desk) { d.names["stable@there"] = memName{image: "img-other", owner: "acceptance"} },
		"taken":   func(d *desk) { d.names["stable@there"] = memName{image: "img-other", owner: "somebody"} },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(publishing("1", stable()))
			change(d)
			d = d.again()
			v := d.status("acceptance")
			if v.Move.Action != gate.ActionPublish || v.Move.Why.Kind != gate.WhyStray || !v.Move.Publishes || v.Channel.Stray == nil || v.Channel.Stray.Region != "there" {
				t.Errorf("the next apply does %s: %s; the channel is %+v", v.Move.Action, v.Move.Why, v.Channel)
			}
			at, position, err := d.Snapshot(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			again, err := d.SnapshotAt(t.Context(), "shop", position)
			if err != nil || *again.State().Channels["acceptance"].Stray != *at.State().Channels["acceptance"].Stray {
				t.Errorf("at the same position the channel is %+v, %v", again.State().Channels["acceptance"], err)
			}
			p := stable()
			if name == "taken" {
				runs := d.stepRuns["make"]
				if err := d.apply(publishing("2", stable())); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), "replaced it in there") {
					t.Errorf("a name that is something else's: %v", err)
				}
				if d.names["stable@there"].owner != "somebody" || d.stepRuns["make"] > runs+1 {
					t.Errorf("there are %v", d.names)
				}
				p.Adopt = true
			}
			since := d.state().Channels["acceptance"].At
			d.mustApply(publishing("1", p))
			d.wantNamed("after the next apply", build("1"))
			if c := d.state().Channels["acceptance"]; c.Stray != nil || !c.At.Equal(since) {
				t.Errorf("the channel is %+v, and led there since %v", c, since)
			}
		})
	}
}

// What is kept holds the pipeline: it is removed only by force, with the name. A pipeline whose
// stage is still to leave its channel is refused as well.
func TestKeptChannelHoldsPipeline(t *testing.T) {
	d := open(t)
	p := stable()
	p.OnRemoval = pipeline.OnRemovalKeep
	d.mustApply(publishing("1", p))
	for range 2 {
		removal := run.RemovalOf(d.state())
		if err := removal.Refused(false); pipeline.CodeOf(err) != pipeline.CodeConflict || len(removal.Channels) != 1 || removal.Refused(true) != nil {
			t.Errorf("the plan says %v; %+v", err, removal.Channels)
		}
		if err := d.Pipelines.Remove(t.Context(), "shop", "", false); pipeline.CodeOf(err) != pipeline.CodeConflict {
			t.Errorf("the removal: %v", err)
		}
		if wrong := d.follow(); wrong != "" || len(d.names) != 2 {
			t.Errorf("%s; there are %v", wrong, d.names)
		}
		if err := d.Stages.Remove(t.Context(), "shop", "acceptance", d.state().Stages["acceptance"].ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Pipelines.Remove(t.Context(), "shop", "", true); err != nil || len(d.names) != 0 {
		t.Errorf("by force: %v; there are %v", err, d.names)
	}
}

// publishingBoth is a route whose stages acceptance and capacity publish.
func publishingBoth(digest string, acceptance, capacity *pipeline.Publication) []pipeline.Stage {
	all := publishing(digest, acceptance)
	s := stage(pipeline.TypeCapacity, "acceptance")
	s.Publish = capacity
	return append(all, s)
}

// A name that was left is taken over, with its record, by who adopts it, and by nobody else. A
// stage that gets another name leaves the one that is to stay.
func TestLeftChannelIsAdopted(t *testing.T) {
	kept := func(name string) *pipeline.Publication {
		return &pipeline.Publication{Channel: name, Regions: []string{"there"}, Keep: 1, OnRemoval: pipeline.OnRemovalKeep}
	}
	for name, leave := range map[string]*pipeline.Publication{"removed": nil, "renamed": kept("other")} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.watch = func() {
				if wrong := d.follow(); wrong != "" {
					t.Error(wrong)
				}
			}
			d.mustApply(publishing("1", kept("stable")))
			d.mustApply(publishingBoth("1", leave, nil))
			left, found := pipeline.LeftAs(d.state(), "stable")
			if d.named("stable") != build("1") || !found || left.Build != build("1") || leave != nil && d.named("other") != build("1") {
				t.Fatalf("left is %+v, %v; there are %v", left, found, d.names)
			}
			if err := d.apply(publishingBoth("1", leave, kept("stable"))); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), `stage "acceptance" has left it`) {
				t.Errorf("without adopt: %v", err)
			}
			adopting := kept("stable")
			adopting.Adopt, adopting.Regions = true, nil
			d.mustApply(publishingBoth("2", leave, adopting))
			if _, there := d.names["stable@there"]; there || d.names["stable@here"].build != build("2") {
				t.Errorf("there are %v", d.names)
			}
			if _, found := pipeline.LeftAs(d.state(), "stable"); found {
				t.Error("it is still recorded as left")
			}
			c := d.state().Channels["capacity"]
			if len(c.Previous) != 1 || c.Previous[0].Build != build("1") || c.Replaced == nil || c.Replaced.Build != build("1") {
				t.Errorf("who adopted it has %+v", c)
			}
			d.mustApply(publishingBoth("3", leave, adopting))
			if uses := collect.Uses(map[string]*pipeline.State{"shop": d.state()}); slices.Contains(uses[left.Image], "channel stable") || slices.Contains(uses[left.Image], "channel stable, before") {
				t.Errorf("the image that it led to first is kept by %v", uses[left.Image])
			}
			d.mustApply(publishingBoth("3", leave, nil))
			d.mustApply(publishingBoth("3", leave, adopting))
			if c := d.state().Channels["capacity"]; c.Build != build("3") || len(c.Previous) != 1 {
				t.Errorf("by its own name again, it has %+v", c)
			}
		})
	}
}

// Wherever a process is killed while a name is left for another one, or adopted, whoever follows
// it finds an image, and the next apply completes what was begun.
func TestLeftChannelSurvivesKills(t *testing.T) {
	kept := func(name string, adopt bool) *pipeline.Publication {
		return &pipeline.Publication{Channel: name, Regions: []string{"there"}, Keep: 1, OnRemoval: pipeline.OnRemovalKeep, Adopt: adopt}
	}
	first := open(t)
	first.mustApply(publishingBoth("1", kept("stable", false), nil))
	for _, after := range []bool{false, true} {
		for limit := 1; ; limit++ {
			w := first.world.copied()
			d := start(t, w, t.TempDir())
			d.watch = func() {
				if wrong := d.follow(); wrong != "" {
					t.Errorf("killed at call %d: %s", limit, wrong)
				}
				if d.names["stable@here"].image == "" {
					t.Errorf("killed at call %d: there are %v", limit, d.names)
				}
			}
			d.limit, d.after = limit, after
			stages := publishingBoth("2", kept("other", false), kept("stable", true))
			done := d.apply(stages) == nil
			d = d.again()
			d.mustApply(stages)
			left := pipeline.LeftChannels(d.state())
			if d.named("stable") != build("2") || d.named("other") != build("2") || len(left) != 0 || len(d.state().Channels) != 2 {
				t.Errorf("killed at call %d: there are %v; left is %+v", limit, d.names, left)
			}
			if done || t.Failed() {
				break
			}
		}
	}
}
