// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

func TestDecide(t *testing.T) {
	one := build("1")
	tests := map[string]struct {
		stage, build string
		result       pipeline.DecisionResult
		reason       string
		code         pipeline.Code
		says         string
	}{
		"approve what waits":             {stage: "exploratory", build: one, result: pipeline.Approved},
		"approve the one on offer":       {stage: "exploratory", result: pipeline.Approved},
		"reject with a reason":           {stage: "exploratory", build: one, result: pipeline.Rejected, reason: "ugly"},
		"reject at a stage of machines":  {stage: "capacity", build: one, result: pipeline.Rejected, reason: "slow"},
		"reject without a reason":        {stage: "exploratory", build: one, result: pipeline.Rejected, code: pipeline.CodeInvalid, says: "reason"},
		"approve where nobody asks":      {stage: "capacity", build: one, result: pipeline.Approved, code: pipeline.CodeInvalid, says: "takes no decision"},
		"approve an unknown build":       {stage: "exploratory", build: "b-0000000000", result: pipeline.Approved, code: pipeline.CodeNotFound, says: "no build"},
		"approve at an unknown stage":    {stage: "exploration", build: one, result: pipeline.Approved, code: pipeline.CodeNotFound, says: "no stage"},
		"approve what has not run there": {stage: "exploratory", build: build("2"), result: pipeline.Approved, code: pipeline.CodeRefused, says: "has not passed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(route("1"))
			d.mustApply(route("2")[:1])
			d2, err := d.Decide(context.Background(), "shop", tt.stage, tt.build, tt.result, tt.reason)
			if pipeline.CodeOf(err) != tt.code {
				t.Fatalf("error %v has code %q, want %q", err, pipeline.CodeOf(err), tt.code)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.says) || reason.Hint(err) == "" {
					t.Errorf("error %q with hint %q, want one that says %q", err, reason.Hint(err), tt.says)
				}
				return
			}
			if d2.Build != one || d2.Actor != "alice" || d2.Run == "" {
				t.Errorf("decision %+v", d2)
			}
		})
	}
}

func TestRejectedBuildStopsAndTheNextOneFlows(t *testing.T) {
	d := open(t)
	d.mustApply(route("1"))
	if _, err := d.Decide(context.Background(), "shop", "exploratory", "", pipeline.Rejected, "no"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("1"))
	if got := d.status("exploratory"); got.Status != gate.StatusRejected {
		t.Errorf("exploratory is %s, want rejected", got.Status)
	}
	d.mustApply(route("2"))
	d.approve(build("2"))
	d.mustApply(route("2"))
	if got := d.status("pre-production"); got.Passed != build("2") {
		t.Errorf("pre-production passed %q, want build 2", got.Passed)
	}
}

// A rejected build gets no run, so a rejection is lifted without a run that passed. That
// approves nothing: the run that follows waits for a decision.
func TestLiftOfWhatHasNotRun(t *testing.T) {
	ctx := context.Background()
	two := build("2")
	for name, runs := range map[string]bool{"before it ran there": false, "after it failed there": true} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			d.mustApply(route("1"))
			stages := route("2")
			if runs {
				stages[2].Steps = []pipeline.Step{{Name: "look", Command: "fail " + two}}
				if d.apply(stages) == nil {
					t.Fatal("exploratory did not fail")
				}
			} else {
				d.mustApply(stages[:1])
			}
			decide := func(v pipeline.DecisionResult) error {
				_, err := d.Decide(ctx, "shop", "exploratory", two, v, "because")
				return err
			}
			if err := decide(pipeline.Rejected); err != nil {
				t.Fatal(err)
			}
			d.mustApply(stages)
			if got := d.status("exploratory"); got.Current.Build == two || got.Move.Candidate.ID == two {
				t.Fatalf("rejected: %+v", got)
			}
			if _, err := d.Lift(ctx, "shop", "exploratory", two, decision.Looked{}, "because"); err != nil {
				t.Fatal(err)
			}
			if err := decide(pipeline.Approved); pipeline.CodeOf(err) != pipeline.CodeRefused {
				t.Errorf("an approval of no run: %v", err)
			}
			d.mustApply(route("2"))
			if got := d.status("exploratory"); got.Move.Candidate.ID != two || got.Status != gate.StatusWaiting || got.Passed == two {
				t.Errorf("lifted: %+v", got)
			}
			if err := decide(pipeline.Approved); err != nil {
				t.Error(err)
			}
			if got := d.status("exploratory"); got.Passed != two {
				t.Errorf("approved: %+v", got)
			}
		})
	}
}

