// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ask

import (
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// Counts says what an apply of a module does to resources.
func Counts(n pipeline.ModuleCounts) string {
	if n.None() {
		return "no changes"
	}
	return fmt.Sprintf("%d to add, %d to change, %d to destroy", n.Added, n.Changed, n.Destroyed)
}

// Changed says what a run has done to the infrastructure of an environment.
func Changed(n pipeline.ModuleCounts) string {
	if n.None() {
		return "no changes"
	}
	return fmt.Sprintf("%d added, %d changed, %d destroyed", n.Added, n.Changed, n.Destroyed)
}

// Infrastructure says in a line what a build would do to the infrastructure of a stage's
// environment, and how old the knowledge is.
func Infrastructure(i report.Infrastructure, now time.Time) string {
	switch p := i.Plan; {
	case p == nil:
		return "not planned yet"
	case p.Unknown != "":
		return fmt.Sprintf("not known, as a plan failed %s: %s", present.Ago(now, p.At), p.Unknown)
	case i.Outdated:
		return fmt.Sprintf("%s, by a plan of %s that is out of date", Counts(p.ModuleCounts), present.Ago(now, p.At))
	default:
		return fmt.Sprintf("%s, planned %s", Counts(p.ModuleCounts), present.Ago(now, p.At))
	}
}

// Replan says how a plan is made that is not there or out of date; empty for one that says
// what would be done now.
func Replan(e report.Evidence, i report.Infrastructure) string {
	if i.Known() {
		return ""
	}
	return fmt.Sprintf("`penstock evidence %s %s %s %s` plans it now.", e.Verb, e.Pipeline, e.Stage, e.Build.ID)
}

// Refusal says that an apply will be refused, as data would be lost, and what to do; empty if
// it won't be.
func Refusal(i report.Infrastructure) string {
	if len(i.Refused) == 0 {
		return ""
	}
	var all []string
	for _, c := range i.Refused {
		all = append(all, ModuleChange(c))
	}
	what := "Stage " + i.Stage
	if stage, target := pipeline.CutTarget(i.Stage); target != "" {
		what = "Target " + target + " of stage " + stage
	}
	return fmt.Sprintf("%s will refuse it without allow_destroy, as data would be lost: %s.", what, strings.Join(all, "; "))
}

// acts are what happens to resources in words.
var acts = map[pipeline.ModuleAction]string{
	pipeline.ModuleCreate: "is added", pipeline.ModuleUpdate: "is changed", pipeline.ModuleReplace: "is destroyed and made again",
	pipeline.ModuleDestroy: "is destroyed", pipeline.ModuleRead: "is read",
}

// Act says what happens to a resource, and why.
func Act(c pipeline.ModuleChange) string {
	text := acts[c.Action]
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	if c.Stateful {
		text += ", with its data"
	}
	return text
}

// ModuleChange says what happens to a resource, with its address.
func ModuleChange(c pipeline.ModuleChange) string { return c.Address + " " + Act(c) }

// Unlisted says how many changes are not listed; empty if all are.
func Unlisted(n pipeline.ModuleCounts, listed []pipeline.ModuleChange) string {
	shown := pipeline.CountChanges(listed)
	more := n.Added + n.Changed + n.Destroyed - shown.Added - shown.Changed - shown.Destroyed
	if more <= 0 {
		return ""
	}
	return fmt.Sprintf("and %d more, which are not listed", more)
}
