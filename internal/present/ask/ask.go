// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package ask puts the evidence of a decision into sentences, so that the board and the
// commands ask with the same words: what is known, what happens, who carries it out, and how
// to go back. It decides nothing.
//
//	for _, line := range ask.Consequences(evidence) {
//		fmt.Println(line)
//	}
package ask

import (
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// Build names a build in a sentence: by its number and its ID.
func Build(b report.Named) string {
	if b.Number == 0 {
		return b.ID
	}
	return fmt.Sprintf("#%d (%s)", b.Number, b.ID)
}

// Brief names a build by its number, or by its ID if it has none.
func Brief(number int64, id string) string { return present.Build(number, id) }

// Range says how many commits a decision is about, how many of them are of builds that were
// rejected or that failed, and which risky components change. It is empty if that is not
// known.
func Range(e report.Evidence) string {
	if e.Diff == nil || e.Diff.Unknown != "" {
		return ""
	}
	text := sum(e.Diff.Ahead, "")
	if back := sum(e.Diff.Behind, "taken back"); len(e.Diff.Behind) > 0 {
		text = strings.TrimPrefix(text+", "+back, sum(nil, "")+", ")
	}
	for _, c := range e.Changes {
		if c.Component == "data" || c.Component == "infrastructure" {
			text += ", the " + c.Component + " changes"
		}
	}
	return text
}

// sum counts commits, and those of builds with a mark.
func sum(list []report.Commit, what string) string {
	rejected, failed := 0, 0
	for _, c := range list {
		switch {
		case c.Rejected != "":
			rejected++
		case len(c.Failed) > 0:
			failed++
		}
	}
	text := strings.TrimSpace(present.Count(len(list), "commit") + " " + what)
	if rejected > 0 {
		text += fmt.Sprintf(", %d of a build that was rejected", rejected)
	}
	if failed > 0 {
		text += fmt.Sprintf(", %d of a build that failed", failed)
	}
	return text
}

// Mark says how the build of a commit fared; empty for nothing worth a mark.
func Mark(c report.Commit) string {
	switch {
	case c.Rejected != "":
		return "rejected at " + c.Rejected
	case len(c.Failed) > 0:
		return "failed at " + strings.Join(c.Failed, ", ")
	}
	return ""
}

// Tests says what the tests of a stage counted, beside those of the current build.
func Tests(t report.Tests) string {
	text := present.Count(t.Total, "test")
	text += fmt.Sprintf(", %s failed", none(t.Failed))
	if t.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", t.Skipped)
	}
	if t.Before != nil {
		text += fmt.Sprintf("; the current build: %d, %s failed", t.Before.Total, none(t.Before.Failed))
	}
	return text
}

// Load says what a load step measured, beside its limit and the build before.
func Load(l report.Load) string {
	text := "p99 " + present.Duration(l.P99)
	if l.Limit > 0 {
		text += ", limit " + present.Duration(l.Limit)
	}
	switch {
	case l.Before != "" && l.BeforeCurrent:
		text += ", the current build: " + present.Duration(l.BeforeP99)
	case l.Before != "":
		text += ", " + Brief(l.BeforeNumber, l.Before) + " before: " + present.Duration(l.BeforeP99)
	}
	if l.Errors > 0 {
		text += fmt.Sprintf(", %.2f %% errors", 100*l.Errors)
	}
	return text
}

// Change says what changes in a component.
func Change(c report.Change) string {
	if c.Files == 0 {
		return "changes"
	}
	return fmt.Sprintf("%s, +%d −%d lines", present.Count(c.Files, "file"), c.Added, c.Removed)
}

// Consequences says in sentences what happens when a person decides.
func Consequences(e report.Evidence) []string {
	build := Build(e.Build)
	switch e.Verb {
	case "approve":
		return approving(e, build)
	case "reject":
		return []string{
			fmt.Sprintf("Build %s enters no stage any more, and nobody can launch it, until the rejection at stage %s is lifted.", build, e.Stage),
			"What runs it already goes on.",
		}
	case "override":
		text := []string{fmt.Sprintf("Build %s counts as passed at stage %s although it has not passed there.", build, e.Stage)}
		return append(append(text, opens(e)...), "The mark of it, with your name and your reason, stays with the build for ever.")
	case "promote", "rollback":
		return moving(e, build)
	}
	return nil
}

