// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// pageSize is the number of runs in a page whose query sets no limit.
const pageSize = 100

const stateQuery = `SELECT kind, id, version, doc FROM records WHERE pipeline = ?`

// catchUp is how many events are at most applied to a state that was read before. More of
// them cost about as much as reading the state.
const catchUp = 100

// sqliteReader reads what is recorded. It keeps the states that it has read.
type sqliteReader struct {
	*database
	mu    sync.Mutex
	known map[string]known // by pipeline
}

// known is the state of a pipeline as of an event.
type known struct {
	seq   int64
	hash  string
	state *pipeline.State
}

// State implements pipeline.Ledger. Its cost depends on the number of records and not on that
// of runs or events. If the records have been read before, it depends on the events since.
func (l *sqliteReader) State(ctx context.Context, name string) (*pipeline.State, error) {
	const op = "read state"
	l.mu.Lock()
	k, ok := l.known[name]
	l.mu.Unlock()
	if ok {
		var err error
		if k, ok, err = l.follow(ctx, op, name, k); err != nil {
			return nil, err
		}
	}
	if !ok {
		var err error
		if k, err = l.readState(ctx, op, name); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	l.known[name] = k
	l.mu.Unlock()
	return k.state, nil
}

// follow applies the events since to a state. ok is false if there are too many, or the
// history is gone.
func (l *sqliteReader) follow(ctx context.Context, op, name string, k known) (_ known, ok bool, err error) {
	var events []pipeline.Event
	err = l.eachEvent(ctx, op, l.read, name, k.seq-1, catchUp+2, func(seq int64, hash string, body []byte) error {
		e, err := l.decodeEvent(op, seq, hash, body)
		events = append(events, e)
		return err
	})
	if err != nil || len(events) == 0 || len(events) > catchUp+1 || events[0].Seq != k.seq || events[0].Hash != k.hash {
		return k, false, err
	}
	if len(events) == 1 {
		return k, true, nil
	}
	last := events[len(events)-1]
	k.seq, k.hash = last.Seq, last.Hash
	if k.state, err = k.state.With(events[1:]); err != nil {
		return k, false, l.damaged(op, "%s: %w", l.path, err)
	}
	return k, true, nil
}

// readState reads all records, and the newest event that they are of.
func (l *sqliteReader) readState(ctx context.Context, op, name string) (k known, err error) {
	tx, err := l.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one view of both tables
	if err != nil {
		return k, l.failed(ctx, op, err)
	}
	defer func() { _ = tx.Rollback() }()
	err = tx.QueryRowContext(ctx, `SELECT seq, hash FROM events WHERE pipeline = ? ORDER BY seq DESC LIMIT 1`, name).Scan(&k.seq, &k.hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return k, l.failed(ctx, op, err)
	}
	k.state, err = l.records(ctx, op, tx, name)
	return k, err
}

func (l *sqliteReader) records(ctx context.Context, op string, q querier, name string) (*pipeline.State, error) {
	rows, err := q.QueryContext(ctx, stateQuery, name)
	if err != nil {
		return nil, l.failed(ctx, op, err)
	}
	defer rows.Close()
	var decoding stateDecoder
	for rows.Next() {
		var r pipeline.Record
		if err := rows.Scan(&r.Kind, &r.ID, &r.Version, (*[]byte)(&r.Doc)); err != nil {
			return nil, l.failed(ctx, op, err)
		}
		decoding.add(r)
	}
	if err := rows.Err(); err != nil {
		return nil, l.failed(ctx, op, err)
	}
	state, err := decoding.state()
	if err != nil {
		return nil, l.damaged(op, "%s: %w", l.path, err)
	}
	return state, nil
}

// Removed implements pipeline.Ledger.
func (l *sqliteReader) Removed(ctx context.Context) ([]string, error) {
	return l.names(ctx, "list removed pipelines", l.read,
		`SELECT pipeline FROM events EXCEPT SELECT pipeline FROM records WHERE kind = 'pipeline' ORDER BY pipeline`)
}

// Pipelines implements pipeline.Ledger.
func (l *sqliteReader) Pipelines(ctx context.Context) ([]string, error) {
	return l.names(ctx, "list pipelines", l.read, `SELECT pipeline FROM records WHERE kind = 'pipeline' ORDER BY pipeline`)
}

func (l *database) names(ctx context.Context, op string, q querier, query string) ([]string, error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, l.failed(ctx, op, err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, l.failed(ctx, op, err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, l.failed(ctx, op, err)
	}
	return names, nil
}

// Run implements pipeline.Ledger.
func (l *sqliteReader) Run(ctx context.Context, name, id string) (pipeline.Run, error) {
	const op = "read run"
	var seq int64
	var hash string
	var body []byte
	err := l.read.QueryRowContext(ctx, `SELECT e.seq, e.hash, e.body
		FROM runs AS r INDEXED BY runs_id JOIN events AS e ON e.pipeline = r.pipeline AND e.seq = r.version
		WHERE r.id = ? AND ? IN ('', r.pipeline) ORDER BY r.pipeline LIMIT 1`, id, name).Scan(&seq, &hash, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return pipeline.Run{}, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no run %q", id).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbListRuns, Pipeline: name})
	}
	if err != nil {
		return pipeline.Run{}, l.failed(ctx, op, err)
	}
	e, err := l.decodeEvent(op, seq, hash, body)
	if err != nil {
		return pipeline.Run{}, err
	}
	if e.Facts.Run == nil || e.Facts.Run.ID != id {
		return pipeline.Run{}, l.damaged(op, "%s: event %d of %q is not of run %s", l.path, seq, e.Pipeline, id)
	}
	return *e.Facts.Run, nil
}

// Runs implements pipeline.Ledger. The cursor is the ID of a page's last run, so
// runs that begin between two pages don't shift the second.
func (l *sqliteReader) Runs(ctx context.Context, name string, q pipeline.RunQuery) (pipeline.RunPage, error) {
	const op = "list runs"
	if q.Limit <= 0 {
		q.Limit = pageSize
	}
	query, args := runsQuery(name, q)
	rows, err := l.read.QueryContext(ctx, query, args...)
	if err != nil {
		return pipeline.RunPage{}, l.failed(ctx, op, err)
	}
	defer rows.Close()
	var page pipeline.RunPage
	for rows.Next() {
		if len(page.Runs) == q.Limit { // the row behind the page says that there is another page
			page.Next = page.Runs[q.Limit-1].ID
			break
		}
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return pipeline.RunPage{}, l.failed(ctx, op, err)
		}
		var run pipeline.RunSummary
		if err := json.Unmarshal(doc, &run); err != nil {
			return pipeline.RunPage{}, l.damaged(op, "%s: a run of %q: %w", l.path, name, err)
		}
		page.Runs = append(page.Runs, run)
	}
	if err := rows.Err(); err != nil {
		return pipeline.RunPage{}, l.failed(ctx, op, err)
	}
	return page, nil
}

// runsQuery selects a page and the row behind it. It names the index that returns the rows in
// order: SQLite, which keeps no statistics here, may prefer to sort. A build has few runs, so
// its index also serves a build's runs of a stage or status.
func runsQuery(name string, q pipeline.RunQuery) (string, []any) {
	where, args := []string{"pipeline = ?"}, []any{name}
	add := func(condition, value string) {
		if value != "" {
			where, args = append(where, condition), append(args, value)
		}
	}
	add("build = ?", q.Build)
	add("stage = ?", q.Stage)
	add("status = ?", string(q.Status))
	add("id < ?", q.After)
	index := "sqlite_autoindex_runs_1" // of the primary key
	switch {
	case q.Build != "":
		index = "runs_build"
	case q.Stage != "" && q.Status != "":
		index = "runs_stage_status"
	case q.Stage != "":
		index = "runs_stage"
	case q.Status != "":
		index = "runs_status"
	}
	return fmt.Sprintf("SELECT summary FROM runs INDEXED BY %s WHERE %s ORDER BY id DESC LIMIT ?", index, strings.Join(where, " AND ")),
		append(args, q.Limit+1)
}

// Events implements pipeline.Ledger.
func (l *sqliteReader) Events(ctx context.Context, name string, after int64, limit int) ([]pipeline.Event, error) {
	const op = "read events"
	var events []pipeline.Event
	err := l.eachEvent(ctx, op, l.read, name, after, max(limit, 0), func(seq int64, hash string, body []byte) error {
		e, err := l.decodeEvent(op, seq, hash, body)
		events = append(events, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// eachEvent calls f for the events after a number, oldest first; a negative limit
// means all. The body is valid until f returns.
func (l *database) eachEvent(ctx context.Context, op string, q querier, name string, after int64, limit int, f func(seq int64, hash string, body []byte) error) error {
	rows, err := q.QueryContext(ctx, `SELECT seq, hash, body FROM events WHERE pipeline = ? AND seq > ? ORDER BY seq LIMIT ?`, name, after, limit)
	if err != nil {
		return l.failed(ctx, op, err)
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var hash string
		var body sql.RawBytes
		if err := rows.Scan(&seq, &hash, &body); err != nil {
			return l.failed(ctx, op, err)
		}
		if err := f(seq, hash, body); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return l.failed(ctx, op, err)
	}
	return nil
}

// Head implements pipeline.Ledger.
func (l *sqliteReader) Head(ctx context.Context, name string) (int64, error) {
	var head int64
	err := l.read.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM events WHERE pipeline = ?`, name).Scan(&head)
	if err != nil {
		return 0, l.failed(ctx, "read head", err)
	}
	return head, nil
}

// Newest implements pipeline.Ledger.
func (l *sqliteReader) Newest(ctx context.Context, name string) (pipeline.Anchor, error) {
	var a pipeline.Anchor
	err := l.read.QueryRowContext(ctx, `SELECT seq, hash FROM events WHERE pipeline = ? ORDER BY seq DESC LIMIT 1`, name).Scan(&a.Sequence, &a.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return pipeline.Anchor{}, l.failed(ctx, "read head", err)
	}
	return a, nil
}

// decodeEvent reads a row of events.
func (l *database) decodeEvent(op string, seq int64, hash string, body []byte) (pipeline.Event, error) {
	e, err := pipeline.DecodeEvent(body, hash)
	if err != nil {
		return e, l.damaged(op, "%s: event %d: %w", l.path, seq, err)
	}
	if e.Seq != seq {
		return e, l.damaged(op, "%s: event %d stands where event %d should be", l.path, e.Seq, seq)
	}
	return e, nil
}
