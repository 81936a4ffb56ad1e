// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// decidingVerbs are the verbs of decisions on a build that have evidence.
var decidingVerbs = []string{"approve", "reject", "promote", "rollback", "override"}

type evidenceOptions struct {
	*factory
	target
	verb string
}

func newEvidence(f *factory, runF func(context.Context, *evidenceOptions) error) *cobra.Command {
	o := &evidenceOptions{factory: f}
	if runF == nil {
		runF = runEvidence
	}
	return &cobra.Command{
		Use:   "evidence VERB [PIPELINE] [STAGE] [BUILD]",
		Short: "Show what is known before a decision, and what it would do",
		Long: "Show what is known of a build before a decision on it, as the board and the command of the decision do before\n" +
			"they ask: commits, changes, tests, load, who approved, what the build came after in other pipelines, which channels\n" +
			"lead to it, where it runs, what happens, who carries it out, and how to go back.\n" +
			"VERB is approve, reject, promote, rollback or override. What the other arguments leave out is chosen as the\n" +
			"command of that name chooses it. No decision is recorded; what the build would do to the infrastructure of an\n" +
			"environment is planned if no stored plan says it, and stored.",
		Args: args(1, 4),
		RunE: func(c *cobra.Command, given []string) error {
			if o.verb = given[0]; !slices.Contains(decidingVerbs, o.verb) {
				return &usageError{fmt.Errorf("cannot show evidence: %q is none of %s", o.verb, strings.Join(decidingVerbs, ", "))}
			}
			o.read(given[1:])
			return runF(c.Context(), o)
		},
	}
}

func runEvidence(ctx context.Context, o *evidenceOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, o.verb, &o.target); err != nil {
			return err
		}
		reason := "-" // a decision without one would be refused for that
		q := asker{o.factory, a}
		_, e, err := q.evidence(ctx, decision.Command{Verb: decision.Verb(o.verb), Pipeline: o.pipeline, Stage: o.stage, Build: o.build, Reason: reason})
		if err != nil || o.json {
			return o.printDone(err, e, "")
		}
		return q.show(screenOf(o.Out), e)
	})
}

// asker asks about decisions of people on the builds of pipelines.
type asker struct {
	*factory
	app *app.App
}

// evidence completes a command, and collects what there is to see before it is done.
func (q asker) evidence(ctx context.Context, c decision.Command) (decision.Command, report.Evidence, error) {
	st, err := q.app.Engine.State(ctx, c.Pipeline)
	if err != nil {
		return c, report.Evidence{}, err
	}
	if c, err = q.app.Engine.Decisions.Complete(st, c); err != nil {
		return c, report.Evidence{}, err
	}
	e, err := q.app.Engine.Reports.Evidence(ctx, st, report.EvidenceRequest{Verb: string(c.Verb), Stage: c.Stage, Build: c.Build})
	if err == nil && c.Verb != decision.Reject {
		e.Infrastructure = q.foresee(ctx, c.Pipeline, e.Infrastructure)
	}
	return c, e, err
}

// foresee plans what no stored plan says of what a build would do. What can't be planned stays
// as it is.
func (q asker) foresee(ctx context.Context, pipelineName string, list []report.Infrastructure) []report.Infrastructure {
	for n, i := range list {
		if i.Known() {
			continue
		}
		fmt.Fprintf(q.Err, "Plans what the build would do to the infrastructure of stage %s …\n", present.Line(i.Stage))
		plan, err := q.app.Engine.Stages.PlanInfrastructure(ctx, pipelineName, i.Stage, i.Build)
		if err != nil {
			fmt.Fprintf(q.Err, "It could not be planned: %s\n", present.Line(err.Error()))
			continue
		}
		st, err := q.app.Engine.Recorded(ctx, pipelineName)
		if err != nil {
			continue
		}
		list[n] = report.Planned(st, plan)
	}
	return list
}

// confirm shows the evidence of a command on a terminal and asks whether to do it. What is
// confirmed is what was shown. Without a terminal a command that needs to be confirmed is
// refused unless that was said.
func (q asker) confirm(ctx context.Context, c *decision.Command, yes, needed bool) error {
	if yes || !needed && q.canAsk("", false) != nil {
		return nil
	}
	completed, e, err := q.evidence(ctx, *c)
	if err != nil {
		return err
	}
	*c = completed
	op := string(c.Verb)
	if err := q.canAsk(op, yes); err != nil {
		return err
	}
	if err := q.show(screenOf(q.Err), e); err != nil {
		return err
	}
	if c.RestoreData {
		if err := q.showRestore(ctx, *c); err != nil {
			return err
		}
	}
	question := map[decision.Verb]string{
		decision.Approve: "Approve it", decision.Reject: "Reject it", decision.Promote: "Promote it", decision.Rollback: "Roll back", decision.Override: "Override the gate",
	}[c.Verb]
	if c.RestoreData {
		question += ", and restore that backup"
	}
	return q.ask(ctx, op, yes, "\n"+question)
}

