// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// TestWhatIsShownCanBeDone checks after random histories that each stage that waits for a
// person takes a command of one, and that a command without a build is about a build that the
// stage shows.
func TestWhatIsShownCanBeDone(t *testing.T) {
	d := New(Config{Person: pipeline.Person{Name: "carol"}, Now: time.Now})
	tried := map[Verb]int{}
	for seed := range uint64(400) {
		st := pipelinetest.Chance(t, rand.New(rand.NewPCG(seed, 5))).State()
		for _, s := range st.Stages {
			v := gate.Now(st).View(s.Name)
			accepts := func(verb Verb, build string) {
				t.Helper()
				tried[verb]++
				if err := d.Check(st, Command{Verb: verb, Pipeline: "shop", Stage: s.Name, Build: build, Reason: "because"}); err != nil {
					t.Fatalf("seed %d: stage %s is %s, %s %s, and does not take to %s %s: %v", seed, s.Name, v.Status, v.Next.Kind, v.Next.Build, verb, build, err)
				}
			}
			switch v.Next.Kind {
			case gate.NextDecision:
				accepts(Approve, v.Undecided)
				accepts(Reject, v.Undecided)
			case gate.NextPromotion:
				accepts(Promote, v.Next.Build)
			case gate.NextPaused:
				accepts(Resume, "")
			case gate.NextPromoted:
				accepts(CancelPromotion, v.Next.Build)
			case gate.NextFailed:
				if v.Current.Pause == nil && v.Move.Why.Kind != gate.WhyRetry {
					accepts(Retry, "")
				}
			}
			if v.Next.Promotion != nil && v.Next.Kind != gate.NextRunning {
				accepts(CancelPromotion, v.Next.Promotion.Build)
			}
			if v.Offered != "" && s.Pin == "" && v.Current.Pause == nil {
				accepts(Promote, v.Offered)
			}
			shows := []string{v.Current.Build, v.Next.Build, v.Offered}
			for _, verb := range []Verb{Approve, Promote, CancelPromotion} {
				if build, ok := d.unnamed(st, s, verb); ok && !slices.Contains(shows, build) && !(v.Next.Promotion != nil && v.Next.Promotion.Build == build) {
					t.Fatalf("seed %d: to %s at stage %s is about %s, and it shows %q, %s", seed, verb, s.Name, build, shows, v.Next.Kind)
				}
			}
		}
	}
	for _, verb := range []Verb{Approve, Reject, Promote, Resume, CancelPromotion, Retry} {
		if tried[verb] == 0 {
			t.Errorf("no stage ever took to %s", verb)
		}
	}
}

// unnamed returns the build that a command is about which names none; false if it is refused.
func (d *Decisions) unnamed(st *pipeline.State, s pipeline.Stage, verb Verb) (string, bool) {
	c := Command{Verb: verb, Pipeline: s.Pipeline, Stage: s.Name, Reason: "because"}
	if complete := rules[verb].complete; complete != nil && complete(st, s, &c) != nil {
		return "", false
	}
	if rules[verb].check(d, st, s, c) != nil {
		return "", false
	}
	r, err := rules[verb].record(d, st, s, c)
	if err != nil {
		return "", false
	}
	if verb == Promote {
		return r.outcome.Promotion.Build, true
	}
	return c.Build, true
}
