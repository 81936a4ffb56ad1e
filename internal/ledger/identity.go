// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Identity returns the ID of the ledger, which it got when its file was made, and the place
// that SetPlace recorded last; empty before the first time. A copy of the file has both.
func (l *database) Identity(ctx context.Context) (id, place string, err error) {
	if err := l.read.QueryRowContext(ctx, `SELECT id, place FROM identity`).Scan(&id, &place); err != nil {
		return "", "", l.failed(ctx, "identify ledger", err)
	}
	return id, place, nil
}

// SetPlace records where the ledger is.
func (l *database) SetPlace(ctx context.Context, place string) error {
	return l.update(ctx, "identify ledger", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE identity SET place = ?`, place)
		return err
	})
}

// IdentityIn returns the ID of the ledger in the file at path, and changes nothing there. It
// returns CodeNotFound if there is no file.
func IdentityIn(ctx context.Context, path string) (string, error) {
	const op = "identify ledger"
	l := &database{path: path}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", pipeline.Errorf(pipeline.CodeNotFound, op, "%w", err)
	}
	var err error
	if l.read, err = l.pool(1, "query_only(1)"); err != nil {
		return "", l.failed(ctx, op, err)
	}
	id, _, err := l.Identity(ctx)
	return id, errors.Join(err, l.Close())
}