// showRestore says which backup a rollback restores, and what is lost by that.
func (q asker) showRestore(ctx context.Context, c decision.Command) error {
	st, err := q.app.Engine.State(ctx, c.Pipeline)
	if err != nil {
		return err
	}
	r, err := decision.RestoreOf(st, st.Stages[c.Stage], c)
	if err != nil {
		return err
	}
	w := &evidenceWriter{factory: q.factory, on: screenOf(q.Err)}
	w.line("")
	w.line(w.on.paint("Data", bold))
	w.paragraph(fmt.Sprintf("service.restore restores backup %s. It was taken at %s, %s, before %s was deployed. Everything that was written since is lost.",
		r.Backup, pipeline.Moment(r.At.Local()), present.Ago(q.now(), r.At), inFull(st.Builds[r.Build])))
	w.paragraph("The build that serves goes on until the older one gets its traffic. What it writes in between is lost, or mixed with the restored data, and requests may fail. " +
		"service.backup backs up what is there now, before that.")
	return w.err
}

// shownCommits is how many commits are listed before a question. `penstock diff` lists all.
const shownCommits = 15

// show prints evidence for people.
func (q asker) show(on screen, e report.Evidence) error {
	w := &evidenceWriter{factory: q.factory, on: on}
	w.title(e)
	w.commits(e)
	w.rows("Changes", len(e.Changes), func(row func(...string)) {
		for _, at := range e.Changes {
			row(at.Component, ask.Change(at))
		}
	})
	w.infrastructure(e)
	w.rows("Tests", len(e.Tests), func(row func(...string)) {
		for _, at := range e.Tests {
			row(at.Stage, ask.Tests(at))
			for _, name := range at.New {
				row("", "new failure: "+name)
			}
		}
	})
	w.rows("Load", len(e.Loads), func(row func(...string)) {
		for _, at := range e.Loads {
			row(at.Stage+"/"+at.Step, ask.Load(at))
		}
	})
	w.rows("Decisions", len(e.Decisions), func(row func(...string)) {
		for _, at := range e.Decisions {
			text := fmt.Sprintf("%s by %s %s", at.Verb, at.Actor, present.Ago(q.now(), at.At))
			if at.Reason != "" {
				text += ": " + at.Reason
			}
			row(at.Stage, text)
		}
	})
	w.chain(e)
	w.line("")
	for _, text := range slices.Concat([]string{ask.LastRollback(e, q.now())}, ask.Consequences(e), []string{ask.Carrier(e), ask.GoBack(e)}) {
		w.paragraph(text)
	}
	return w.err
}

// chain prints what the build was gated on in other pipelines, and where it has got to.
func (w *evidenceWriter) chain(e report.Evidence) {
	w.rows("Other pipelines", len(e.Gated), func(row func(...string)) {
		for _, at := range e.Gated {
			row(at.Stage, ask.Gated(at, w.now()))
		}
	})
	w.rows("Channels", len(e.Channels), func(row func(...string)) {
		for _, at := range e.Channels {
			row(at.Stage, ask.Published(at, w.now()))
		}
	})
	w.rows("Runs in", len(e.Held), func(row func(...string)) {
		for _, at := range e.Held {
			row(pipeline.AtTarget(at.Stage, at.Target), ask.Held(at, w.now()))
		}
	})
}

// evidenceWriter prints the parts of evidence. It keeps its first error.
type evidenceWriter struct {
	*factory
	on  screen
	err error
}

// paragraph prints a text as wide as the terminal; nothing for an empty one.
func (w *evidenceWriter) paragraph(text string) {
	room, _ := w.on.size()
	for _, line := range present.Wrap(present.Line(text), cmp.Or(room, math.MaxInt)) {
		if line != "" {
			w.line(line)
		}
	}
}

// line prints a line.
func (w *evidenceWriter) line(text string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.on.out, present.Line(text)+"\n")
	}
}

func (w *evidenceWriter) title(e report.Evidence) {
	w.line(w.on.paint(fmt.Sprintf("%s at stage %s of %s", strings.ToUpper(e.Verb[:1])+e.Verb[1:], e.Stage, e.Pipeline), bold))
	w.line("")
	var rows [][]string
	add := func(what string, b report.Named) {
		text := strings.Join([]string{present.Cut(b.Message, 60), b.ID, present.Commit(b.Commit), personOf(b.Author), present.Ago(w.now(), b.Made)}, "  ")
		rows = append(rows, []string{what, ask.Brief(b.Number, b.ID), text})
	}
	add("build", e.Build)
	if e.Current != nil {
		add("current at "+e.Against, *e.Current)
	}
	w.aligned(rows)
}

