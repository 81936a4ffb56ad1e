// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

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
			"they ask: commits, changes, tests, load, who approved, what happens, who carries it out, and how to go back.\n" +
			"VERB is approve, reject, promote, rollback or override. What the other arguments leave out is chosen as the\n" +
			"command of that name chooses it. Nothing is recorded.",
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
	return c, e, err
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
	question := map[decision.Verb]string{
		decision.Approve: "Approve it", decision.Reject: "Reject it", decision.Promote: "Promote it", decision.Rollback: "Roll back", decision.Override: "Override the gate",
	}[c.Verb]
	return q.ask(ctx, op, yes, "\n"+question)
}

// shownCommits is how many commits are listed before a question. `penstock diff` lists all.
const shownCommits = 15

// show prints evidence for people.
func (q asker) show(on screen, e report.Evidence) error {
	w := &evidenceWriter{factory: q.factory, on: on}
	w.title(e)
	w.commits(e)
	w.rows("Changes", len(e.Changes), func(t *table) {
		for _, at := range e.Changes {
			t.row(at.Component, ask.Change(at))
		}
	})
	w.rows("Tests", len(e.Tests), func(t *table) {
		for _, at := range e.Tests {
			t.row(at.Stage, ask.Tests(at))
			for _, name := range at.New {
				t.row("", "new failure: "+name)
			}
		}
	})
	w.rows("Load", len(e.Loads), func(t *table) {
		for _, at := range e.Loads {
			t.row(at.Stage+"/"+at.Step, ask.Load(at))
		}
	})
	w.rows("Decisions", len(e.Decisions), func(t *table) {
		for _, at := range e.Decisions {
			text := fmt.Sprintf("%s by %s %s", at.Verb, at.Actor, present.Ago(q.now(), at.At))
			if at.Reason != "" {
				text += ": " + at.Reason
			}
			t.row(at.Stage, text)
		}
	})
	w.line("")
	w.line(ask.LastRollback(e, q.now()))
	for _, line := range ask.Consequences(e) {
		w.line(line)
	}
	w.line(ask.Carrier(e))
	w.line(ask.GoBack(e))
	return w.err
}

// evidenceWriter prints the parts of evidence. It keeps its first error.
type evidenceWriter struct {
	*factory
	on  screen
	err error
}

// line prints a line; none for an empty text after another line.
func (w *evidenceWriter) line(text string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.on.out, present.Line(text)+"\n")
	}
}

func (w *evidenceWriter) title(e report.Evidence) {
	w.line(w.on.paint(fmt.Sprintf("%s at stage %s of %s", strings.ToUpper(e.Verb[:1])+e.Verb[1:], e.Stage, e.Pipeline), bold))
	w.line("")
	t := newTable(w.on)
	add := func(what string, b report.Named) {
		t.row(what, ask.Brief(b.Number, b.ID), present.Cut(b.Message, 50), b.ID, present.Commit(b.Commit), personOf(b.Author), present.Ago(w.now(), b.Made))
	}
	add("build", e.Build)
	if e.Current != nil {
		add("current at "+e.Against, *e.Current)
	}
	w.text(t)
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
		t := newTable(w.on)
		for _, c := range side.list[:min(len(side.list), shownCommits)] {
			t.row(side.sign, present.Commit(c.Commit), present.Cut(c.Message, 60), personOf(c.Author), ask.Mark(c))
		}
		w.text(t)
		if more := len(side.list) - shownCommits; more > 0 {
			w.line(fmt.Sprintf("… and %d more: `penstock diff %s %s %s`", more, e.Pipeline, e.Diff.From, e.Diff.To))
		}
	}
}

// rows prints a part with a heading, if it has rows.
func (w *evidenceWriter) rows(title string, n int, fill func(*table)) {
	if n == 0 {
		return
	}
	w.line("")
	w.line(w.on.paint(title, bold))
	t := newTable(w.on)
	fill(t)
	w.text(t)
}

// text prints a table without a heading.
func (w *evidenceWriter) text(t *table) {
	if w.err == nil && len(t.rows) > 0 {
		_, w.err = io.WriteString(w.on.out, t.text())
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
