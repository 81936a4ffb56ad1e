// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// finale has one process apply until nothing is left to do, undisturbed, and checks the
// invariants then.
func (s *simulation) finale() {
	ctx, p, e, ledger := s.start(1, "finale", "container 0", func() float64 { return 0.5 })
	defer p.end()
	defer ledger.Close()
	defer e.Close(ctx)
	var err error
	for range 5 {
		if err = apply(ctx, e, s.commit); err == nil {
			break
		}
	}
	if err == nil {
		_, err = e.Collector.Collect(ctx, collect.Request{})
	}
	if err == nil {
		err = apply(ctx, e, s.commit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.violation("applies do not converge: %v (%s)", err, reason.Hint(err))
		return
	}
	st, err := ledger.State(context.WithoutCancel(ctx), "shop")
	if err != nil {
		s.violation("read state: %v", err)
		return
	}
	ledgertest.CheckView(s.T, ledger, "shop")
	s.checkQuiet(st)
	s.checkPlatform(st)
	s.checkHistory(ctx, ledger)
}

// checkQuiet checks that another plan would find nothing to do.
func (s *simulation) checkQuiet(st *pipeline.State) {
	plan := gate.Plan(gate.At(st, 0), gate.Desired{})
	for _, stage := range stages(s.commit) {
		if move := plan.Stage(stage.Name); move.Refusal != nil || move.Action != gate.ActionNone {
			s.violation("after all is done a plan has %q for stage %q: %s %v", move.Action, stage.Name, move.Why, move.Err())
		}
		if current := st.Current[stage.Name]; current.Build != "" && st.Builds[current.Build].ID == "" {
			s.violation("stage %q holds build %s, which is gone", stage.Name, current.Build)
		}
	}
}

// checkPlatform checks that the platform has what is recorded, and nothing else.
func (s *simulation) checkPlatform(st *pipeline.State) {
	for _, id := range slices.Sorted(maps.Keys(st.Environments)) {
		env, there := st.Environments[id], s.platform.envs[id]
		switch {
		case env.Status == pipeline.EnvLaunching, env.Status == pipeline.EnvEnding:
			s.violation("environment %s (%s) is %s for ever", id, env.Describe(), env.Status)
		case env.Serves() && there == nil:
			s.violation("environment %s (%s) is recorded, and is not there", id, env.Describe())
		case env.Serves() && there.serving != env.Fleet && there.serving != "":
			s.violation("environment %s (%s) is recorded to run fleet %s, and runs %s", id, env.Describe(), env.Fleet, there.serving)
		case env.Serves() && there.serving != "" && there.instances != env.Instances:
			s.violation("environment %s (%s) is recorded to have %d instances, and has %d", id, env.Describe(), env.Instances, there.instances)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.platform.envs)) {
		if _, recorded := st.Environments[id]; !recorded {
			s.violation("environment %s is there, and is not recorded", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(st.Builds)) {
		if image := st.Builds[id].Image; image != "" && !s.platform.images[image] {
			s.violation("image %s of build %s is lost", image, id)
		}
	}
}

// checkHistory checks that one run of a stage is under way at a time, that each ends once,
// and that nothing acknowledged is missing.
func (s *simulation) checkHistory(ctx context.Context, ledger pipeline.Ledger) {
	events, err := ledger.Events(context.WithoutCancel(ctx), "shop", 0, 100_000)
	if err != nil {
		s.violation("read history: %v", err)
		return
	}
	hashes, under, ends := map[string]string{}, map[string]string{}, map[string]int{}
	for _, e := range events {
		hashes[fmt.Sprintf("%s/%d", e.Pipeline, e.Seq)] = e.Hash
		run := e.Facts.Run
		if run == nil {
			continue
		}
		switch {
		case e.Kind == pipeline.RunStarted:
			if other := under[run.Stage]; other != "" {
				s.violation("event %d: run %s of stage %q begins while run %s is under way", e.Seq, run.ID, run.Stage, other)
			}
			under[run.Stage] = run.ID
		case run.Status.Final():
			if under[run.Stage] == run.ID {
				delete(under, run.Stage)
			}
			ends[run.ID]++
		case under[run.Stage] != run.ID:
			s.violation("event %d: run %s of stage %q goes on after its end", e.Seq, run.ID, run.Stage)
		}
	}
	for _, stage := range slices.Sorted(maps.Keys(under)) {
		s.violation("run %s of stage %q has no outcome", under[stage], stage)
	}
	for _, id := range slices.Sorted(maps.Keys(ends)) {
		if ends[id] > 1 {
			s.violation("run %s ends %d times", id, ends[id])
		}
	}
	for _, at := range slices.Sorted(maps.Keys(s.acked)) {
		if hashes[at] != s.acked[at] {
			s.violation("event %s was acknowledged, and is not there", at)
		}
	}
}