func TestPromote(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1"))
	if _, err := d.Promote(ctx, "shop", "production", build("1")); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(reason.Hint(err), "penstock") {
		t.Fatalf("promotion of a build that skipped a stage: %v (%s)", err, reason.Hint(err))
	}
	d.approve(build("1"))
	d.mustApply(route("1"))
	if _, err := d.Promote(ctx, "shop", "acceptance", build("1")); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("promotion to an automatic stage: %v", err)
	}
	if _, err := d.Promote(ctx, "shop", "production", "latest"); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("promotion of no build ID: %v", err)
	}
	p, err := d.Promote(ctx, "shop", "production", "")
	if err != nil || p.Build != build("1") {
		t.Fatalf("promotion of the newest: %+v, %v", p, err)
	}
	d.mustApply(route("1"))
	if got := d.status("production"); got.Current.Build != build("1") {
		t.Errorf("production holds %q after the promotion", got.Current.Build)
	}
	pinned := route("1")
	pinned[5].Pin = build("1")
	d.mustApply(pinned)
	if _, err := d.Promote(ctx, "shop", "production", build("1")); pipeline.CodeOf(err) != pipeline.CodeRefused || !strings.Contains(reason.Hint(err), "Change build") {
		t.Errorf("promotion of a pinned stage: %v", err)
	}
}

func TestExploratoryEnvironmentEndsWithTheDecision(t *testing.T) {
	d := open(t)
	stages := route("1")[:3]
	stages[2].Env = &pipeline.EnvironmentSpec{Instances: 1}
	d.mustApply(stages)
	if got := d.status("exploratory"); got.Environment == nil || got.Environment.Endpoint == "" {
		t.Fatalf("there is nothing to try: %+v", got)
	}
	d.approve(build("1"))
	if len(d.envs) != 0 {
		t.Errorf("the environment outlived the decision")
	}
	before := d.prepared
	d.mustApply(stages)
	if d.prepared != before {
		t.Errorf("an apply after the decision launched an environment")
	}
}

// A person who decides may lack the right to end the environment, or be killed before it is
// ended: the next apply ends it.
func TestDecidedEnvironmentEnds(t *testing.T) {
	for _, result := range []pipeline.DecisionResult{pipeline.Approved, pipeline.Rejected} {
		t.Run(string(result), func(t *testing.T) {
			d := open(t)
			stages := route("1")[:3]
			stages[2].Env = &pipeline.EnvironmentSpec{Instances: 1}
			d.mustApply(stages)
			killed := d.again()
			killed.limit = 2
			if _, err := killed.Decide(t.Context(), "shop", "exploratory", "", result, "because"); err != nil || len(d.envs) != 1 {
				t.Fatalf("%v; environments %v", err, d.envs)
			}
			d = d.again()
			if move := d.status("exploratory").Move; move.Action != gate.ActionEnd {
				t.Errorf("after the decision the stage is to %s", move.Action)
			}
			d.mustApply(stages)
			if move := d.status("exploratory").Move; move.Action != gate.ActionNone || len(d.envs) != 0 {
				t.Errorf("after the apply it is to %s; environments %v", move.Action, d.envs)
			}
		})
	}
}

