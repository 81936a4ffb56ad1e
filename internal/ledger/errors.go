// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// failed classifies an error of SQLite or of the file system by what can be done about it. It
// returns an error that has a code already unchanged.
func (l *database) failed(ctx context.Context, op string, err error) error {
	var known *pipeline.Error
	if errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	}
	var fault *sqlite.Error
	if errors.As(err, &fault) {
		return l.fault(op, fault)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return l.full(op, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return l.unusable(op, err)
	}
	return pipeline.Errorf(pipeline.CodeInternal, op, "%s: %w", l.path, err)
}

// fault classifies an error of SQLite; see https://www.sqlite.org/rescode.html.
func (l *database) fault(op string, err *sqlite.Error) error {
	if err.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // the index of the log could not grow
		return l.full(op, err)
	}
	switch err.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return l.full(op, err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return l.damaged(op, "%s is damaged, or not a ledger: %w", l.path, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return l.unusable(op, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL:
		return pipeline.Errorf(pipeline.CodeFailed, op, "another process keeps %s locked: %w", l.path, err).
			WithHint("Find the Penstock process that hangs or is stopped, and let it continue or end it.")
	case sqlite3.SQLITE_IOERR:
		return pipeline.Errorf(pipeline.CodeFailed, op, "%s: %w", l.path, err).WithHint("Check the disk that holds %s.", l.path)
	}
	return pipeline.Errorf(pipeline.CodeInternal, op, "%s: %w", l.path, err)
}

func (l *database) full(op string, err error) error {
	return pipeline.Errorf(pipeline.CodeFailed, op, "no space left for %s: %w", l.path, err).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbCollect})
}

func (l *database) unusable(op string, err error) error {
	if l.view {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "can't read %s: %w", l.path, err).
			WithHint("Name a data directory that this user may read, or ask its owners for that right.")
	}
	return pipeline.Errorf(pipeline.CodeInvalid, op, "can't write %s: %w", l.path, err).
		WithHint("Choose a data directory that this user may write to, or give this user that right.")
}

// damaged makes the error for stored data that is not what was written.
func (l *database) damaged(op, format string, args ...any) error {
	if l.view {
		return pipeline.Errorf(pipeline.CodeCorrupt, op, format, args...).
			WithHint("Tell the owners of %s, who can restore it from a backup.", l.path)
	}
	return pipeline.Errorf(pipeline.CodeCorrupt, op, format, args...).
		WithHint("Restore %[1]s from a backup. Without one, move %[1]s and the files %[1]s-wal and -shm away, and start over with an empty ledger.", l.path)
}
