// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// dynamoReader reads what is recorded.
type dynamoReader struct {
	*table
	decisions *dynamoDecisions
}

// State implements pipeline.Ledger: two consistent queries, and one more for each
// megabyte.
func (d *dynamoReader) State(ctx context.Context, name string) (*pipeline.State, error) {
	state, _, err := d.StateFrom(ctx, name)
	return state, err
}

// StateFrom is State, with the sequence number of the newest event when the reading began.
// Where Head returns the same afterwards, the state is exactly of that event: the head is
// read first, as it sorts before all records, and nothing has been recorded since.
func (d *dynamoReader) StateFrom(ctx context.Context, name string) (*pipeline.State, int64, error) {
	const op = "read state"
	records, head, err := d.view(ctx, name)
	if err != nil {
		return nil, 0, d.fault(ctx, op, err)
	}
	decisions, err := d.decisions.list(ctx, name)
	if err != nil {
		return nil, 0, d.fault(ctx, op, err)
	}
	if head == nil { // what is left of a history that is being purged
		records, decisions = nil, nil
	}
	state, err := stateOf(deciding(records, decisions))
	if err != nil {
		return nil, 0, d.damaged(op, "table %s: %w", d.Table, err)
	}
	return state, head.int("seq"), nil
}

// view reads a pipeline's records and head.
func (d *table) view(ctx context.Context, name string) (records []pipeline.Record, head item, err error) {
	err = d.each(ctx, query{pk: pkView(name)}, func(i item) (bool, error) {
		if i.text("sk") == skHead {
			head = i
			return true, nil
		}
		doc, err := d.doc(ctx, i)
		records = append(records, pipeline.Record{
			Key: pipeline.Key{Kind: pipeline.RecordKind(i.text("kind")), ID: i.text("id")}, Version: i.int("version"), Doc: doc,
		})
		return true, err
	})
	return records, head, err
}

// Pipelines implements pipeline.Ledger.
func (d *dynamoReader) Pipelines(ctx context.Context) ([]string, error) {
	names, err := d.histories(ctx, true)
	return names, d.fault(ctx, "list pipelines", err)
}

// Removed implements pipeline.Ledger.
func (d *dynamoReader) Removed(ctx context.Context) ([]string, error) {
	const op = "list removed pipelines"
	all, err := d.histories(ctx, false)
	if err != nil {
		return nil, d.fault(ctx, op, err)
	}
	defined, err := d.histories(ctx, true)
	removed := slices.DeleteFunc(all, func(name string) bool { return slices.Contains(defined, name) })
	return removed, d.fault(ctx, op, err)
}

// histories lists the pipelines that have a history, or only those that are defined.
func (d *table) histories(ctx context.Context, defined bool) (names []string, err error) {
	err = d.each(ctx, query{pk: pkPipelines}, func(i item) (bool, error) {
		if !defined || i.bool("defined") {
			names = append(names, i.text("sk"))
		}
		return true, nil
	})
	return names, err
}

// Head implements pipeline.Ledger. A pending decision counts as the event that it
// will be.
func (d *dynamoReader) Head(ctx context.Context, name string) (int64, error) {
	head, pending, err := d.heads(ctx, name)
	return head.int("seq") + pending, d.fault(ctx, "read head", err)
}

// Newest implements pipeline.Ledger, by one request.
func (d *dynamoReader) Newest(ctx context.Context, name string) (pipeline.Anchor, error) {
	head, err := d.get(ctx, pkView(name), skHead)
	if err != nil {
		return pipeline.Anchor{}, d.fault(ctx, "read head", err)
	}
	return pipeline.Anchor{Sequence: head.int("seq"), Hash: head.text("hash")}, nil
}