// A build that is rejected at one stage can't be approved at another. The environment to try it
// in ends there with the rejection, or else with the next apply, and is back once the
// rejection is lifted.
func TestRejectedElsewhere(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			d := open(t)
			beside := route("1")[2]
			beside.Name = "security"
			stages := append(route("1")[:3], beside)
			stages[2].Env = &pipeline.EnvironmentSpec{Instances: 1}
			d.mustApply(stages)
			if env := d.status("exploratory").Environment; env == nil || env.Build != build("1") {
				t.Fatalf("there is nothing to try: %+v", env)
			}
			decider := d
			if killed {
				decider = d.again()
				decider.limit = 2
			}
			if _, err := decider.Decide(t.Context(), "shop", "security", build("1"), pipeline.Rejected, "it leaks"); err != nil {
				t.Fatal(err)
			}
			want := 0
			if killed {
				if want, d = 1, d.again(); d.status("exploratory").Move.Action != gate.ActionEnd {
					t.Errorf("after the rejection the stage is to %s", d.status("exploratory").Move.Action)
				}
			}
			if len(d.envs) != want {
				t.Errorf("after the rejection there are environments %v", d.envs)
			}
			d.mustApply(stages)
			if move := d.status("exploratory").Move; move.Action != gate.ActionNone || len(d.envs) != 0 {
				t.Errorf("after the apply it is to %s; environments %v", move.Action, d.envs)
			}
			if _, err := d.Lift(t.Context(), "shop", "security", build("1"), decision.Looked{}, ""); err != nil {
				t.Fatal(err)
			}
			d.mustApply(stages)
			if env := d.status("exploratory").Environment; env == nil || env.Build != build("1") || len(d.envs) != 1 {
				t.Errorf("after the lift there is %+v to try; environments %v", env, d.envs)
			}
		})
	}
}

func TestSelfService(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	d.mustApply(route("1")[:2])
	r := run.LaunchRequest{Pipeline: "shop", Name: "alice", TTL: time.Hour, Create: true, Configured: "here"}
	env, err := d.Environments.Launch(ctx, r)
	if err != nil || env.Build != build("1") || env.Endpoint == "" || !env.ExpiresAt.Equal(env.CreatedAt.Add(time.Hour)) {
		t.Fatalf("launch: %+v, %v", env, err)
	}
	same, err := d.Environments.Launch(ctx, r)
	if err != nil || same.ID != env.ID || d.prepared != 2 {
		t.Errorf("a repeated launch made another environment: %+v, %v", same, err)
	}
	if err := d.Creations.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	r.Configured = "elsewhere"
	if _, err := d.Environments.Launch(ctx, r); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("a second environment of one name: %v", err)
	}
	r.Configured, r.Create, r.TTL = "here", false, 2*time.Hour
	longer, err := d.Environments.Launch(ctx, r)
	if err != nil || !longer.ExpiresAt.Equal(env.CreatedAt.Add(2*time.Hour)) {
		t.Errorf("longer TTL: %+v, %v", longer, err)
	}
	d.mustApply(route("2")[:2])
	r.Build = build("2")
	moved, err := d.Environments.Launch(ctx, r)
	if err != nil || moved.Build != build("2") || moved.ID != env.ID || moved.Endpoint != env.Endpoint {
		t.Errorf("another build: %+v, %v", moved, err)
	}
	d.world.mu.Lock()
	d.clock = d.clock.Add(3 * time.Hour)
	d.world.mu.Unlock()
	d = d.again()
	st, err := d.Engine.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if expired, _ := st.PersonEnvironment("alice"); expired.Status != pipeline.EnvExpired {
		t.Errorf("status is %s after the TTL", expired.Status)
	}
	r.Renew = true
	renewed, err := d.Environments.Launch(ctx, r)
	if err != nil || renewed.Status != pipeline.EnvRunning || !renewed.ExpiresAt.After(d.now()) {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
	d.unhealthy["sha256:c3"], d.unhealthy["img-base+sha256:c3"] = true, false
	if err := d.Environments.End(ctx, "shop", "alice", ""); err != nil || len(d.envs) != 0 {
		t.Errorf("end: %v, left %v", err, d.envs)
	}
	if err := d.Environments.End(ctx, "shop", "alice", ""); err != nil {
		t.Errorf("a second end: %v", err)
	}
}