func (w *evidenceWriter) commits(e report.Evidence) {
	w.line("")
	if text := ask.Range(e); text != "" {
		w.line(w.on.paint(strings.ToUpper(text[:1])+text[1:], bold))
	} else if why := e.NoDiff; why != "" {
		w.line("Commits are not compared: " + why + ".")
	} else if e.Diff != nil {
		w.line("Commits and files are unknown: " + e.Diff.Unknown)
	}
	if e.Diff == nil {
		return
	}
	if e.Diff.URL != "" {
		w.line(e.Diff.URL)
	}
	for _, side := range []struct {
		sign string
		list []report.Commit
	}{{"+", e.Diff.Ahead}, {"-", e.Diff.Behind}} {
		var rows [][]string
		for _, c := range side.list[:min(len(side.list), shownCommits)] {
			text := c.Message + " (" + personOf(c.Author) + ")"
			if mark := ask.Mark(c); mark != "" {
				text += " – " + mark
			}
			rows = append(rows, []string{side.sign, present.Commit(c.Commit), text})
		}
		w.aligned(rows)
		if more := len(side.list) - shownCommits; more > 0 {
			w.line(fmt.Sprintf("… and %d more: `penstock diff %s %s %s`", more, e.Pipeline, e.Diff.From, e.Diff.To))
		}
	}
}

// infrastructure prints what the module of the build would do.
func (w *evidenceWriter) infrastructure(e report.Evidence) {
	for _, i := range e.Infrastructure {
		w.line("")
		w.line(w.on.paint("Infrastructure of "+i.Stage, bold))
		w.paragraph(ask.Infrastructure(i, w.now()))
		w.paragraph(ask.Refusal(i))
		if i.Plan == nil {
			continue
		}
		var rows [][]string
		for _, c := range i.Plan.Changes[:min(len(i.Plan.Changes), shownCommits)] {
			rows = append(rows, []string{c.Address, ask.Act(c)})
		}
		w.aligned(rows)
		if len(i.Plan.Changes) > shownCommits {
			w.line(fmt.Sprintf("… and more: `penstock diff %s %s %s`", e.Pipeline, i.Stage, i.Build))
		}
	}
}

// rows prints a part with a heading, if it has rows.
func (w *evidenceWriter) rows(title string, n int, fill func(row func(...string))) {
	if n == 0 {
		return
	}
	w.line("")
	w.line(w.on.paint(title, bold))
	var list [][]string
	fill(func(cells ...string) { list = append(list, cells) })
	w.aligned(list)
}

// aligned prints rows in columns. The last one is broken where the terminal ends.
func (w *evidenceWriter) aligned(rows [][]string) {
	if len(rows) == 0 || w.err != nil {
		return
	}
	last := len(rows[0]) - 1
	widths := make([]int, last)
	for _, cells := range rows {
		for i := range widths {
			widths[i] = max(widths[i], runewidth.StringWidth(present.Line(cells[i])))
		}
	}
	room, _ := w.on.size()
	for _, cells := range rows {
		lead := "  "
		for i := range widths {
			lead += runewidth.FillRight(present.Line(cells[i]), widths[i]) + "  "
		}
		indent := runewidth.StringWidth(lead)
		for _, line := range present.Wrap(present.Line(cells[last]), max(cmp.Or(room, math.MaxInt)-indent, 20)) {
			w.line(lead + line)
			lead = strings.Repeat(" ", indent)
		}
	}
}

// follow says, beside the result, who carries a decision out, and how to follow that.
func (q asker) follow(ctx context.Context, pipelineName string) {
	st, err := q.app.Engine.State(ctx, pipelineName)
	if err != nil {
		return // the decision is recorded all the same
	}
	applies, err := q.app.Engine.Reports.Applies(ctx, pipelineName)
	if err != nil {
		return
	}
	fmt.Fprintf(q.Err, "%s `penstock status --watch %s` follows it.\n", present.Line(ask.Applier(applies, st.Pipeline.Owner, st.Pipeline.Made.Host)), pipelineName)
}

// number fills in the IDs of builds that are named by a number, and refuses a number that no
// retained build has.
func (f *factory) number(ctx context.Context, a *app.App, pipelineName string, names ...*string) error {
	for _, name := range names {
		if _, is := pipeline.ParseBuildNumber(*name); !is {
			continue
		}
		st, err := a.Engine.State(ctx, pipelineName)
		if err != nil {
			return err
		}
		id := pipeline.FindBuildID(st, *name)
		if id == *name {
			err := pipeline.Errorf(pipeline.CodeNotFound, "find build", "pipeline %q has no build #%s", pipelineName, strings.TrimPrefix(*name, "#"))
			return err.WithHint("It may have been collected. `penstock builds %s` lists the builds.", pipelineName)
		}
		*name = id
	}
	return nil
}
