// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// TestAdviceIsTaken runs a random pipeline for a while. It then follows, with the engine, the
// advice about a build that may not enter a stage, until the build may, or the only advice is
// to choose another one. The engine refuses no advice.
func TestAdviceIsTaken(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		d := open(t)
		d.must(d.apply(route("1")))
		d.authorize(func(p *pipeline.Pipeline) { p.Authorization.Override = []string{"*"} })
		c := &configuration{desk: d, stages: route("1")}
		for range 14 {
			c.live(r)
		}
		for n := 1; n <= 4; n++ {
			for _, name := range []string{"pre-production", "production"} {
				if id := build(fmt.Sprint(n)); d.seen().Builds[id].ID != "" {
					c.open(fmt.Sprintf("seed %d", seed), name, id)
				}
			}
		}
	}
}

// configuration is what somebody applies, and changes.
type configuration struct {
	*desk
	stages []pipeline.Stage
}

// live does something that may well be refused.
func (c *configuration) live(r *rand.Rand) {
	names := []string{"acceptance", "exploratory", "capacity", "pre-production", "production"}
	name, id := names[r.IntN(len(names))], build(fmt.Sprint(1+r.IntN(4)))
	switch r.IntN(9) {
	case 0, 1, 2:
		c.stages[0] = commit(fmt.Sprint(1 + r.IntN(4)))
		steps := []pipeline.Step{{Name: "try", Command: "true"}}
		if r.IntN(2) == 0 {
			steps[0].Command = "fail"
		}
		c.stages[r.IntN(4)].Steps = steps
		_ = c.apply(c.stages)
	case 3:
		_, _ = c.Decide(c.ctx, "shop", name, id, pipeline.Approved, "")
	case 4:
		_, _ = c.Decide(c.ctx, "shop", name, id, pipeline.Rejected, "because")
	case 5:
		_, _ = c.Promote(c.ctx, "shop", "production", "")
	case 6:
		_, _ = c.Pause(c.ctx, "shop", name, "")
	case 7:
		_, _ = c.Override(c.ctx, "shop", name, id, "because")
	case 8:
		_ = c.apply(c.stages)
	}
}

// open follows the advice about a build.
func (c *configuration) open(seed, name, id string) {
	c.t.Helper()
	advices := ""
	for range 40 {
		st := c.seen()
		o, found := gate.ObstacleTo(st, st.Stages[name], id)
		if !found {
			return
		}
		advices += "\n" + o.Cause() + ". " + reason.Advice(o.Advice())
		advice := o.Advice()
		var err error
		switch advice.Verb {
		case pipeline.VerbApprove:
			_, err = c.Decide(c.ctx, "shop", advice.Stage, advice.Build, pipeline.Approved, "")
		case pipeline.VerbLift:
			_, err = c.Lift(c.ctx, "shop", advice.Stage, advice.Build, decision.Looked{}, "")
		case pipeline.VerbPromote:
			if _, err = c.Promote(c.ctx, "shop", advice.Stage, advice.Build); err == nil {
				err = c.moves(advice.Stage)
			}
		case pipeline.VerbResume:
			_, err = c.Resume(c.ctx, "shop", advice.Stage)
		case pipeline.VerbApply, pipeline.VerbMend:
			err = c.moves(advice.Stage)
		case pipeline.VerbPin, pipeline.VerbPinBack:
			for i := range c.stages {
				if c.stages[i].Name == advice.Stage {
					c.stages[i].Pin = advice.Build
				}
			}
			err = c.moves(advice.Stage)
		case pipeline.VerbChoose:
			if o.Choice != "" {
				err = gate.Eligible(st, st.Stages[name], o.Choice)
			}
			if err == nil {
				return
			}
		default:
			err = fmt.Errorf("nobody can do that")
		}
		if err != nil {
			c.t.Fatalf("%s: %s into %s:%s\n%v", seed, id, name, advices, err)
		}
	}
	c.t.Fatalf("%s: %s into %s: the advices have no end:%s", seed, id, name, advices)
}

// moves applies a stage alone, after its cause of failure is fixed.
func (c *configuration) moves(name string) error {
	for i := range c.stages {
		if c.stages[i].Name != name {
			continue
		}
		for j := range c.stages[i].Steps {
			if c.stages[i].Steps[j].Command == "fail" {
				c.stages[i].Steps[j].Command = "true"
			}
		}
		_, err := c.Stages.Advance(c.ctx, run.AdvanceRequest{Stage: c.stages[i]})
		return err
	}
	return fmt.Errorf("there is no stage %q", name)
}
