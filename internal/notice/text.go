// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// then is the state of when an event was recorded.
type then struct{ *pipeline.State }

// Of returns what receivers are told of an event. What it says of other stages was so
// when the event was recorded.
func Of(st *pipeline.State, e pipeline.Event) []pipeline.Notice {
	if !e.MayNotify(pipeline.NotifyTarget{}) {
		return nil
	}
	then := then{st.AsOf(e)}
	var all []pipeline.Notice
	say := func(n pipeline.Notice) { all = append(all, n) }
	f := e.Facts
	switch {
	case e.Kind == pipeline.RunEnded && f.Run != nil:
		then.noticesOfRun(*f.Run, f.Current, say)
	case e.Kind == pipeline.BuildDecided && f.Decision != nil:
		then.noticesOfDecision(*f.Decision, say)
	case e.Kind == pipeline.GateOverridden && f.Override != nil:
		o := *f.Override
		say(pipeline.Notice{Kind: pipeline.NoticeOverridden, Stage: o.Stage, Build: o.Build, Run: o.Run, Reason: o.Reason,
			Text: fmt.Sprintf("%s let %s pass %s, which it had not passed: %s.", e.Actor, then.name(o.Build), o.Stage, o.Reason) + then.stillMissing(o.Stage, o.Build)})
		then.opens(o.Stage, o.Build, say)
	case e.Kind == pipeline.PromotionCancelled && f.CancelledPromotion() != nil:
		say(then.ofCancel(*f.CancelledPromotion(), e.Actor))
	case e.Kind == pipeline.DataFinishFailed && f.Finish != nil:
		n := pipeline.Notice{Kind: pipeline.NoticeFailed, Stage: f.Finish.Stage, Build: f.Finish.Build, Run: f.Finish.Run, Reason: f.Finish.Error}
		n.Text = fmt.Sprintf("The finish of %s at %s failed: %s. The build serves, and the next apply tries again.", then.name(n.Build), n.Stage, n.Reason)
		say(n)
	case e.Kind == pipeline.EnvironmentNoticed && f.Raised != nil:
		say(ofEnvironment(*f.Raised))
	case e.Kind == pipeline.DriftChecked && f.Drift != nil:
		say(ofDrift(*f.Drift))
	}
	for i := range all {
		n := &all[i]
		b := st.Builds[n.Build]
		n.ID, n.Pipeline, n.Time = fmt.Sprintf("%s-%d-%d", e.Pipeline, e.Seq, i), e.Pipeline, e.Time
		n.Ledger, n.Number = e.Anchor(), b.Number
		n.Commit, n.Author, n.Message = b.Revision.Commit, b.Revision.Author, b.Revision.Message
		if n.Actor == "" {
			n.Actor = e.Actor
		}
	}
	return all
}

