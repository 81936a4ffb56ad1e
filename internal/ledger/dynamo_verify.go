// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// dynamoMaintainer looks after the record as a whole.
type dynamoMaintainer struct {
	*table
	decisions *dynamoDecisions
}

// Close implements pipeline.Ledger. There is nothing to close.
func (d *dynamoMaintainer) Close() error { return nil }

// Verify implements pipeline.Ledger: it checks the chain, and that the view is what the
// events add up to. The pipeline should be at rest; an append meanwhile may look like damage.
func (d *dynamoMaintainer) Verify(ctx context.Context, name string) (int64, error) {
	names := []string{name}
	if name == "" {
		var err error
		if names, err = d.histories(ctx, false); err != nil {
			return 0, d.fault(ctx, opVerify, err)
		}
	}
	var total int64
	for _, name := range names {
		found, err := d.verify(ctx, name)
		total += found.events
		if err != nil {
			return total, d.fault(ctx, opVerify, err)
		}
	}
	return total, nil
}

// verification is a history that was verified, as far as that went.
type verification struct {
	events    int64 // that are right
	head      item  // nil if there is nothing, or what a purge has left
	records   []pipeline.Record
	decisions []item // that count
}

func (d *dynamoMaintainer) verify(ctx context.Context, name string) (found verification, err error) {
	records, head, err := d.view(ctx, name)
	if err != nil || head == nil {
		return found, err
	}
	if found.events, err = d.verifyHistory(ctx, name, records, head); err != nil {
		return found, err
	}
	found.records, found.head = records, head
	found.decisions, err = d.decisions.verify(ctx, name, records, head)
	return found, err
}

// verifyHistory checks the events, and that the records are what they add up to.
func (d *dynamoMaintainer) verifyHistory(ctx context.Context, name string, records []pipeline.Record, head item) (n int64, err error) {
	bodies := map[pipeline.Key][]byte{} // of the events that wrote what must be there
	versions, prev, builds := map[pipeline.Key]int64{}, "", int64(0)
	err = d.each(ctx, query{pk: pkEvents(name)}, func(i item) (bool, error) {
		if n == head.int("seq") { // appended since
			return false, nil
		}
		body, e, err := d.verifyEvent(ctx, name, n+1, prev, i)
		if err != nil {
			return false, err
		}
		if !e.CountsOn(builds) {
			return false, d.damaged(opVerify, "%q: event %d does not count the builds on", name, e.Seq)
		}
		written, err := e.Records()
		if err != nil {
			return false, d.damaged(opVerify, "%q: event %d: %w", name, e.Seq, err)
		}
		for _, r := range written {
			bodies[r.Key], versions[r.Key] = body, e.Seq
		}
		for _, k := range e.Facts.Gone {
			delete(bodies, k)
		}
		n, prev, builds = e.Seq, e.Hash, e.Builds
		return true, nil
	})
	if err != nil {
		return n, err
	}
	if n != head.int("seq") || prev != head.text("hash") || builds != head.int("builds") {
		return n, d.damaged(opVerify, "%q: event %d is missing", name, n+1)
	}
	return n, d.verifyView(ctx, name, records, bodies, versions)
}

// verifyEvent checks that an item is event number want, sealed after prev.
func (d *dynamoMaintainer) verifyEvent(ctx context.Context, name string, want int64, prev string, i item) ([]byte, pipeline.Event, error) {
	if i.text("sk") != skEvent(want) {
		return nil, pipeline.Event{}, d.damaged(opVerify, "%q: event %d is missing", name, want)
	}
	body, err := d.doc(ctx, i)
	if cloud.IsNotFound(err) {
		return nil, pipeline.Event{}, d.damaged(opVerify, "%q: the body of event %d is missing", name, want)
	}
	if err != nil {
		return nil, pipeline.Event{}, err
	}
	if pipeline.HashOf(body) != i.text("hash") {
		return nil, pipeline.Event{}, d.damaged(opVerify, "%q: event %d was changed after it was written", name, want)
	}
	e, err := d.decodeEvent(ctx, opVerify, i)
	switch {
	case err != nil:
		return nil, e, err
	case e.Pipeline != name:
		return nil, e, d.damaged(opVerify, "%q: event %d is one of %q", name, want, e.Pipeline)
	case e.Prev != prev:
		return nil, e, d.damaged(opVerify, "%q: event %d does not follow the event before it", name, want)
	}
	return body, e, nil
}

// verifyView checks that the records and runs are those that the events left.
func (d *dynamoMaintainer) verifyView(ctx context.Context, name string, records []pipeline.Record, bodies map[pipeline.Key][]byte, versions map[pipeline.Key]int64) error {
	check := func(row viewRow) error {
		body, ok := bodies[row.Key]
		if !ok || versions[row.Key] != row.Version || !row.writtenBy(body) {
			return d.damaged(opVerify, "%q: the record of %s %q is not what the events say", name, row.Kind, row.ID)
		}
		delete(bodies, row.Key)
		return nil
	}
	for _, r := range records {
		if err := check(viewRow{Record: r}); err != nil {
			return err
		}
	}
	err := d.each(ctx, query{pk: pkRuns(name)}, func(i item) (bool, error) {
		row := viewRow{stage: i.text("stage"), build: i.text("build"), status: i.text("run_status")}
		row.Kind, row.ID, row.Version, row.Doc = pipeline.RecordRun, i.text("sk"), i.int("version"), []byte(i.text("doc"))
		return true, check(row)
	})
	if err != nil {
		return err
	}
	for k := range bodies {
		return d.damaged(opVerify, "%q: the record of %s %q, of event %d, is missing", name, k.Kind, k.ID, versions[k])
	}
	return nil
}
