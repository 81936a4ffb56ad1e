// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// archivePage is how many events are read at a time in search of a pipeline's definition.
const archivePage = 200

// archive keeps the history of a pipeline that is no longer defined, of head events, for as
// long as its last definition says. A removal that was interrupted archives it again under
// the same name.
func (c *Collector) archive(ctx context.Context, name string, head int64) error {
	if c.archives == nil {
		return nil
	}
	p, removed, err := c.lastDefinition(ctx, name, head)
	if err != nil || p.RetainHistory <= 0 || !c.now().Before(removed.Time.Add(p.RetainHistory)) {
		return err
	}
	a := pipeline.Archive{ID: p.ID, Pipeline: name, Removed: removed.Time, Until: removed.Time.Add(p.RetainHistory)}
	if err := c.archives.Put(ctx, a, func(w io.Writer) error { return c.export(ctx, w, name) }); err != nil {
		return fmt.Errorf("archive the history of pipeline %q: %w", name, err)
	}
	return nil
}

// lastDefinition returns a pipeline as it was defined last, and its newest event.
func (c *Collector) lastDefinition(ctx context.Context, name string, head int64) (p pipeline.Pipeline, newest pipeline.Event, err error) {
	for end := head; end > 0; end = max(0, end-archivePage) {
		after := max(0, end-archivePage)
		events, err := c.ledger.Events(ctx, name, after, int(end-after))
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

// collectArchives removes the archives that have expired.
func (c *Collector) collectArchives(ctx context.Context, dryRun bool, g *Garbage) error {
	if c.archives == nil {
		return nil
	}
	all, err := c.archives.List(ctx)
	if err != nil {
		return fmt.Errorf("list archives: %w", err)
	}
	for _, a := range all {
		if c.now().Before(a.Until) {
			continue
		}
		g.Archives = append(g.Archives, a.Pipeline+" "+a.ID)
		if !dryRun {
			if err := c.archives.Remove(ctx, a); err != nil {
				return fmt.Errorf("remove the archive of pipeline %q: %w", a.Pipeline, err)
			}
		}
	}
	return nil
}

// Purge removes the history of a pipeline that is not defined, if it has one, once that is
// archived.
func (c *Collector) Purge(ctx context.Context, name string) error {
	head, err := c.ledger.Head(ctx, name)
	if err != nil || head == 0 {
		return err
	}
	if err := c.archive(ctx, name, head); err != nil {
		return err
	}
	return c.ledger.Purge(ctx, name)
}

// purgeRemoved removes the histories of pipelines whose removal was interrupted.
func (c *Collector) purgeRemoved(ctx context.Context) error {
	names, err := c.ledger.Removed(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.Purge(ctx, name); err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict { // defined again by now
			return err
		}
	}
	return nil
}