func (s then) noticesOfRun(r pipeline.Run, hold *pipeline.Current, say func(pipeline.Notice)) {
	if _, target := pipeline.CutTarget(r.Stage); target != "" {
		return // the run of the whole stage says what became of its targets
	}
	n := pipeline.Notice{Stage: r.Stage, Build: r.Build, Run: r.ID, Image: r.Image, Actor: r.Actor}
	stage := s.Stages[r.Stage]
	failed, passed := r.Stage+" failed for "+s.name(r.Build), s.name(r.Build)+" passed "+r.Stage
	if r.Build == "" { // a bootstrap stage takes none
		failed, passed = r.Stage+" failed", r.Stage+" passed"
	}
	switch {
	case r.Status == pipeline.RunFailed && r.Kind == pipeline.KindBake:
		n.Kind, n.Reason, n.Text = pipeline.NoticeFailed, pipeline.FirstLine(r.Error), fmt.Sprintf("The bake of %s failed: %s", r.Stage, pipeline.FirstLine(r.Error))
	case r.Status == pipeline.RunFailed:
		n.Kind, n.Reason, n.Text = pipeline.NoticeFailed, pipeline.FirstLine(r.Error), fmt.Sprintf("%s: %s", failed, pipeline.FirstLine(r.Error))
		if held := s.Current[r.Stage].Build; stage.Persistent() && held != "" {
			n.Text += fmt.Sprintf(". It still runs %s.", s.name(held))
		}
	case r.Status != pipeline.RunPassed:
		return
	case r.Kind == pipeline.KindBake:
		n.Kind, n.Text = pipeline.NoticeBaked, fmt.Sprintf("Image %s of %s is baked.", r.Image, r.Stage)
	case stage.Persistent():
		n.Kind, n.Text = pipeline.NoticeDeployed, fmt.Sprintf("%s runs %s.", r.Stage, s.name(r.Build))
		if hold != nil && s.Builds[hold.Previous].Order > s.Builds[r.Build].Order {
			n.Kind, n.Text = pipeline.NoticeRolledBack, fmt.Sprintf("%s is back at %s, from %s.", r.Stage, s.name(r.Build), s.name(hold.Previous))
		}
		if env, ok := pipeline.EnvironmentOf(s.State, stage, pipeline.ForStage); ok {
			n.Endpoint = env.Endpoint
		}
	case stage.Approval && !s.Passed(r.Stage, r.Build):
		n.Kind, n.Text = pipeline.NoticeWaiting, fmt.Sprintf("%s waits for %s.", r.Stage, reason.Waiting(gate.DecisionAwaited(s.State, stage, r.Build)))
		if env, ok := s.RunEnvironment(r.Stage, pipeline.ForInquiry); ok {
			n.Endpoint = env.Endpoint
		}
		say(n)
		return
	default:
		n.Kind, n.Text = pipeline.NoticePassed, passed+"."
	}
	if r.Status == pipeline.RunPassed && r.Kind == pipeline.KindStage && r.Build != "" {
		n.Text += s.stillMissing(r.Stage, r.Build)
	}
	say(n)
	if r.Status == pipeline.RunPassed && r.Kind == pipeline.KindStage && r.Build != "" {
		s.opens(r.Stage, r.Build, say)
	}
}

func (s then) noticesOfDecision(d pipeline.Decision, say func(pipeline.Notice)) {
	n := pipeline.Notice{Stage: d.Stage, Build: d.Build, Run: d.Run, Reason: d.Reason, Actor: d.Actor}
	stage := s.Stages[d.Stage]
	switch {
	case d.Result == pipeline.Rejected && d.Lift != nil:
		vote := d.Lift.Votes[len(d.Lift.Votes)-1]
		n.Kind, n.Actor, n.Reason = pipeline.NoticeWaiting, vote.Actor, vote.Reason
		n.Text = fmt.Sprintf("%s votes to lift the rejection of %s at %s %s. It takes %d more.",
			vote.Actor, s.name(d.Build), d.Stage, pipeline.DescribeRejections(d.Stand()), s.Ballot(stage, d.Build).MissingLifts())
		say(n)
	case d.Result == pipeline.Rejected:
		n.Kind, n.Text = pipeline.NoticeRejected, fmt.Sprintf("%s rejected %s at %s: %s", d.Actor, s.name(d.Build), d.Stage, d.Reason)
		say(n)
	case stage.Approval && s.Passed(d.Stage, d.Build):
		n.Kind, n.Text = pipeline.NoticePassed, s.told(d)+"."+s.stillMissing(d.Stage, d.Build)
		say(n)
		s.opens(d.Stage, d.Build, say)
	case stage.Approval && s.Outcome(stage, d.Build) == pipeline.OutcomeWaiting:
		n.Kind, n.Text = pipeline.NoticeWaiting, fmt.Sprintf("%s, which waits for %s.", s.told(d), reason.Waiting(gate.DecisionAwaited(s.State, stage, d.Build)))
		say(n)
	case len(d.Lifted) > 0: // with nothing to approve
		n.Kind, n.Text = pipeline.NoticeWaiting, s.told(d)+"."
		if s.Passed(d.Stage, d.Build) {
			n.Kind = pipeline.NoticePassed
		}
		say(n)
		s.opens(d.Stage, d.Build, say)
	}
}

// name names a build for people.
func (s then) name(build string) string {
	return pipeline.BuildName(s.Builds[build].Number, build)
}

// ofCancel says whose promotion was taken back, and where that leaves the stage.
func (s then) ofCancel(p pipeline.Promotion, actor string) pipeline.Notice {
	whose := "the promotion"
	if p.Actor != actor {
		whose = p.Actor + "'s promotion"
	}
	text := fmt.Sprintf("%s took %s of %s to %s back.", actor, whose, s.name(p.Build), p.Stage)
	if held := s.Current[p.Stage].Build; held != "" {
		text += fmt.Sprintf(" It stays at %s.", s.name(held))
	}
	return pipeline.Notice{Kind: pipeline.NoticeCancelled, Stage: p.Stage, Build: p.Build, Text: text}
}

