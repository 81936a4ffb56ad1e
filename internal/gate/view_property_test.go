// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// TestViewsAgree checks after random histories what the stages of a pipeline say of
// themselves and of each other.
func TestViewsAgree(t *testing.T) {
	kinds := map[NextKind]int{}
	for seed := range uint64(60) {
		s := Chance(t, rand.New(rand.NewPCG(seed, 4)))
		agree(t, fmt.Sprintf("seed %d", seed), s, kinds)
	}
	for seed := range uint64(30) {
		w := newWorld(t, seed)
		for range 5 {
			w.edit()
			if at, moves, ok := w.plan(); ok {
				w.apply(at, moves, w.people, true)
			}
			w.people()
			agree(t, fmt.Sprintf("world %d", seed), w.Story, kinds)
		}
	}
	for _, kind := range []NextKind{NextNothing, NextRunning, NextFailed, NextDecision, NextPromotion, NextPromoted, NextApply, NextUpstream, NextBuild, NextNewer, NextPaused, NextRefused, NextElsewhere} {
		if kinds[kind] == 0 {
			t.Errorf("no stage was ever at %s", kind)
		}
	}
}

// agree checks the views of a state.
func agree(t *testing.T, when string, s *Story, kinds map[NextKind]int) {
	t.Helper()
	st := s.State()
	plan := Now(st)
	for _, v := range plan.Views() {
		n, stage := v.Next, v.Move.Stage
		kinds[n.Kind]++
		fatalf := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%s: stage %s is %s, %s %s: %s", when, v.Name, v.Status, n.Kind, n.Build, fmt.Sprintf(format, args...))
		}
		if !slices.Contains(Statuses, v.Status) || !slices.Contains(Signals, v.Signal) || !slices.Contains(Signals, n.Signal) {
			fatalf("the status or a signal, %s and %s, is none", v.Signal, n.Signal)
		}
		if (n.Kind == NextRunning) != st.RunsNow(v.Name) || (v.Status == StatusRunning) != st.RunsNow(v.Name) {
			fatalf("its latest run is %s", st.Latest[v.Name].Status)
		}
		if v.Status == StatusWaiting && reason.WaitingFor(n) == "" {
			fatalf("it does not say for what it waits")
		}
		if n.Signal == SignalPerson && n.Kind != NextRefused && n.Kind != NextNever && reason.Next(n, true) == reason.Next(n, false) {
			fatalf("it does not say what a person can do")
		}
		for _, o := range n.Upstream {
			u := plan.View(o.Stage)
			named := u.Move.Stage.Trigger == TriggerManual && Eligible(st, u.Move.Stage, n.Build) == nil // a person may name it
			if !named && u.Status != StatusRunning && !mentions(u, n.Build) {
				fatalf("it waits for %s at %s, which is %s, at %s, next %s %s", n.Build, o.Stage, u.Status, u.Current.Build, u.Next.Kind, u.Next.Build)
			}
		}
		switch n.Kind {
		case NextDecision, NextPromotion, NextPromoted, NextApply, NextUpstream, NextFailed, NextPaused:
			if why := never(t, s, stage, n.Build); why != "" {
				fatalf("it can never enter: %s", why)
			}
		}
	}
}

// mentions reports whether a stage speaks of a build.
func mentions(v View, build string) bool {
	return build == "" || v.Current.Build == build || v.Next.Build == build || v.Offered == build || v.Move.Candidate.ID == build || !v.Move.Stage.TakesBuild()
}

// never says why a build can't get into a stage by decisions and applies alone; empty if it
// can.
func never(t *testing.T, s *Story, stage Stage, build string) string {
	if build == "" || stage.Type == TypeCommit {
		return ""
	}
	for c, n := s.Clone(), 0; n < 30; n++ {
		st := c.State()
		if st.Current[stage.Name].Build == build {
			return ""
		}
		o, found := ObstacleTo(st, st.Stages[stage.Name], build)
		if !found {
			return ""
		}
		if verb := o.Advice().Verb; verb == VerbPin || verb == VerbChoose || verb == VerbLift || verb == VerbDefine {
			return o.Cause()
		}
		if !follow(t, c, stage.Name, build, map[Verb]int{}) {
			return o.Cause()
		}
	}
	return "there is no end"
}
