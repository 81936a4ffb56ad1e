// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// View reads a ledger and changes nothing in it: no file or table is made, no layout is
// brought up to date, and no lease is taken.
type View struct {
	pipeline.Reader
	verifier
	ID    string // of the ledger, as of the one that writes there
	now   func() time.Time
	close func() error
}

// verifier is the part of a maintainer that only reads.
type verifier interface {
	Verify(ctx context.Context, pipeline string) (int64, error)
}

// ViewOf returns the view of a ledger with an ID that is open. Closing the view leaves the
// ledger open.
func ViewOf(l pipeline.Ledger, id string) *View {
	v := &View{Reader: l, verifier: l, ID: id, now: time.Now, close: func() error { return nil }}
	if d, ok := l.(*Dynamo); ok {
		v.verifier = d.dynamoMaintainer
	}
	return v
}

// OpenView opens the ledger in the file at path to read it. The error is CodeNotFound if there
// is no file, CodeCorrupt for one that is damaged or no database, and CodeInvalid for one that
// can't be read, belongs to another program, or was written by another version. The caller
// must Close the view.
func OpenView(ctx context.Context, path string) (*View, error) {
	const op = "read ledger"
	l := &database{view: true, now: time.Now, dead: func(pipeline.Process) bool { return false }}
	var err error
	if l.path, err = filepath.Abs(path); err != nil {
		return nil, l.failed(ctx, op, err)
	}
	switch info, err := os.Stat(l.path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no ledger %s", l.path).WithHint("Name the directory of a ledger that exists.")
	case err != nil:
		return nil, l.failed(ctx, op, err)
	case !info.Mode().IsRegular():
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%s is not a regular file", l.path).WithHint("Name the directory of a ledger.")
	}
	version, err := l.look(ctx)
	if err == nil && version < len(migrations()) {
		err = pipeline.Errorf(pipeline.CodeInvalid, op, "%s has schema version %d, and this version of Penstock needs %d", l.path, version, len(migrations())).
			WithHint("An older Penstock has used this ledger. Plan once there with this version, which brings it up to date.")
	}
	id := ""
	if err == nil {
		id, _, err = l.Identity(ctx)
	}
	if err != nil {
		return nil, errors.Join(l.failed(ctx, op, err), l.Close())
	}
	return &View{Reader: &sqliteReader{database: l, known: map[string]known{}}, verifier: &sqliteMaintainer{l}, ID: id, now: time.Now, close: l.Close}, nil
}

// look connects for reading alone, and returns the schema's version. SQLite keeps files of its
// own beside the ledger while it is open. It removes them in the end if it may write there.
// Where it may not, and nobody else has the ledger open, it needs none.
func (l *database) look(ctx context.Context) (int, error) {
	var err error
	if l.read, err = l.pool(readers, "query_only(1)"); err != nil {
		return 0, err
	}
	version, err := l.schemaVersion(ctx, l.read)
	if code := resultCode(err); code != sqlite3.SQLITE_CANTOPEN && code != sqlite3.SQLITE_READONLY {
		return version, err
	}
	if _, open := os.Stat(l.path + "-wal"); open == nil {
		return 0, err
	}
	still, failed := l.still()
	if failed != nil {
		return 0, err
	}
	_ = l.read.Close() // nothing was read
	l.read = still
	return l.schemaVersion(ctx, l.read)
}

// still returns connections to a file that nobody can change.
func (l *database) still() (*sql.DB, error) {
	return l.connections("ro", "1", readers, "query_only(1)")
}

// ViewDynamo opens the ledger in a table to read it. It returns CodeNotFound if there is no
// such table or nobody has written to it, and CodeInvalid for a layout that this program does
// not know. It needs the rights to get items and to query, and to get the large documents.
func ViewDynamo(ctx context.Context, o DynamoOptions) (*View, error) {
	const op = "read ledger"
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &table{o}
	meta, err := d.get(ctx, pkMeta, skSchema)
	switch {
	case err != nil:
		return nil, d.fault(ctx, op, err)
	case meta == nil:
		return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "table %s has no ledger yet: nobody has applied a pipeline there", d.Table).WithHint("Apply the pipeline there first.")
	}
	if err := d.checkLayout(op, meta); err != nil {
		return nil, err
	}
	decisions := &dynamoDecisions{d}
	return &View{Reader: &dynamoReader{d, decisions}, verifier: &dynamoMaintainer{d, decisions}, ID: meta.text("id"), now: o.Now, close: func() error { return nil }}, nil
}

// Close ends the view.
func (v *View) Close() error { return v.close() }

// settling bounds how long Verified waits for a pipeline that is being written to.
var settling = poll.Schedule{First: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 2, Limit: 30 * time.Second, What: "a moment at which nobody writes the history"}

// Verified reads a pipeline's state with the newest event that it is of, and verifies the
// history up to that, from what was verified before on, if that is known and the ledger is one
// in which it pays. Somebody may write it meanwhile, which looks like damage on AWS: what is
// found then is looked at again. A history that is not what was written is CodeCorrupt. A
// pipeline without a history has the zero anchor.
func (v *View) Verified(ctx context.Context, name string, known Checked) (st *pipeline.State, now Checked, err error) {
	if f, ok := v.verifier.(follower); ok && known.counts(v.now()) {
		st, now, follows, err := f.follow(ctx, name, known)
		if err == nil && follows || ctx.Err() != nil {
			return st, now, err
		}
	}
	err = poll.Until(ctx, settling, func(ctx context.Context) (poll.Probe, error) {
		before, err := v.Newest(ctx, name)
		if err != nil {
			return poll.Probe{}, err
		}
		var n int64
		var damage error
		st, now, n, damage = v.whole(ctx, name)
		if now.Head, err = v.Newest(ctx, name); err != nil {
			return poll.Probe{}, err
		}
		switch {
		case now.Head != before && (damage == nil || pipeline.CodeOf(damage) == pipeline.CodeCorrupt):
			return poll.Probe{State: "it is being written"}, nil
		case damage != nil:
			return poll.Probe{}, damage
		case n != now.Head.Sequence:
			return poll.Probe{}, pipeline.Errorf(pipeline.CodeCorrupt, opVerify, "%q: the history has %s, and its head is event %d", name, pipeline.Count(int(n), "event"), now.Head.Sequence)
		}
		now.Whole = v.now()
		return poll.Probe{Done: true}, nil
	})
	return st, now, err
}

// whole verifies a history from its first event on. It returns the state, and how many events
// are right.
func (v *View) whole(ctx context.Context, name string) (st *pipeline.State, now Checked, n int64, err error) {
	if f, ok := v.verifier.(follower); ok {
		st, now, err = f.whole(ctx, name)
		return st, now, now.Head.Sequence, err
	}
	if n, err = v.Verify(ctx, name); err != nil {
		return nil, now, n, err
	}
	st, err = v.State(ctx, name)
	return st, now, n, err
}
