// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// applicationID marks a file as a ledger: "PENS".
const applicationID = 0x50454e53

// migrations lead from an empty file to the present schema. The number of those
// applied is the schema's version, in user_version. A released one is never
// changed.
//
// An event's body is the JSON that its hash is of. It contains all of the event, so there is
// no second copy to disagree with it; in the sqlite3 shell, body ->> '$.kind' and so on show
// its parts. A run's row has what listings need: the run itself is in the event that wrote it
// last, whose number is the version.
func migrations() []string {
	return []string{`
CREATE TABLE events (
	pipeline TEXT NOT NULL,
	seq INTEGER NOT NULL,
	body TEXT NOT NULL,
	hash TEXT NOT NULL,
	PRIMARY KEY (pipeline, seq)
) STRICT;

CREATE TABLE records (
	pipeline TEXT NOT NULL,
	kind TEXT NOT NULL,
	id TEXT NOT NULL,
	version INTEGER NOT NULL,
	doc TEXT NOT NULL,
	PRIMARY KEY (pipeline, kind, id)
) STRICT, WITHOUT ROWID; -- so that the records of a pipeline lie together: they are read together
CREATE INDEX records_pipelines ON records (pipeline) WHERE kind = 'pipeline';

CREATE TABLE runs (
	pipeline TEXT NOT NULL,
	id TEXT NOT NULL,
	stage TEXT NOT NULL,
	build TEXT NOT NULL,
	status TEXT NOT NULL,
	version INTEGER NOT NULL,
	summary TEXT NOT NULL,
	PRIMARY KEY (pipeline, id)
) STRICT;
CREATE INDEX runs_id ON runs (id);
CREATE INDEX runs_build ON runs (pipeline, build, id);
CREATE INDEX runs_stage ON runs (pipeline, stage, id);
CREATE INDEX runs_status ON runs (pipeline, status, id);
CREATE INDEX runs_stage_status ON runs (pipeline, stage, status, id);

CREATE TABLE leases (
	key TEXT NOT NULL PRIMARY KEY,
	token INTEGER NOT NULL,
	holder TEXT, -- NULL when nobody holds it
	expires INTEGER NOT NULL, -- nanoseconds since 1970
	ttl INTEGER NOT NULL -- nanoseconds
) STRICT;
`, `
CREATE TABLE identity (
	id TEXT NOT NULL, -- of this ledger; a copy of the file has it, too
	place TEXT NOT NULL -- where it was opened last
) STRICT;
INSERT INTO identity (id, place) VALUES ('l-' || lower(hex(randomblob(8))), '');
`}
}

// migrate brings the file to the present schema. Several processes may try at once: one does
// it, the others find it done.
func (l *database) migrate(ctx context.Context) error {
	current, err := l.schemaVersion(ctx, l.write)
	if err != nil || current == len(migrations()) {
		return err
	}
	if err := l.useWAL(ctx); err != nil {
		return err
	}
	return l.update(ctx, "open ledger", func(tx *sql.Tx) error {
		done, err := l.schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		for _, m := range migrations()[done:] {
			if _, err := tx.ExecContext(ctx, m); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations())))
		return err
	})
}

// querier is a pool or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// schemaVersion returns the number of migrations that the file has had. It refuses
// a file that isn't a ledger, or that has had more than this program knows.
func (l *database) schemaVersion(ctx context.Context, q querier) (int, error) {
	var version, application, tables int
	err := q.QueryRowContext(ctx, `SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_user_version, pragma_application_id`).Scan(&version, &application, &tables)
	switch {
	case err != nil:
		return 0, err
	case application != applicationID && (tables > 0 || application != 0 || version != 0):
		return 0, pipeline.Errorf(pipeline.CodeInvalid, "open ledger", "%s is a database of another program", l.path).
			WithHint("Choose another data directory, or move the file elsewhere.")
	case version > len(migrations()):
		return 0, pipeline.Errorf(pipeline.CodeInvalid, "open ledger", "%s has schema version %d, and this version of Penstock knows up to %d",
			l.path, version, len(migrations())).WithHint("A newer Penstock has used this ledger. Upgrade this one to the same version or a later one.")
	}
	return version, nil
}

// useWAL makes readers and the writer independent, permanently. If two processes do it at
// once, SQLite refuses one of them without waiting.
func (l *database) useWAL(ctx context.Context) error {
	schedule := poll.Schedule{First: 5 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 2, Limit: busyTimeout, What: "the lock on " + l.path}
	return poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
		var mode string
		err := l.write.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		switch {
		case resultCode(err) == sqlite3.SQLITE_BUSY:
			return poll.Probe{}, poll.Retryable(err)
		case err == nil && mode != "wal":
			return poll.Probe{}, pipeline.Errorf(pipeline.CodeInvalid, "open ledger", "the file system of %s can't share memory between processes", l.path).
				WithHint("Put the data directory on a disk of this machine, not on a network share.")
		}
		return poll.Probe{Done: true}, err
	})
}

// resultCode returns SQLite's primary result code of an error; 0 for other errors.
func resultCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
