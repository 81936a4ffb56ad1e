// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"cmp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Place is where a stage is, and where it goes next.
type Place struct {
	Current string // the stage's current build; empty for none
	Next    string // the build that the next apply moves it to; Current if that leaves it there
}

// PlaceOf returns where a stage is, and where it goes next.
func PlaceOf(st *pipeline.State, s pipeline.Stage) Place {
	return Place{Current: st.Current[s.Name].Build, Next: gate.Now(st).Stage(s.Name).Candidate.ID}
}

// BuildBefore returns the build to which a rollback of a stage goes back if nobody names one:
// of those older than its current build, the one that passed the stage last. It is empty if
// there is none.
func BuildBefore(st *pipeline.State, s pipeline.Stage) string {
	current := st.Builds[st.Current[s.Name].Build]
	var last pipeline.RunSummary
	for b, build := range st.Builds {
		if build.Order >= current.Order {
			continue
		}
		for _, v := range st.Results[pipeline.StageBuild(s.Name, b)] {
			if later := cmp.Or(v.EndedAt.Compare(last.EndedAt), strings.Compare(v.ID, last.ID)) > 0; later && v.Status == pipeline.RunPassed && gate.MayEnter(st, s, b) {
				last = v
			}
		}
	}
	return last.Build
}

// completeRollback chooses the build to go back to, and refuses one that is not older.
func completeRollback(st *pipeline.State, s pipeline.Stage, c *Command) error {
	current := st.Builds[st.Current[s.Name].Build]
	if current.ID == "" {
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "the stage has no current build yet").WithHint("There is nothing to go back from.")
	}
	if c.Build == "" {
		c.Build = BuildBefore(st, s)
	}
	switch b, known := st.Builds[c.Build]; {
	case c.Build == "":
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "no older build that may enter the stage has passed it").
			WithAdvice(c.listBuilds())
	case c.Build == current.ID:
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "build %s is the current build", c.Build).
			WithHint("Name an older one.").WithAdvice(c.listBuilds())
	case known && b.Order >= current.Order:
		return pipeline.Errorf(pipeline.CodeRefused, c.op(), "build %s is not older than the current build %s", c.Build, current.ID).
			WithHint("A promotion goes forward.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbPromote, Pipeline: c.Pipeline, Stage: c.Stage, Build: c.Build})
	}
	return nil
}

// checkMove refuses a promotion or a rollback that this person may not make, or that the
// stage does not accept, whatever the build.
func (d *Decisions) checkMove(st *pipeline.State, s pipeline.Stage, c Command) error {
	op := c.op()
	if err := st.Pipeline.Authorize(pipeline.RightDeploy, d.person, op); err != nil {
		return err
	}
	switch {
	case s.Type == pipeline.TypeCommit || !s.TakesBuild():
		return pipeline.Errorf(pipeline.CodeRefused, op, "a stage of type %s takes no builds: it runs when its source or definition changes", s.Type).
			WithHint("Name a stage with a manual trigger.").WithAdvice(c.lookAtStages())
	case s.Pin != "":
		return pipeline.Errorf(pipeline.CodeRefused, op, "the configuration pins the stage to build %s", s.Pin).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbPinOrFree, Stage: s.Name, Build: c.Build})
	case s.Trigger != pipeline.TriggerManual:
		return pipeline.Errorf(pipeline.CodeRefused, op, "the stage moves by itself to the newest build that passed").
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbManual, Stage: s.Name})
	}
	return gate.CheckPaused(st, s, op)
}

// closed refuses a move to a build that may not enter.
func (d *Decisions) closed(st *pipeline.State, s pipeline.Stage, c Command) error {
	return gate.Eligible(st, s, c.Build)
}

// destination fills in the build that a stage moves to if none is named, and refuses one that
// may not enter.
func destination(st *pipeline.State, s pipeline.Stage, c *Command) error {
	if c.Build == "" {
		var ok bool
		if c.Build, ok = gate.NewestEligible(st, s, st.Builds[st.Current[s.Name].Build].Order); !ok {
			return noneNewer(st, s, c.op())
		}
	}
	if err := gate.CheckID(s, c.Build); err != nil {
		return err
	}
	if err := gate.Eligible(st, s, c.Build); err != nil {
		return pipeline.During(c.op(), err)
	}
	return nil
}

