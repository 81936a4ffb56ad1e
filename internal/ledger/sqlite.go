// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package ledger keeps the durable record of pipelines: pipeline.Ledger on SQLite,
// in one file that several processes may open at the same time.
//
// Events are only ever added. The current-state view (records and runs) is changed in the
// transaction that adds the event, so the two can't disagree, and Verify checks both against
// one another. The package knows no gate rules and makes no events of its own.
//
//	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"), ledger.Options{})
//	if err != nil {
//		return err
//	}
//	defer l.Close()
//	state, err := l.State(ctx, "shop")
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// busyTimeout is how long a transaction waits for one of another process. Those
// take milliseconds; a minute-long one means a process that is stopped or hung.
const busyTimeout = 30 * time.Second

// readers is the number of connections for reading, and so of reads at one time:
// Terraform works on ten resources at once, and a read takes about a millisecond.
const readers = 4

// Options configure a ledger.
type Options struct {
	// Now returns the time of events and leases; time.Now if nil.
	Now func() time.Time
	// Dead reports that the holder of a lease is known to have ended, so that its
	// lease can be taken over before it expires. Nil knows of none. It is called
	// inside a transaction and must not use the ledger.
	Dead func(pipeline.Process) bool
}

// SQLite is a ledger in a file. It is safe for concurrent use. Each port of the ledger is
// a part of its own; the parts share the open file.
type SQLite struct {
	*database
	*sqliteReader
	*sqliteAppender
	*sqliteLeaser
	*sqliteMaintainer
}

var (
	_ pipeline.Ledger     = (*SQLite)(nil)
	_ pipeline.Reader     = (*sqliteReader)(nil)
	_ pipeline.Appender   = (*sqliteAppender)(nil)
	_ pipeline.Leaser     = (*sqliteLeaser)(nil)
	_ pipeline.Maintainer = (*sqliteMaintainer)(nil)
)

// database is the open file: its connections, its transactions and its errors.
type database struct {
	path string
	file os.FileInfo // of the path when it was opened
	view bool        // it is others', and is only read
	now  func() time.Time
	dead func(pipeline.Process) bool

	// There is one connection for writing, so that the goroutines of a process
	// queue for it fairly and only processes compete for the file's lock. It takes
	// that lock when a transaction begins: a transaction that starts as a reader
	// can fail when it comes to write.
	write *sql.DB
	read  *sql.DB
	stmt  statements // on write
}

// Open opens the ledger in the file at path. It creates the file, with its directory, if it
// does not exist; only the owner may read it. The error is CodeCorrupt for a file that is
// damaged or no database, and CodeInvalid for one that can't be written, belongs to another
// program, or was written by a newer version. The caller must Close the ledger.
func Open(ctx context.Context, path string, o Options) (*SQLite, error) {
	l, err := openDatabase(ctx, path, o)
	if err != nil {
		return nil, err
	}
	leases := &sqliteLeaser{l}
	return &SQLite{
		database: l, sqliteReader: &sqliteReader{database: l, known: map[string]known{}},
		sqliteAppender: &sqliteAppender{l, leases}, sqliteLeaser: leases, sqliteMaintainer: &sqliteMaintainer{l},
	}, nil
}

// openDatabase opens the file for all parts of a ledger.
func openDatabase(ctx context.Context, path string, o Options) (*database, error) {
	l := &database{now: o.Now, dead: o.Dead}
	if l.now == nil {
		l.now = time.Now
	}
	if l.dead == nil {
		l.dead = func(pipeline.Process) bool { return false }
	}
	var err error
	if l.path, err = filepath.Abs(path); err != nil {
		return nil, l.failed(ctx, "open ledger", err)
	}
	if err := createFile(l.path); err != nil {
		return nil, l.failed(ctx, "open ledger", err)
	}
	if err := l.connect(ctx); err != nil {
		return nil, errors.Join(l.failed(ctx, "open ledger", err), l.Close())
	}
	return l, nil
}

func (l *database) connect(ctx context.Context) (err error) {
	if l.write, err = l.pool(1, "synchronous(FULL)", "fullfsync(1)"); err != nil {
		return err
	}
	if l.read, err = l.pool(readers, "query_only(1)"); err != nil {
		return err
	}
	if l.file, err = os.Stat(l.path); err != nil {
		return err
	}
	if err := l.migrate(ctx); err != nil {
		return err
	}
	return l.stmt.prepare(ctx, l.write)
}

