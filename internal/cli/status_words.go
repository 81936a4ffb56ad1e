// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// colourOfTone says in which colour the word for a stage is written.
var colourOfTone = map[draw.Tone]colour{
	"serving": green, "passed": green, "person": yellow, "running": blue, "upstream": faint, "failed": red, "idle": faint,
}

// board renders the pipelines for people.
func (o *statusOptions) board(on screen, all []statusPipeline) string {
	var b strings.Builder
	ago := func(t time.Time) string { return present.Ago(o.now(), t) }
	for i, p := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Pipeline %s\n", on.paint(p.Pipeline, bold))
		if !p.Watched && slices.ContainsFunc(p.Stages, statusStage.waitsForApply) {
			b.WriteString(on.lines("Nobody watches: `terraform apply`, or `penstock watch`, moves what can move.", faint))
		}
		b.WriteByte('\n')
		t := newTable(on, "STAGE", "STATUS", "BUILD", "MESSAGE", "SINCE", "ID", "NEXT").beside("MESSAGE", "ID")
		for _, img := range p.Images {
			t.rowIn(colourOfTone[draw.ToneOf(img.view.View)], img.Name, strings.Replace(word(img.view), "passed", "baked", 1), "", "", ago(img.Baked), img.Image, comes(img.view, ago))
		}
		for _, s := range p.Stages {
			t.rowIn(colourOfTone[draw.ToneOf(s.view.View)], s.Stage, word(s.view), present.Build(s.Current.Number, s.Current.Build), s.Current.Message, ago(s.Current.Since), s.Current.Build, comes(s.view, ago))
		}
		b.WriteString(t.text())
		b.WriteString(channels(on, p, ago))
		if len(p.Environments) == 0 {
			continue
		}
		t = newTable(on, "ENVIRONMENT", "STATUS", "BUILD", "OWNER", "ENDS", "ENDPOINT")
		for _, env := range p.Environments {
			where := env.Endpoint
			if env.Status == pipeline.EnvKept {
				where += "  kept after a failure; ends with the stage's next run, or `penstock gc --kept`"
			}
			t.row(env.Name, string(env.Status), present.Build(env.Number, env.Build), env.Owner, o.ends(env), where)
		}
		b.WriteString("\n" + t.text())
	}
	return b.String()
}

// channels says to which images the stages' channels lead; empty for none.
func channels(on screen, p statusPipeline, ago func(time.Time) string) string {
	t, some := newTable(on, "CHANNEL", "STAGE", "BUILD", "ID", "SINCE", "IMAGE"), false
	for _, s := range p.Stages {
		c := s.Channel
		if c == nil {
			continue
		}
		image := c.Image
		switch {
		case c.Moving != "":
			image = strings.TrimSpace(image + "  on its way to build " + c.Moving)
		case c.Stray != nil:
			image += "  " + c.Stray.String()
		case image == "":
			image = "it leads nowhere: no build is left that passed"
		}
		t.row(c.Name, s.Stage, present.Build(c.Number, c.Build), c.Build, ago(c.Since), image)
		some = true
	}
	for _, c := range p.Left {
		t.row(c.Name, c.Stage, present.Build(c.Number, c.Build), c.Build, ago(c.Since), c.Image+"  kept, though nothing publishes by it any more")
		some = true
	}
	if !some {
		return ""
	}
	return "\n" + t.text()
}

// waitsForApply reports whether the next apply does something to the stage.
func (s statusStage) waitsForApply() bool {
	return s.Next.Kind == gate.NextApply || s.Next.Kind == gate.NextPromoted || s.Next.Kind == gate.NextFailed
}

// word says how a stage stands: for what serves, how well it does, and for everything else
// its status.
func word(v report.StageView) string {
	env := v.Current.Environment
	switch {
	case v.Progress != nil && v.Progress.Dead:
		return "dead"
	case !v.Stage.Persistent() || v.Current.Build == "" || v.Signal != gate.SignalServing && v.Signal != gate.SignalFailed:
		return string(v.Status)
	case v.Signal == gate.SignalServing && v.Stage.Spread():
		return "serving " + reason.Serving(v.Current.Targets)
	case v.Stage.Spread():
		return "degraded " + reason.Serving(v.Current.Targets)
	case env == nil:
		return "down"
	case env.Instances == 0 || env.Healthy == 0 && v.Signal == gate.SignalServing: // not known
		return "serving"
	case v.Signal == gate.SignalServing:
		return fmt.Sprintf("serving %d/%d", env.Healthy, env.Instances)
	}
	return fmt.Sprintf("degraded %d/%d", env.Healthy, env.Instances)
}

