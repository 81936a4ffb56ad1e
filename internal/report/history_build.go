// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// about finds the build that the query names: its ID, and the event that made it, before which
// nothing concerns it. Each event says how many builds there were, so builds that were
// collected are found as well.
func (h *historian) about(ctx context.Context) error {
	const op = "read history"
	text := h.query.Build
	if text == "" {
		return nil
	}
	if !pipeline.NamesBuild(text) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is neither the ID nor the number of a build", text).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: h.pipeline})
	}
	number, isNumber := pipeline.ParseBuildNumber(text)
	if !isNumber {
		number = h.state.Builds[text].Number
	}
	if number == 0 {
		return nil
	}
	newest := h.at
	made, err := h.before(ctx, func(e pipeline.Event) bool { return e.Builds < number })
	if err != nil {
		return err
	}
	if made == newest {
		if isNumber && h.query.After == 0 && h.query.Until.IsZero() {
			return pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q has had no build #%d", h.pipeline, number).
				WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: h.pipeline})
		}
		h.first = newest + 1 // it came later
		return nil
	}
	e, err := h.event(ctx, made+1)
	if err != nil {
		return err
	}
	if h.first = e.Seq; isNumber && e.Facts.Build != nil {
		h.query.Build = e.Facts.Build.ID
	}
	return nil
}

// name completes the entries by what is known of their builds.
func (h *historian) name(ctx context.Context, entries []HistoryEntry) error {
	for i := range entries {
		e := &entries[i]
		if e.Build == "" {
			continue
		}
		b, err := h.known(ctx, e.Build, e.order)
		if err != nil {
			return err
		}
		e.BuildNumber, e.Message = b.Number, pipeline.FirstLine(b.Revision.Message)
		if e.Kind != HistoryDeployment || e.From == "" {
			continue
		}
		from, err := h.known(ctx, e.From, 0)
		if err != nil {
			return err
		}
		e.FromNumber = from.Number
		if e.Action == actionDeployed && older(e, b, from) {
			e.Action = actionRolledBack
		}
	}
	return nil
}

// older reports whether a build was the older one when a stage moved to it. A build becomes
// the newest again if the source goes back to it. Where that was later, the numbers count.
func older(e *HistoryEntry, to, from pipeline.Build) bool {
	now, before := cmp.Or(e.order, to.Order), from.Order
	if now > e.Sequence || before > e.Sequence || now == 0 || before == 0 {
		return to.Number < from.Number
	}
	return now < before
}

// known returns a build that is retained or, if the history has runs of it, was. order is that
// of the build, if the event says it. A build of which nothing is known has no ID.
func (h *historian) known(ctx context.Context, id string, order int64) (b pipeline.Build, err error) {
	if b, ok := h.state.Builds[id]; ok {
		return b, nil
	}
	if b, ok := h.builds[id]; ok {
		return b, nil
	}
	if order == 0 {
		page, err := h.ledger.Runs(ctx, h.pipeline, pipeline.RunQuery{Build: id, Limit: 10})
		if err != nil {
			return b, err
		}
		for _, r := range page.Runs {
			order = max(order, r.Order)
		}
	}
	if order > 0 {
		e, err := h.event(ctx, order)
		if err != nil {
			return b, err
		}
		if made := e.Facts.Build; made != nil && made.ID == id {
			b = *made
		}
	}
	h.builds[id] = b
	return b, nil
}
