// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ask

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// Elsewhere says what a stage of another pipeline had passed, of which ledger that is known,
// and up to which event of it.
func Elsewhere(e pipeline.Elsewhere) string {
	text := e.String() + " had passed no build"
	if e.Build != "" {
		text = e.String() + " had passed " + Build(report.Named{ID: e.Build, Number: e.Number})
	}
	return fmt.Sprintf("%s; ledger %s, verified up to event %s", text, e.Ledger, e.Head)
}

// Gated is Elsewhere, with the run for which the other ledger was read.
func Gated(g report.Gated, now time.Time) string {
	if g.Run == "" {
		return Elsewhere(g.On) + ", when it was applied last"
	}
	return fmt.Sprintf("%s; read before run %s, which began %s", Elsewhere(g.On), g.Run, present.Ago(now, g.At))
}

// Published says how a channel stands to a build.
func Published(p report.Published, now time.Time) string {
	name := p.Channel
	if name == "" {
		name = "a channel without a name"
	}
	where := ""
	if regions := slices.Sorted(maps.Keys(p.Images)); len(regions) > 0 {
		var ids []string
		for _, region := range regions {
			ids = append(ids, fmt.Sprintf("%s in %s", p.Images[region], region))
		}
		where = ": " + strings.Join(ids, ", ")
	}
	switch p.Standing {
	case report.ChannelMoves:
		return name + " is on its way to it" + after(", from ", p.After)
	case report.ChannelLed:
		return fmt.Sprintf("%s led to it until %s%s%s", name, present.Ago(now, p.Since), after(", and leads to ", p.After), where)
	}
	text := fmt.Sprintf("%s has led to it for %s%s", name, present.Age(now.Sub(p.Since)), after(", before that to ", p.Before))
	if p.Left {
		text += ", though nothing publishes by it any more"
	}
	return text + where
}

func after(text string, b *report.Named) string {
	if b == nil {
		return ""
	}
	return text + Build(*b)
}

// Held says where an environment runs a build.
func Held(h report.Held, now time.Time) string {
	text := string(h.Status)
	if h.Place != "" {
		text += " in " + h.Place
	}
	if !h.Since.IsZero() {
		text += " for " + present.Age(now.Sub(h.Since))
	}
	return strings.TrimSpace(text + "  " + h.Endpoint)
}
