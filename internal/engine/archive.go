// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// archivePage is how many events are read at a time in search of a pipeline's definition.
const archivePage = 200

// archive keeps the history of a pipeline that is not defined any more, of head events, for
// as long as its last definition says. A removal that was interrupted archives it under the
// same name again.
func (e *Engine) archive(ctx context.Context, name string, head int64) error {
	if e.Archives == nil {
		return nil
	}
	p, removed, err := e.lastDefinition(ctx, name, head)
	if err != nil || p.RetainHistory <= 0 || !e.Now().Before(removed.Time.Add(p.RetainHistory)) {
		return err
	}
	a := pipeline.Archive{ID: p.ID, Pipeline: name, Removed: removed.Time, Until: removed.Time.Add(p.RetainHistory)}
	if err := e.Archives.Put(ctx, a, func(w io.Writer) error { return e.Export(ctx, w, name) }); err != nil {
		return fmt.Errorf("archive the history of pipeline %q: %w", name, err)
	}
	return nil
}

// lastDefinition gives a pipeline as it was defined last, and its newest event.
func (e *Engine) lastDefinition(ctx context.Context, name string, head int64) (p pipeline.Pipeline, newest pipeline.Event, err error) {
	for end := head; end > 0; end = max(0, end-archivePage) {
		after := max(0, end-archivePage)
		events, err := e.Ledger.Events(ctx, name, after, int(end-after))
		if err != nil {
			return p, newest, err
		}
		for _, event := range slices.Backward(events) {
			if newest.Seq == 0 {
				newest = event
			}
			if event.Facts.Pipeline != nil {
				return *event.Facts.Pipeline, newest, nil
			}
		}
	}
	return p, newest, nil
}

// collectArchives removes the archives whose time is over.
func (e *Engine) collectArchives(ctx context.Context, dryRun bool, g *Garbage) error {
	if e.Archives == nil {
		return nil
	}
	all, err := e.Archives.List(ctx)
	if err != nil {
		return fmt.Errorf("list archives: %w", err)
	}
	for _, a := range all {
		if e.Now().Before(a.Until) {
			continue
		}
		g.Archives = append(g.Archives, a.Pipeline+" "+a.ID)
		if !dryRun {
			if err := e.Archives.Remove(ctx, a); err != nil {
				return fmt.Errorf("remove the archive of pipeline %q: %w", a.Pipeline, err)
			}
		}
	}
	return nil
}
