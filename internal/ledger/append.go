// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const opAppend = "append to ledger"

// sqliteAppender records what happens, under the leases that the batches name.
type sqliteAppender struct {
	*database
	leases *sqliteLeaser
}

// Append implements pipeline.Ledger.
func (l *sqliteAppender) Append(ctx context.Context, b pipeline.Batch) ([]pipeline.Event, error) {
	if b.Pipeline == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "the batch names no pipeline")
	}
	var sealed []pipeline.Event
	err := l.update(ctx, opAppend, func(tx *sql.Tx) error {
		if err := l.checkFence(ctx, tx, b.Fence); err != nil {
			return err
		}
		if err := l.checkVersions(ctx, tx, b); err != nil {
			return err
		}
		var err error
		sealed, err = l.appendEvents(ctx, tx, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sealed, nil
}

// checkFence refuses a lease that another process has taken over, or that was released.
func (l *sqliteAppender) checkFence(ctx context.Context, tx *sql.Tx, fence *pipeline.Lease) error {
	if fence == nil {
		return nil
	}
	row, err := l.leases.readLease(ctx, tx, fence.Key)
	if err != nil {
		return err
	}
	if !row.locked || row.Token != fence.Token {
		return leaseLost(opAppend, *fence, row)
	}
	return nil
}

// checkVersions refuses a batch that was made from records that have changed.
func (l *sqliteAppender) checkVersions(ctx context.Context, tx *sql.Tx, b pipeline.Batch) error {
	keys := slices.SortedFunc(maps.Keys(b.Expect), func(x, y pipeline.Key) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.ID, y.ID))
	})
	for _, key := range keys {
		row := tx.StmtContext(ctx, l.stmt.version).QueryRowContext
		args := []any{b.Pipeline, string(key.Kind), key.ID}
		if key.Kind == pipeline.RecordRun {
			row, args = tx.StmtContext(ctx, l.stmt.runVersion).QueryRowContext, []any{b.Pipeline, key.ID}
		}
		var version int64
		if err := row(ctx, args...).Scan(&version); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if want := b.Expect[key]; version != want {
			return conflict(key, want, version)
		}
	}
	return nil
}

func conflict(key pipeline.Key, want, found int64) error {
	var err *pipeline.Error
	switch {
	case want == 0:
		err = pipeline.Errorf(pipeline.CodeConflict, opAppend, "%s %q exists already, since event %d", key.Kind, key.ID, found)
	case found == 0:
		err = pipeline.Errorf(pipeline.CodeConflict, opAppend, "%s %q was removed meanwhile", key.Kind, key.ID)
	default:
		err = pipeline.Errorf(pipeline.CodeConflict, opAppend, "%s %q was changed meanwhile, by event %d", key.Kind, key.ID, found)
	}
	return err.WithHint("Look at the current state and try again.")
}

// appendEvents adds the batch's events to the pipeline's chain, and changes the view.
func (l *sqliteAppender) appendEvents(ctx context.Context, tx *sql.Tx, b pipeline.Batch) ([]pipeline.Event, error) {
	last, err := l.readHead(ctx, tx, b.Pipeline)
	if err != nil {
		return nil, err
	}
	w := writer{
		pipeline: b.Pipeline, event: tx.StmtContext(ctx, l.stmt.insertEvent),
		put: tx.StmtContext(ctx, l.stmt.putRecord), gone: tx.StmtContext(ctx, l.stmt.goneRecord),
		putRun: tx.StmtContext(ctx, l.stmt.putRun), goneRun: tx.StmtContext(ctx, l.stmt.goneRun),
	}
	now := l.now()
	sealed := make([]pipeline.Event, 0, len(b.Events))
	for _, e := range b.Events {
		e.Pipeline = b.Pipeline
		body, err := seal(&e, last, now, b.Sealed)
		if err != nil {
			return nil, err
		}
		if err := w.write(ctx, e, body); err != nil {
			return nil, err
		}
		sealed = append(sealed, e)
		last = e
	}
	return sealed, nil
}

// readHead returns the newest event of a pipeline; the zero event for none.
func (l *sqliteAppender) readHead(ctx context.Context, tx *sql.Tx, name string) (pipeline.Event, error) {
	var seq int64
	var hash string
	var body []byte
	err := tx.StmtContext(ctx, l.stmt.head).QueryRowContext(ctx, name).Scan(&seq, &hash, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return pipeline.Event{}, nil
	}
	if err != nil {
		return pipeline.Event{}, err
	}
	return l.decodeEvent(opAppend, seq, hash, body)
}

// seal completes e as the event after last, or checks that it is that already. It returns the
// JSON that the hash is of.
func seal(e *pipeline.Event, last pipeline.Event, now time.Time, sealed bool) ([]byte, error) {
	if sealed {
		if e.Seq != last.Seq+1 || e.Prev != last.Hash {
			return nil, pipeline.Errorf(pipeline.CodeConflict, opAppend, "event %d does not follow event %d, the newest", e.Seq, last.Seq).
				WithHint("Look at the current state and try again.")
		}
		if err := e.Check(e.Seq, e.Prev); err != nil {
			return nil, err
		}
		if !e.CountsOn(last.Builds) {
			return nil, pipeline.Errorf(pipeline.CodeCorrupt, opAppend, "event %d does not count the builds on from event %d", e.Seq, last.Seq)
		}
		if e.Body == nil {
			return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %d is without what was sealed", e.Seq)
		}
		return e.Body, nil
	}
	body, err := sealOnce(e, last, now)
	if err != nil || !bytes.Contains(body, []byte(`\ufffd`)) {
		return body, err
	}
	// A text that is not UTF-8, such as the output of a command, was replaced in the JSON.
	// The hash must be of what is read back.
	var read pipeline.Event
	if err := json.Unmarshal(body, &read); err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %q: %w", e.Kind, err)
	}
	*e = read
	return sealOnce(e, last, now)
}

func sealOnce(e *pipeline.Event, last pipeline.Event, now time.Time) ([]byte, error) {
	if err := e.Seal(last, now); err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %q: %w", e.Kind, err)
	}
	return e.Body, nil
}

// writer stores sealed events and what they change in the view.
type writer struct {
	pipeline                          string
	event, put, gone, putRun, goneRun *sql.Stmt
}

func (w writer) write(ctx context.Context, e pipeline.Event, body []byte) error {
	if _, err := w.event.ExecContext(ctx, w.pipeline, e.Seq, string(body), e.Hash); err != nil {
		return err
	}
	records, err := e.Records()
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %q: %w", e.Kind, err)
	}
	for _, r := range records {
		if r.Kind == pipeline.RecordRun {
			err = w.writeRun(ctx, e.Facts.Run.Summary(), r.Version)
		} else {
			_, err = w.put.ExecContext(ctx, w.pipeline, string(r.Kind), r.ID, r.Version, string(r.Doc))
		}
		if err != nil {
			return err
		}
	}
	for _, key := range e.Facts.Gone {
		if key.Kind == pipeline.RecordRun {
			_, err = w.goneRun.ExecContext(ctx, w.pipeline, key.ID)
		} else {
			_, err = w.gone.ExecContext(ctx, w.pipeline, string(key.Kind), key.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w writer) writeRun(ctx context.Context, s pipeline.RunSummary, version int64) error {
	summary, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = w.putRun.ExecContext(ctx, w.pipeline, s.ID, s.Stage, s.Build, string(s.Status), version, string(summary))
	return err
}