func approving(e report.Evidence, build string) []string {
	text := []string{fmt.Sprintf("Build %s passes stage %s, on the evidence of run %s.", build, e.Stage, orNone(e.Run))}
	if e.Missing > 1 {
		text = []string{fmt.Sprintf("Your approval of build %s at stage %s counts, on the evidence of run %s.", build, e.Stage, orNone(e.Run)),
			fmt.Sprintf("It takes %d more approvals, yours included.", e.Missing)}
	}
	return append(text, opens(e)...)
}

// opens says which stages a build may enter then.
func opens(e report.Evidence) []string {
	if len(e.Next) == 0 {
		return nil
	}
	return []string{"It may then enter " + present.List(e.Next) + "."}
}

func moving(e report.Evidence, build string) []string {
	text := []string{fmt.Sprintf("Stage %s moves to build %s.", e.Stage, build)}
	if e.Current != nil {
		text[0] = fmt.Sprintf("Stage %s moves from build %s to build %s.", e.Stage, Build(*e.Current), build)
		if e.Verb == "rollback" {
			text[0] = fmt.Sprintf("Stage %s goes back from build %s to build %s.", e.Stage, Build(*e.Current), build)
		}
	}
	text = append(text, "New instances have to be healthy before they get requests; if they don't, what runs now goes on.")
	if e.Verb == "rollback" {
		text = append(text, "Data stays as it is.")
	}
	if p := e.Pending; p != nil {
		text = append(text, fmt.Sprintf("%s has promoted build %s, which no apply has moved there yet: this takes its place.", p.Actor, p.Build))
	}
	return text
}

// Carrier says who carries a decision out. An empty text means that nothing has to be done.
func Carrier(e report.Evidence) string {
	if e.Verb == "reject" {
		return ""
	}
	text := Applier(e.Applies, e.Directory, e.Host)
	if e.Runner == pipeline.RunnerCodeBuild && (e.Verb == "promote" || e.Verb == "rollback") {
		text += " The steps of the stage run in AWS CodeBuild."
	}
	return text
}

// Applier says who applies a configuration: a watcher, else whoever runs Terraform in a
// directory of a host. Either may be empty if it is not known.
func Applier(a report.Applies, directory, host string) string {
	if a.Watched {
		text := fmt.Sprintf("%s's watcher on %s applies it by itself.", a.Watcher.Actor, a.Watcher.Host)
		if a.Watcher.Activity.Text != "" {
			text = fmt.Sprintf("%s's watcher on %s applies it by itself, once it is done: it %s.", a.Watcher.Actor, a.Watcher.Host, a.Watcher.Activity.Text)
		}
		return text
	}
	text := "Nobody watches: run `terraform apply`"
	if directory != "" && directory != "unknown" {
		text += " in " + directory
	}
	if host != "" {
		text += " (on " + host + ")"
	}
	return text + "."
}

// GoBack says how to undo a decision.
func GoBack(e report.Evidence) string {
	at := e.Pipeline + " " + e.Stage
	switch e.Verb {
	case "approve":
		return fmt.Sprintf("To take it back, reject the build: `penstock reject %s %s --reason WHY`. What has moved stays.", at, e.Build.ID)
	case "reject":
		return fmt.Sprintf("To take it back, lift the rejection: `penstock approve --lift %s %s`.", at, e.Build.ID)
	case "override":
		return fmt.Sprintf("An override can't be taken back. To stop the build, reject it: `penstock reject %s %s --reason WHY`.", at, e.Build.ID)
	}
	if e.Current == nil {
		return "There is no build to go back to."
	}
	verb := "rollback"
	if e.Verb == "rollback" {
		verb = "promote"
	}
	return fmt.Sprintf("To go back to %s: `penstock %s %s %s`.", Build(*e.Current), verb, at, e.Current.ID)
}

// LastRollback says what the last rollback took; empty if none is known.
func LastRollback(e report.Evidence, now time.Time) string {
	r := e.Rollback
	if r == nil {
		return ""
	}
	return fmt.Sprintf("The last rollback of %s, from %s to %s %s, took %s.", r.Stage, Brief(r.From.Number, r.From.ID), Brief(r.To.Number, r.To.ID),
		present.Ago(now, r.At), present.Duration(r.Took))
}

func none(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

func orNone(run string) string {
	if run == "" {
		return "none"
	}
	return run
}