// Run implements pipeline.Ledger.
func (d *dynamoReader) Run(ctx context.Context, name, id string) (pipeline.Run, error) {
	const op = "read run"
	names := []string{name}
	if name == "" {
		var err error
		if names, err = d.histories(ctx, false); err != nil {
			return pipeline.Run{}, d.fault(ctx, op, err)
		}
	}
	for _, name := range names {
		row, err := d.get(ctx, pkRuns(name), id)
		if err != nil {
			return pipeline.Run{}, d.fault(ctx, op, err)
		}
		if row == nil {
			continue
		}
		stored, err := d.get(ctx, pkEvents(name), skEvent(row.int("version")))
		if err != nil {
			return pipeline.Run{}, d.fault(ctx, op, err)
		}
		e, err := d.decodeEvent(ctx, op, stored)
		if err != nil {
			return pipeline.Run{}, err
		}
		if e.Facts.Run == nil || e.Facts.Run.ID != id {
			return pipeline.Run{}, d.damaged(op, "table %s: event %d of %q is not of run %s", d.Table, e.Seq, name, id)
		}
		return *e.Facts.Run, nil
	}
	return pipeline.Run{}, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no run %q", id).WithAdvice(pipeline.Advice{Verb: pipeline.VerbListRuns})
}

// Runs implements pipeline.Ledger. The cursor is the ID of a page's last run.
func (d *dynamoReader) Runs(ctx context.Context, name string, q pipeline.RunQuery) (pipeline.RunPage, error) {
	const op = "list runs"
	if q.Limit <= 0 {
		q.Limit = pageSize
	}
	var page pipeline.RunPage
	err := d.each(ctx, runsOf(name, q), func(i item) (bool, error) {
		if len(page.Runs) == q.Limit { // the row behind the page says that there is another page
			page.Next = page.Runs[q.Limit-1].ID
			return false, nil
		}
		var run pipeline.RunSummary
		if err := json.Unmarshal([]byte(i.text("doc")), &run); err != nil {
			return false, d.damaged(op, "table %s: a run of %q: %w", d.Table, name, err)
		}
		page.Runs = append(page.Runs, run)
		return true, nil
	})
	return page, d.fault(ctx, op, err)
}

// runsOf selects runs by the partition that has the fewest others, newest first.
func runsOf(name string, q pipeline.RunQuery) query {
	r := query{pk: pkRuns(name), before: q.After, backward: true, names: map[string]string{}, values: item{}}
	var conditions []string
	add := func(attribute, value string) {
		if value != "" {
			conditions = append(conditions, "#"+attribute+" = :"+attribute)
			r.names["#"+attribute], r.values[":"+attribute] = attribute, text(value)
		}
	}
	switch {
	case q.Build != "":
		r.pk = pkRunsOfBuild(name, q.Build)
		add("stage", q.Stage)
	case q.Stage != "":
		r.pk = pkRunsOfStage(name, q.Stage)
	}
	add("run_status", string(q.Status))
	r.filter = strings.Join(conditions, " AND ")
	if r.filter == "" {
		r.limit = q.Limit + 1
	}
	return r
}

// Events implements pipeline.Ledger.
func (d *dynamoReader) Events(ctx context.Context, name string, after int64, limit int) ([]pipeline.Event, error) {
	const op = "read events"
	var events []pipeline.Event
	if limit <= 0 {
		return nil, nil
	}
	err := d.each(ctx, query{pk: pkEvents(name), after: skEvent(max(after, 0)), limit: limit}, func(i item) (bool, error) {
		e, err := d.decodeEvent(ctx, op, i)
		events = append(events, e)
		return len(events) < limit, err
	})
	if err != nil {
		return nil, d.fault(ctx, op, err)
	}
	return events, nil
}

func (d *table) decodeEvent(ctx context.Context, op string, i item) (pipeline.Event, error) {
	body, err := d.doc(ctx, i)
	if err != nil {
		return pipeline.Event{}, d.fault(ctx, op, err)
	}
	e, err := pipeline.DecodeEvent(body, i.text("hash"))
	if err != nil {
		return e, d.damaged(op, "table %s: event %s: %w", d.Table, i.text("sk"), err)
	}
	if skEvent(e.Seq) != i.text("sk") {
		return e, d.damaged(op, "table %s: event %d stands where event %s should be", d.Table, e.Seq, i.text("sk"))
	}
	return e, nil
}