// A platform may take a kept fleet again instead of a new one: that fleet gets the traffic.
func TestSelfServiceTakesKeptFleet(t *testing.T) {
	d := open(t)
	d.mustApply(route("1")[:2])
	d.reused = "f-kept"
	env, err := d.Environments.Launch(t.Context(), run.LaunchRequest{Pipeline: "shop", Name: "alice", TTL: time.Hour})
	if err != nil || env.Fleet != "f-kept" || d.envs[env.ID].serving != "f-kept" {
		t.Errorf("launch: %+v, %v", env, err)
	}
	env, err = d.Environments.Launch(t.Context(), run.LaunchRequest{Pipeline: "shop", Name: "bob", Tree: &run.Tree{}, TTL: time.Hour, Renew: true})
	if err != nil || env.Fleet != "f-kept" || d.envs[env.ID].serving != "f-kept" {
		t.Errorf("develop: %+v, %v", env, err)
	}
}

func TestFailedLaunchLeavesNothing(t *testing.T) {
	d := open(t)
	d.mustApply(route("1")[:2])
	d.unhealthy[d.status("acceptance").Image] = true
	_, err := d.Environments.Launch(context.Background(), run.LaunchRequest{Pipeline: "shop", Name: "alice", TTL: time.Hour})
	if pipeline.CodeOf(err) != pipeline.CodeFailed || len(d.envs) != 0 {
		t.Errorf("launch: %v, left %v", err, d.envs)
	}
}

func TestRetention(t *testing.T) {
	ctx := context.Background()
	d := whole(t) // production runs build 1
	small := shop
	small.Keep = 2
	for _, digest := range []string{"2", "3", "4", "5"} {
		if _, err := d.Pipelines.Update(ctx, small); err != nil {
			t.Fatal(err)
		}
		for _, s := range route(digest)[:2] {
			if _, err := d.Stages.Advance(ctx, run.AdvanceRequest{Stage: s}); err != nil {
				t.Fatal(err)
			}
		}
	}
	st, err := d.Engine.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	var builds []string
	for _, b := range st.BuildsNewestFirst() {
		builds = append(builds, b.ID)
	}
	want := []string{build("5"), build("4"), build("1")} // two newest, and production's
	if !slices.Equal(builds, want) {
		t.Errorf("retained %v, want %v", builds, want)
	}
	if len(d.artifacts) != 6 { // distributions, and lists of packages
		t.Errorf("%d artifacts are left, want those of the retained builds: %v", len(d.artifacts), d.artifacts)
	}
	if _, ok := d.images[st.Builds[build("1")].Image]; !ok {
		t.Errorf("production's image was removed: %v", d.images)
	}
	if len(d.images) != 4 { // three application images and the base image
		t.Errorf("%d images are left: %v", len(d.images), d.images)
	}
	g, err := d.Collector.Collect(ctx, collect.Request{DryRun: true})
	if err != nil || len(g.Builds)+len(g.Images)+len(g.Artifacts) != 0 {
		t.Errorf("a collection right after one would remove %+v, %v", g, err)
	}
}

func TestRemovePipeline(t *testing.T) {
	ctx := context.Background()
	d := whole(t)
	if err := d.Pipelines.Remove(ctx, "shop", "", false); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), "production") {
		t.Fatalf("removal of a pipeline that serves: %v", err)
	}
	if err := d.Stages.Remove(ctx, "shop", "production", "s-another"); err != nil || d.status("production").Environment == nil {
		t.Errorf("removal of one that is no more: %v", err)
	}
	if err := d.remove("production"); err != nil {
		t.Fatal(err)
	}
	if err := d.Pipelines.Remove(ctx, "shop", "", false); err != nil {
		t.Fatal(err)
	}
	if len(d.envs)+len(d.images)+len(d.artifacts)+len(d.logs)+len(d.record.History("shop")) != 0 {
		t.Errorf("the removed pipeline left %d environments, images %v, artifacts %v, logs %d", len(d.envs), d.images, d.artifacts, len(d.logs))
	}
	if err := d.Pipelines.Remove(ctx, "shop", "", false); err != nil {
		t.Errorf("a second removal: %v", err)
	}
}