// promote makes the record of a promotion.
func (d *Decisions) promote(st *pipeline.State, s pipeline.Stage, c Command) (record, error) {
	current := st.Builds[st.Current[s.Name].Build]
	if err := destination(st, s, &c); err != nil {
		return record{}, err
	}
	restore, err := RestoreOf(st, s, c)
	if err != nil {
		return record{}, err
	}
	p := pipeline.Promotion{Pipeline: s.Pipeline, Stage: s.Name, Build: c.Build, Actor: d.person.Name, At: d.now().UTC(), Restore: restore}
	r := record{
		outcome: Outcome{Promotion: p, From: current, To: st.Builds[c.Build]},
		event:   &pipeline.Event{Kind: pipeline.BuildPromoted, Facts: pipeline.Facts{Promotion: &p}},
	}
	if c.Looked.Place == nil {
		return r, nil
	}
	if now, was := PlaceOf(st, s), *c.Looked.Place; now != was {
		return r, pipeline.Errorf(pipeline.CodeConflict, c.op(), "the stage has changed since you looked: its current build is %s and its next one %s; they were %s and %s",
			orElse(now.Current, "no build"), orElse(now.Next, "none"), orElse(was.Current, "no build"), orElse(was.Next, "none")).WithHint("Look at what differs now, then decide.")
	}
	r.expect = map[pipeline.Key]int64{}
	for _, kind := range []pipeline.RecordKind{pipeline.RecordCurrent, pipeline.RecordPromotion} {
		r.expect[pipeline.Key{Kind: kind, ID: s.Name}] = st.Version(kind, s.Name)
	}
	return r, nil
}

// noneNewer says why a stage can be promoted to no build: what keeps the newest build that
// may still come.
func noneNewer(st *pipeline.State, s pipeline.Stage, op string) error {
	current := st.Builds[st.Current[s.Name].Build].Order
	for b := range st.NewestBuilds() {
		if b.Order <= current {
			break
		}
		if o, found := gate.ObstacleTo(st, s, b.ID); found && o.Comes {
			return o.Err(op)
		}
	}
	return pipeline.Errorf(pipeline.CodeRefused, op, "no build newer than the current one has passed the stages before it").
		WithHint("Name one that passed to go back.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: s.Pipeline})
}

// completeCancel fills in the build that was promoted. It refuses to cancel the promotion of
// another build than the named one, or than the one that the person saw.
func completeCancel(st *pipeline.State, s pipeline.Stage, c *Command) error {
	p, pending := gate.PendingPromotion(st, s)
	switch {
	case !pending:
		return notPending(st, s, c.op())
	case c.Build == "":
		c.Build = p.Build
	case c.Build != p.Build:
		return pipeline.Errorf(pipeline.CodeConflict, c.op(), "the promotion that no apply has taken up is of build %s, by %s, and not of %s", p.Build, p.Actor, c.Build).
			WithHint("Look at what is promoted now, then decide.")
	}
	return nil
}

// checkCancel refuses a person who may not move the stage, and a stage without a promotion
// that no apply has taken up.
func (d *Decisions) checkCancel(st *pipeline.State, s pipeline.Stage, c Command) error {
	if err := d.checkDeploy(st, s, c); err != nil {
		return err
	}
	if _, pending := gate.PendingPromotion(st, s); !pending {
		return notPending(st, s, c.op())
	}
	return nil
}

// notPending says that there is no promotion to cancel, and where the last one is.
func notPending(st *pipeline.State, s pipeline.Stage, op string) error {
	if p := st.Promotions[s.Name]; st.RunsNow(s.Name) && st.Latest[s.Name].Build == p.Build {
		return pipeline.Errorf(pipeline.CodeLocked, op, "run %s has taken up the promotion of %s", st.Latest[s.Name].ID, p.Build).
			WithHint("Wait until it ends.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbRollback, Pipeline: s.Pipeline, Stage: s.Name})
	}
	return pipeline.Errorf(pipeline.CodeRefused, op, "there is no promotion that waits for an apply").
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbRollback, Pipeline: s.Pipeline, Stage: s.Name})
}

// cancel takes the promotion back, unless a run has begun since.
func (d *Decisions) cancel(st *pipeline.State, s pipeline.Stage, _ Command) (record, error) {
	promotion, run := pipeline.Key{Kind: pipeline.RecordPromotion, ID: s.Name}, pipeline.Key{Kind: pipeline.RecordLatest, ID: s.Name}
	p := st.Promotions[s.Name]
	return record{
		outcome: Outcome{Promotion: p, From: st.Builds[st.Current[s.Name].Build], To: st.Builds[p.Build]},
		expect:  map[pipeline.Key]int64{promotion: st.Version(promotion.Kind, promotion.ID), run: st.Version(run.Kind, run.ID)},
		event:   &pipeline.Event{Kind: pipeline.PromotionCancelled, Facts: pipeline.Facts{Gone: []pipeline.Key{promotion}, Ended: &pipeline.Ended{Promotion: &p}}},
	}, nil
}