// comes says what comes next at a stage, or else where what it runs can be seen, and what
// else is to be known of its current build. when writes times.
func comes(v report.StageView, when func(time.Time) string) string {
	n := v.Next
	build := present.Build(n.Number, n.Build)
	text := reason.Next(n, true)
	switch n.Kind {
	case gate.NextRunning:
		text = underWay(v, when)
	case gate.NextFailed:
		text = strings.TrimSpace(fmt.Sprintf("%s failed %s, run %s: %s", build, when(n.Since), n.Run.ID, pipeline.FirstLine(n.Run.Error)))
	case gate.NextPromoted:
		text = fmt.Sprintf("%s was promoted by %s %s; the next apply moves it. `penstock promote --cancel %s %s` takes that back", build, n.Promotion.Actor, when(n.Promotion.At), v.Stage.Pipeline, v.Name)
	case gate.NextApply:
		text = fmt.Sprintf("the next apply moves it: %s", cmp.Or(n.Why.String(), string(n.Action)))
	case gate.NextNothing:
		if v.Current.Environment != nil {
			text = v.Current.Environment.Endpoint
		}
	}
	if v.Progress != nil && v.Progress.Dead {
		text = fmt.Sprintf("the process of run %s is gone, or does not renew its lease; the next apply cleans up after it", v.Run.ID)
	} else if v.Run.Status == pipeline.RunDisplaced && n.Kind == gate.NextApply {
		text = fmt.Sprintf("run %s was displaced: %s", v.Run.ID, pipeline.FirstLine(v.Run.Error))
	}
	if p := v.Current.Pause; p != nil && n.Kind != gate.NextPaused {
		text += fmt.Sprintf("  paused by %s %s", p.Actor, when(p.At))
	}
	if v.Offered != "" && v.Offered != n.Build {
		offered := v.Build(v.Offered)
		text += fmt.Sprintf("  %s may be promoted, too", present.Build(offered.Number, offered.ID))
	}
	if o := v.Current.Override; o != nil {
		text += fmt.Sprintf("  %s overridden by %s: %s", present.Build(v.Build(o.Build).Number, o.Build), o.Actor, o.Reason)
	}
	if targets := reason.Targets(v.Current.Targets, func(id string) string { b := v.Build(id); return present.Build(b.Number, b.ID) }); targets != "" {
		text += "  " + targets
	}
	if f := v.Finish; f != nil && !f.Due {
		text += "  service.finish is due at " + pipeline.Moment(f.DueAt.UTC())
	}
	for _, d := range v.Drifts() {
		if drift := reason.Drift(&d, when); drift != "" {
			text += "  " + drift
		}
	}
	return strings.TrimSpace(text)
}

// underWay says how far a run is: since when, in which step, with which last line.
func underWay(v report.StageView, when func(time.Time) string) string {
	text := strings.TrimSpace(fmt.Sprintf("%s runs, run %s", present.Build(v.Next.Number, v.Next.Build), v.Next.Run.ID))
	if v.Next.Build == "" {
		text = "run " + v.Next.Run.ID
	}
	text += ", began " + when(v.Next.Since)
	if at := v.Progress; at != nil {
		text += ", " + string(at.Run.Phase)
		if at.Step != "" {
			text += fmt.Sprintf(" %d of %d, %s", at.Number, at.Of, at.Step)
		}
		if line := present.Line(at.Line); line != "" {
			text += ": " + line
		}
	}
	return text
}

// cancelled says which promotion is taken back, and where that leaves the stage.
func cancelled(done decision.Outcome) string {
	p := done.Promotion
	text := fmt.Sprintf("The promotion of %s to stage %s, by %s, is cancelled.", inFull(done.To), p.Stage, p.Actor)
	if done.From.ID == "" {
		return text
	}
	return text + fmt.Sprintf(" The stage stays at %s.", inFull(done.From))
}