// told says who approved what, and which rejection that lifted.
func (s then) told(d pipeline.Decision) string {
	if len(d.Lifted) == 0 {
		return fmt.Sprintf("%s approved %s at %s", d.Actor, s.name(d.Build), d.Stage)
	}
	return fmt.Sprintf("%s lifted the rejection of %s at %s %s", d.Actor, s.name(d.Build), d.Stage, pipeline.DescribeRejections(d.Lifted))
}

// below returns the stages that come after one, in the pipeline's order.
func (s then) below(stage string) []pipeline.Stage {
	return slices.DeleteFunc(s.StagesInOrder(), func(b pipeline.Stage) bool { return !slices.Contains(b.After, stage) })
}

// stillMissing says which stages below wait for others to pass the build, too.
func (s then) stillMissing(stage, build string) string {
	var text strings.Builder
	for _, b := range s.below(stage) {
		if missing := s.Missing(b, build); len(missing) > 0 {
			fmt.Fprintf(&text, " %s still waits for %s to pass it.", b.Name, strings.Join(missing, " and "))
		}
	}
	return text.String()
}

// opens says which stages below may begin with the build, now that this one passed it.
func (s then) opens(stage, build string, say func(pipeline.Notice)) {
	for _, b := range s.below(stage) {
		if gate.Eligible(s.State, b, build) != nil || s.Passed(b.Name, build) {
			continue
		}
		n := pipeline.Notice{Kind: pipeline.NoticeReady, Stage: b.Name, Build: build, Text: fmt.Sprintf("%s may begin with %s.", b.Name, s.name(build))}
		w := gate.Wait{Pipeline: b.Pipeline, Stage: b.Name, Build: build, Number: s.Builds[build].Number}
		if p, paused := s.Pauses[b.Name]; paused {
			w.Kind, w.Pause = gate.WaitResume, p
			n.Kind, n.Text = pipeline.NoticeWaiting, fmt.Sprintf("%s could begin with %s, and waits for %s.", b.Name, s.name(build), reason.Waiting(w))
		} else if b.Trigger == pipeline.TriggerManual && b.Pin == "" {
			w.Kind = gate.WaitPromotion
			n.Kind, n.Text = pipeline.NoticeWaiting, fmt.Sprintf("%s waits for %s.", b.Name, reason.Waiting(w))
		}
		say(n)
	}
}

// ofDrift says which infrastructure somebody else changed.
func ofDrift(d pipeline.Drift) pipeline.Notice {
	stage, target := pipeline.CutTarget(d.Stage)
	what := stage
	if target != "" {
		what += " at target " + target
	}
	return pipeline.Notice{Kind: pipeline.NoticeDrift, Stage: stage, Build: d.Build, Environment: d.Stage,
		Text: fmt.Sprintf("The infrastructure of %s differs from what was applied: %s.", what, strings.Join(reason.DriftedResources(d, 3), ", "))}
}

func ofEnvironment(r pipeline.Raised) pipeline.Notice {
	env := r.Environment
	n := pipeline.Notice{Kind: r.Kind, Stage: env.Stage, Build: env.Build, Environment: env.Name, Endpoint: env.Endpoint, Reason: env.Reason, Actor: env.Owner}
	what := env.Describe()
	switch r.Kind {
	case pipeline.NoticeExpiring:
		n.Text = fmt.Sprintf("The %s of %s ends at %s. %s", what, env.Owner, pipeline.Moment(env.ExpiresAt.UTC()),
			reason.Advice(pipeline.Advice{Verb: pipeline.VerbExtend, Pipeline: env.Pipeline, Environment: env.Name}))
	case pipeline.NoticeExpired:
		n.Text = fmt.Sprintf("The %s of %s has ended.", what, env.Owner)
	default:
		n.Text = fmt.Sprintf("The %s is %s.", what, env.Status)
		if env.Reason != "" {
			n.Text = strings.TrimSuffix(n.Text, ".") + ": " + pipeline.FirstLine(env.Reason)
		}
	}
	return n
}