func TestPipelineOfAnotherConfiguration(t *testing.T) {
	d := whole(t)
	if err := d.Creations.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := shop
	other.Owner = "elsewhere"
	if _, err := d.Pipelines.Create(context.Background(), other); pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(reason.Hint(err), "import") {
		t.Errorf("second pipeline of one name: %v (%s)", err, reason.Hint(err))
	}
}

func TestBake(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	if _, err := d.Pipelines.Create(ctx, shop); err != nil {
		t.Fatal(err)
	}
	bake := func(digest, command string) (pipeline.Image, error) {
		r := imageDefinition
		r.Source.Digest, r.Source.Commit, r.Keep = digest, "c"+digest, 1
		r.Steps = []pipeline.Step{{Name: "packages", Command: command}}
		return d.Images.Bake(ctx, run.BakeRequest{Definition: r})
	}
	one, err := bake("1", "one")
	if err != nil {
		t.Fatal(err)
	}
	calls := d.calls
	if same, err := bake("1", "one"); err != nil || same.ID != one.ID {
		t.Errorf("same inputs gave %s, %v", same.ID, err)
	}
	if d.calls-calls > 4 { // lease, adoption of the pipeline's record, release
		t.Errorf("a bake with nothing to do made %d changing calls", d.calls-calls)
	}
	two, err := bake("2", "two")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bake("3", "fail"); pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Errorf("failing bake: %v", err)
	}
	if back, err := bake("1", "one"); err != nil || back.ID != one.ID {
		t.Errorf("inputs of before gave %s, %v; want the image that exists", back.ID, err)
	}
	if _, err := bake("4", "four"); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.images[two.ID]; !ok {
		t.Errorf("the image before was removed with keep = 1: %v", d.images)
	}
	if err := d.Images.Remove(ctx, "shop", "base", "k-another"); err != nil || len(d.images) == 0 {
		t.Errorf("removal of one that is no more: %v, left %v", err, d.images)
	}
	st, err := d.State(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Images.Remove(ctx, "shop", "base", st.ImageDefinitions["base"].ID); err != nil || len(d.images) != 0 {
		t.Errorf("removal: %v, left %v", err, d.images)
	}
}

// A change of the publication publishes the existing image, and bakes none. The next apply
// continues a failed publication.
func TestPublish(t *testing.T) {
	ctx := t.Context()
	d := open(t)
	if _, err := d.Pipelines.Create(ctx, shop); err != nil {
		t.Fatal(err)
	}
	bake := func(p *pipeline.Publication, key string) (pipeline.Image, error) {
		return d.Images.Bake(ctx, run.BakeRequest{Definition: pipeline.ImageDefinition{
			Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{Image: "img-base"}, Source: pipeline.SourceRef{Repository: "repo", Commit: "c1", Digest: "1"}, Owner: "here", Publish: p, KMSKey: key,
		}})
	}
	one, err := bake(nil, "")
	if err != nil || len(d.published) != 0 {
		t.Fatalf("%+v, %v; published %v", one, err, d.published)
	}
	regions := &pipeline.Publication{Regions: []string{"there"}}
	killed := d.again()
	for killed.limit = 1; ; killed.limit++ {
		if _, err := killed.Images.Bake(ctx, run.BakeRequest{Definition: pipeline.ImageDefinition{
			Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{Image: "img-base"}, Source: pipeline.SourceRef{Repository: "repo", Commit: "c1", Digest: "1"}, Owner: "here", Publish: regions,
		}}); err == nil {
			break
		}
		limit := killed.limit
		killed = killed.again()
		killed.limit = limit
	}
	d = killed.again()
	two, err := bake(regions, "")
	if err != nil || two.ID != one.ID || len(two.Copies) != 2 || len(d.published[one.ID].Regions) != 1 || len(d.images) != 1 {
		t.Errorf("%+v, %v; published %v, images %v", two, err, d.published, d.images)
	}
	if three, err := bake(nil, ""); err != nil || three.Published != "" || len(d.published[one.ID].Regions) != 0 {
		t.Errorf("taken back: %+v, %v; published %v", three, err, d.published)
	}
	if _, err := bake(nil, "key"); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("what the platform can't do: %v", err)
	}
}