// pool returns up to size connections to the file, each with the given pragmas.
func (l *database) pool(size int, pragmas ...string) (*sql.DB, error) {
	return l.connections("rw", "0", size, pragmas...)
}

// connections is pool, in a mode of SQLite. A file that is immutable is one that nobody can
// change while it is open.
func (l *database) connections(mode, immutable string, size int, pragmas ...string) (*sql.DB, error) {
	path := filepath.ToSlash(l.path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	pragmas = append(pragmas, "busy_timeout("+strconv.FormatInt(busyTimeout.Milliseconds(), 10)+")")
	file := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": pragmas, "_txlock": {"immediate"}, "_error_rc": {"1"}, "_dqs": {"0"}, "mode": {mode}, "immutable": {immutable},
	}.Encode()}
	connector, err := sqlite.NewConnector(file.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// Close closes the file, after the calls under way.
func (l *database) Close() error {
	var errs []error
	for _, db := range []*sql.DB{l.read, l.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return l.failed(context.Background(), "close ledger", err)
	}
	return nil
}

// update runs f in a transaction that no other can come between. If f or the commit fails,
// nothing was changed.
func (l *database) update(ctx context.Context, op string, f func(*sql.Tx) error) error {
	tx, err := l.write.BeginTx(ctx, nil)
	if err != nil {
		return l.failed(ctx, op, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing, and else err says why
	if err := f(tx); err != nil {
		return l.failed(ctx, op, err)
	}
	if err := l.checkPlace(op); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return l.failed(ctx, op, err)
	}
	return nil
}

// checkPlace refuses to write to a file that is no longer at its path: nobody would read it
// again.
func (l *database) checkPlace(op string) error {
	if now, err := os.Stat(l.path); err != nil || !os.SameFile(now, l.file) {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%s was moved, deleted or replaced while it was in use", l.path).
			WithHint("Put the file back with those beside it, or start over with an empty data directory.")
	}
	return nil
}

// statements are the statements of the transactions that write, prepared once.
type statements struct {
	head, insertEvent               *sql.Stmt
	version, putRecord, goneRecord  *sql.Stmt
	runVersion, putRun, goneRun     *sql.Stmt
	lease, putLease, renew, release *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.head, `SELECT seq, hash, body FROM events WHERE pipeline = ? ORDER BY seq DESC LIMIT 1`},
		{&s.insertEvent, `INSERT INTO events (pipeline, seq, body, hash) VALUES (?, ?, ?, ?)`},

		{&s.version, `SELECT version FROM records WHERE pipeline = ? AND kind = ? AND id = ?`},
		{&s.putRecord, `INSERT INTO records (pipeline, kind, id, version, doc) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (pipeline, kind, id) DO UPDATE SET version = excluded.version, doc = excluded.doc`},
		{&s.goneRecord, `DELETE FROM records WHERE pipeline = ? AND kind = ? AND id = ?`},

		{&s.runVersion, `SELECT version FROM runs WHERE pipeline = ? AND id = ?`},
		{&s.putRun, `INSERT INTO runs (pipeline, id, stage, build, status, version, summary) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (pipeline, id) DO UPDATE SET stage = excluded.stage, build = excluded.build,
				status = excluded.status, version = excluded.version, summary = excluded.summary`},
		{&s.goneRun, `DELETE FROM runs WHERE pipeline = ? AND id = ?`},

		{&s.lease, `SELECT token, holder, expires, ttl FROM leases WHERE key = ?`},
		{&s.putLease, `INSERT INTO leases (key, token, holder, expires, ttl) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET token = excluded.token, holder = excluded.holder,
				expires = excluded.expires, ttl = excluded.ttl`},
		{&s.renew, `UPDATE leases SET expires = ?, ttl = ?, holder = json_patch(holder, ?) WHERE key = ? AND token = ? AND holder IS NOT NULL RETURNING holder`},
		{&s.release, `UPDATE leases SET holder = NULL WHERE key = ? AND token = ?`},
	} {
		var err error
		if *p.to, err = db.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	return nil
}
