// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"reflect"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const opVerify = "verify ledger"

// sqliteMaintainer looks after the record as a whole.
type sqliteMaintainer struct{ *database }

// Verify implements pipeline.Ledger. Beside the chain it checks the file's own
// structure, and that the current-state view is what the events add up to: a
// forged approval in the view would open a gate without an event.
//
// A hash is compared with that of the stored bytes, not of an event that was decoded and
// encoded again, so events of earlier versions stay valid.
func (l *sqliteMaintainer) Verify(ctx context.Context, name string) (int64, error) {
	tx, err := l.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one view of all tables
	if err != nil {
		return 0, l.failed(ctx, opVerify, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	if err := l.checkFile(ctx, tx); err != nil {
		return 0, err
	}
	names := []string{name}
	if name == "" {
		names, err = l.names(ctx, opVerify, tx, `SELECT pipeline FROM events UNION SELECT pipeline FROM records UNION SELECT pipeline FROM runs`)
		if err != nil {
			return 0, err
		}
	}
	var total int64
	for _, name := range names {
		last, n, err := l.verifyChain(ctx, tx, name)
		total += n
		if err != nil {
			return total, err
		}
		if err := l.verifyView(ctx, tx, name, last); err != nil {
			return total, err
		}
	}
	return total, nil
}

// checkFile lets SQLite check its pages and indexes.
func (l *sqliteMaintainer) checkFile(ctx context.Context, tx *sql.Tx) error {
	var result string
	if err := tx.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&result); err != nil {
		return l.failed(ctx, opVerify, err)
	}
	if result != "ok" {
		return l.damaged(opVerify, "%s is damaged: %s", l.path, result)
	}
	return nil
}

// verifyChain checks the events one after the other. It returns the records that must exist
// in the end, with their versions, and the number of right events.
func (l *sqliteMaintainer) verifyChain(ctx context.Context, q querier, name string) (map[pipeline.Key]int64, int64, error) {
	last := map[pipeline.Key]int64{}
	var n int64
	prev, builds := "", int64(0)
	err := l.eachEvent(ctx, opVerify, q, name, 0, -1, func(seq int64, hash string, body []byte) error {
		e, err := l.checkEvent(name, n+1, prev, seq, hash, body)
		if err != nil {
			return err
		}
		if !e.CountsOn(builds) {
			return l.damaged(opVerify, "%q: event %d does not count the builds on", name, seq)
		}
		records, err := e.Records()
		if err != nil {
			return l.damaged(opVerify, "%q: event %d: %w", name, seq, err)
		}
		for _, r := range records {
			last[r.Key] = seq
		}
		for _, key := range e.Facts.Gone {
			delete(last, key)
		}
		n, prev, builds = seq, hash, e.Builds
		return nil
	})
	return last, n, err
}

// checkEvent checks that a row is event number want, sealed after prev.
func (l *sqliteMaintainer) checkEvent(name string, want int64, prev string, seq int64, hash string, body []byte) (pipeline.Event, error) {
	if seq != want {
		return pipeline.Event{}, l.damaged(opVerify, "%q: event %d is missing", name, want)
	}
	if pipeline.HashOf(body) != hash {
		return pipeline.Event{}, l.damaged(opVerify, "%q: event %d was changed after it was written", name, seq)
	}
	e, err := l.decodeEvent(opVerify, seq, hash, body)
	switch {
	case err != nil:
		return e, err
	case e.Pipeline != name:
		return e, l.damaged(opVerify, "%q: event %d is one of %q", name, seq, e.Pipeline)
	case e.Prev != prev:
		return e, l.damaged(opVerify, "%q: event %d does not follow the event before it", name, seq)
	}
	return e, nil
}

// verifyView checks that the rows of the view are the records that the events left.
func (l *sqliteMaintainer) verifyView(ctx context.Context, q querier, name string, left map[pipeline.Key]int64) error {
	rows, err := q.QueryContext(ctx, `
		SELECT v.kind, v.id, v.version, v.doc, '', '', '', e.body
			FROM records AS v LEFT JOIN events AS e ON e.pipeline = v.pipeline AND e.seq = v.version WHERE v.pipeline = ?1
		UNION ALL
		SELECT 'run', v.id, v.version, v.summary, v.stage, v.build, v.status, e.body
			FROM runs AS v LEFT JOIN events AS e ON e.pipeline = v.pipeline AND e.seq = v.version WHERE v.pipeline = ?1`, name)
	if err != nil {
		return l.failed(ctx, opVerify, err)
	}
	defer rows.Close()
	for rows.Next() {
		var row viewRow
		var body sql.RawBytes
		if err := rows.Scan(&row.Kind, &row.ID, &row.Version, (*[]byte)(&row.Doc), &row.stage, &row.build, &row.status, &body); err != nil {
			return l.failed(ctx, opVerify, err)
		}
		if left[row.Key] != row.Version || !row.writtenBy(body) {
			return l.damaged(opVerify, "%q: the record of %s %q is not what the events say", name, row.Kind, row.ID)
		}
		delete(left, row.Key)
	}
	if err := rows.Err(); err != nil {
		return l.failed(ctx, opVerify, err)
	}
	for key, version := range left {
		return l.damaged(opVerify, "%q: the record of %s %q, of event %d, is missing", name, key.Kind, key.ID, version)
	}
	return nil
}

// viewRow is a row of records or, with its columns, of runs.
type viewRow struct {
	pipeline.Record
	stage, build, status string
}

// writtenBy reports whether the event with the given body writes the row. A document of an
// earlier version may differ in form.
func (row viewRow) writtenBy(body []byte) bool {
	var e pipeline.Event
	if json.Unmarshal(body, &e) != nil {
		return false
	}
	if row.Kind == pipeline.RecordRun {
		var stored pipeline.RunSummary
		if e.Facts.Run == nil || e.Facts.Run.ID != row.ID || json.Unmarshal(row.Doc, &stored) != nil {
			return false
		}
		s := e.Facts.Run.Summary()
		return reflect.DeepEqual(stored, s) && row.stage == s.Stage && row.build == s.Build && row.status == string(s.Status)
	}
	records, err := e.Records()
	if err != nil {
		return false
	}
	for _, r := range records {
		if r.Key == row.Key {
			return bytes.Equal(r.Doc, row.Doc) || sameRecord(r, row.Record)
		}
	}
	return false
}

// sameRecord reports whether two records are equal once decoded.
func sameRecord(a, b pipeline.Record) bool {
	x, errX := pipeline.NewState([]pipeline.Record{a})
	y, errY := pipeline.NewState([]pipeline.Record{b})
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// Purge implements pipeline.Ledger. The pipeline's leases stay, so that their tokens keep
// growing. A pipeline that does not exist is no error.
func (l *sqliteMaintainer) Purge(ctx context.Context, name string) error {
	const op = "purge pipeline"
	return l.update(ctx, op, func(tx *sql.Tx) error {
		var defined bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM records WHERE pipeline = ? AND kind = 'pipeline')`, name).Scan(&defined)
		if err != nil {
			return err
		}
		if defined {
			return pipeline.Errorf(pipeline.CodeConflict, op, "pipeline %q is still defined", name).
				WithHint("Destroy the pipeline first.")
		}
		for _, table := range []string{"events", "records", "runs"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE pipeline = ?`, name); err != nil {
				return err
			}
		}
		return nil
	})
}