// A promotion of what was compared with the stage counts only as long as the stage's current
// and next builds are the same.
func TestPromoteFrom(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	looked := func() decision.Place {
		st := d.seen()
		return decision.PlaceOf(st, st.Stages["production"])
	}
	deploy := func(content string) {
		t.Helper()
		d.mustApply(route(content))
		d.approve(build(content))
		d.mustApply(route(content))
	}
	for _, content := range []string{"1", "2", "3"} {
		deploy(content)
	}
	before := looked()
	if _, err := d.PromoteFrom(ctx, "shop", "production", build("1"), before); err != nil || before != (decision.Place{}) {
		t.Fatalf("from %+v: %v", before, err)
	}
	refused := func(name string, move func(context.Context, string, string, string, decision.Place) (pipeline.Promotion, error), to string, from decision.Place) {
		t.Helper()
		if _, err := move(ctx, "shop", "production", to, from); pipeline.CodeOf(err) != pipeline.CodeConflict || reason.Hint(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, reason.Hint(err))
		}
	}
	refused("another has promoted", d.PromoteFrom, build("2"), before)
	d.mustApply(route("3"))
	refused("another has deployed", d.PromoteFrom, build("2"), before)
	one := looked()
	if one != (decision.Place{Current: build("1"), Next: build("1")}) {
		t.Fatalf("production is at %+v", one)
	}
	if _, err := d.Retry(ctx, "shop", "production"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("3"))
	if looked() != one {
		t.Errorf("the same build again is another place: %+v", looked())
	}
	if _, err := d.PromoteFrom(ctx, "shop", "production", build("3"), one); err != nil {
		t.Fatal(err)
	}
	pending := looked()
	if pending != (decision.Place{Current: build("1"), Next: build("3")}) {
		t.Errorf("production is at %+v", pending)
	}
	d.mustApply(route("3"))
	refused("a roll back from what is gone", d.RollbackFrom, build("1"), pending)
	three := looked()
	if p, err := d.RollbackFrom(ctx, "shop", "production", "", three); err != nil || p.Build != build("1") {
		t.Errorf("the roll back is to %q: %v", p.Build, err)
	}
}

// A rollback's build is the same however often the current one is deployed again. After a
// rollback it is the one before that.
func TestBuildBefore(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	before := func(want string) {
		t.Helper()
		st := d.seen()
		if got := decision.BuildBefore(st, st.Stages["production"]); got != want {
			t.Errorf("the build before %s is %q, want %q", st.Current["production"].Build, got, want)
		}
	}
	for _, content := range []string{"1", "2", "3"} {
		d.mustApply(route(content))
		d.approve(build(content))
		d.mustApply(route(content))
		if _, err := d.Promote(ctx, "shop", "production", build(content)); err != nil {
			t.Fatal(err)
		}
		d.mustApply(route(content))
	}
	before(build("2"))
	if _, err := d.Retry(ctx, "shop", "production"); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("3"))
	before(build("2"))
	if _, err := d.Rollback(ctx, "shop", "production", ""); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route("3"))
	before(build("1"))
}

// seen returns the state of the pipeline.
func (d *desk) seen() *pipeline.State {
	d.t.Helper()
	st, err := d.State(context.Background(), "shop")
	if err != nil {
		d.t.Fatal(err)
	}
	return st
}

// A promotion that is made while the stage runs for another build is not lost.
func TestPromotedMeanwhile(t *testing.T) {
	d := open(t)
	prod := stage(pipeline.TypeProduction, "acceptance")
	prod.Steps = []pipeline.Step{{Name: "announce", Command: "announce"}}
	route := func(digest string) []pipeline.Stage {
		return []pipeline.Stage{commit(digest), stage(pipeline.TypeAcceptance, "commit"), prod}
	}
	promote := func(build string) {
		t.Helper()
		if _, err := d.Promote(t.Context(), "shop", "production", build); err != nil {
			t.Fatal(err)
		}
	}
	one, two := build("1"), build("2")
	d.mustApply(route("1"))
	d.mustApply(route("2"))
	promote(two)
	d.during["announce"] = func() { promote(one) }
	d.mustApply(route("2"))
	delete(d.during, "announce")
	if got := d.status("production"); got.Current.Build != two || got.Move.Candidate.ID != one || got.Move.Action != gate.ActionRun {
		t.Fatalf("after the run production holds %s, with %s and action %s next", got.Current.Build, got.Move.Candidate.ID, got.Move.Action)
	}
	d.mustApply(route("2"))
	if got := d.status("production"); got.Current.Build != one || got.Environment.Build != one || got.Move.Action != gate.ActionNone {
		t.Errorf("the next apply left production with %s, and action %s next", got.Current.Build, got.Move.Action)
	}
}

// A promotion can be cancelled until an apply has taken it up, and again once a run for it
// has failed. Then no apply moves the stage.
func TestCancelPromotion(t *testing.T) {
	d := open(t)
	prod := stage(pipeline.TypeProduction, "acceptance")
	prod.Steps = []pipeline.Step{{Name: "announce", Command: "announce"}}
	route := []pipeline.Stage{commit("1"), stage(pipeline.TypeAcceptance, "commit"), prod}
	cancel := func() error {
		_, err := d.Decisions.Do(t.Context(), decision.Command{Verb: decision.CancelPromotion, Pipeline: "shop", Stage: "production"})
		return err
	}
	promote := func() {
		t.Helper()
		if _, err := d.Promote(t.Context(), "shop", "production", build("1")); err != nil {
			t.Fatal(err)
		}
	}
	d.mustApply(route)
	if err := cancel(); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("with no promotion: %v", err)
	}
	promote()
	if got := d.status("production"); got.Next.Kind != gate.NextPromoted || got.Next.Promotion == nil || got.Next.Build != build("1") {
		t.Errorf("promoted, next is %+v", got.Next)
	}
	other := decision.Command{Verb: decision.CancelPromotion, Pipeline: "shop", Stage: "production", Build: build("2")}
	if _, err := d.Decisions.Do(t.Context(), other); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("of another build: %v", err)
	}
	if err := cancel(); err != nil {
		t.Fatal(err)
	}
	d.mustApply(route)
	if got := d.status("production"); got.Current.Build != "" || got.Next.Kind != gate.NextPromotion {
		t.Errorf("cancelled, it is at %q, next %+v", got.Current.Build, got.Next)
	}
	promote()
	var during error
	d.during["announce"] = func() { during = cancel() }
	d.mustApply(route)
	delete(d.during, "announce")
	if pipeline.CodeOf(during) != pipeline.CodeLocked {
		t.Errorf("while the stage runs: %v", during)
	}
	if err := cancel(); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("once it is deployed: %v", err)
	}
}

// An acceptance stage whose first apply failed blocks nobody who wants an environment. If
// there is no other acceptance stage, nothing is launched past it.
func TestLaunchBesideUnfinished(t *testing.T) {
	d := open(t)
	second := stage(pipeline.TypeAcceptance, "commit")
	second.Name, second.Steps = "acceptance-2", []pipeline.Step{{Name: "journeys", Command: "fail"}}
	if err := d.apply([]pipeline.Stage{commit("1"), second}); err == nil {
		t.Fatal("a failing step passed")
	}
	if err := d.launch("", 1); pipeline.CodeOf(err) != pipeline.CodeRefused {
		t.Errorf("past the only acceptance stage: %v", err)
	}
	d.mustApply(route("1")[:2])
	if err := d.launch("", 1); err != nil {
		t.Errorf("beside a stage whose first apply failed: %v", err)
	}
}
