// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// sqliteLeaser keeps the leases.
type sqliteLeaser struct{ *database }

// leaseRow is a row of leases. A key keeps its row permanently, so that its tokens never
// start again from the beginning.
type leaseRow struct {
	pipeline.Lease
	locked bool
	claim  string        // of who took it, among all; only in a table
	ttl    time.Duration // with which the lease was last taken or renewed
}

// Acquire implements pipeline.Ledger.
//
// The lease expires by the clock of whoever asks. If that clock is far behind the one that
// the lease was written by (it was set back, or is of another machine), the lease would seem
// to last longer than anyone ever asked for. So its end is brought forward to the lease's own
// ttl from now: a living holder renews it in time, and a dead one keeps it for at most one
// ttl from when the first other asked. A clock that runs ahead ends leases early; the token
// then keeps the former holder from writing.
func (l *sqliteLeaser) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (pipeline.Lease, error) {
	const op = "take lease"
	if key == "" || ttl <= 0 {
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeInvalid, op, "key %q with a time to live of %s: both must be set", key, ttl)
	}
	now := l.now().UTC().Round(0)
	if h.Since.IsZero() {
		h.Since = now
	}
	var taken pipeline.Lease
	var other *pipeline.LockedError
	err := l.update(ctx, op, func(tx *sql.Tx) error {
		row, err := l.readLease(ctx, tx, key)
		if err != nil {
			return err
		}
		if row.locked && now.Before(row.Expires) && !l.dead(row.Holder.Process) {
			latest := now.Add(row.ttl)
			if !row.Expires.After(latest) {
				other = &pipeline.LockedError{Lease: row.Lease}
				return nil
			}
			row.Expires = latest
			other = &pipeline.LockedError{Lease: row.Lease}
			return l.writeLease(ctx, tx, row.Lease, row.ttl)
		}
		taken = pipeline.Lease{Key: key, Token: nextToken(row.Token, now), Holder: h, Expires: now.Add(ttl)}
		return l.writeLease(ctx, tx, taken, ttl)
	})
	switch {
	case err != nil:
		return pipeline.Lease{}, err
	case other != nil:
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeLocked, op, "%w", other)
	}
	return taken, nil
}

// Renew implements pipeline.Ledger. A lease that has expired, and that nobody has
// taken since, is still current.
func (l *sqliteLeaser) Renew(ctx context.Context, lease pipeline.Lease, ttl time.Duration) (pipeline.Lease, error) {
	const op = "renew lease"
	if ttl <= 0 {
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeInvalid, op, "a time to live of %s must be positive", ttl)
	}
	does := map[string]any{"activity": nil} // takes it out
	if lease.Holder.Activity != (pipeline.Activity{}) {
		does["activity"] = lease.Holder.Activity
	}
	patch, err := json.Marshal(does)
	if err != nil {
		return pipeline.Lease{}, fmt.Errorf("encode activity: %w", err)
	}
	renewed := pipeline.Lease{Key: lease.Key, Token: lease.Token, Expires: l.now().UTC().Round(0).Add(ttl)}
	err = l.update(ctx, op, func(tx *sql.Tx) error {
		var holder []byte
		err := tx.StmtContext(ctx, l.stmt.renew).QueryRowContext(ctx, renewed.Expires.UnixNano(), int64(ttl), string(patch), lease.Key, lease.Token).Scan(&holder)
		if errors.Is(err, sql.ErrNoRows) {
			row, err := l.readLease(ctx, tx, lease.Key)
			if err != nil {
				return err
			}
			return leaseLost(op, lease, row)
		}
		if err != nil {
			return err
		}
		return l.decodeHolder(lease.Key, holder, &renewed.Holder)
	})
	if err != nil {
		return pipeline.Lease{}, err
	}
	return renewed, nil
}

// Release implements pipeline.Ledger.
func (l *sqliteLeaser) Release(ctx context.Context, lease pipeline.Lease) error {
	return l.update(ctx, "release lease", func(tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, l.stmt.release).ExecContext(ctx, lease.Key, lease.Token)
		return err
	})
}

// Leases implements pipeline.Ledger.
func (l *sqliteLeaser) Leases(ctx context.Context) ([]pipeline.Lease, error) {
	const op = "list leases"
	rows, err := l.read.QueryContext(ctx, `SELECT key, token, holder, expires FROM leases WHERE holder IS NOT NULL ORDER BY key`)
	if err != nil {
		return nil, l.failed(ctx, op, err)
	}
	defer rows.Close()
	var leases []pipeline.Lease
	for rows.Next() {
		var lease pipeline.Lease
		var holder []byte
		var expires int64
		if err := rows.Scan(&lease.Key, &lease.Token, &holder, &expires); err != nil {
			return nil, l.failed(ctx, op, err)
		}
		lease.Expires = time.Unix(0, expires).UTC()
		if err := l.decodeHolder(lease.Key, holder, &lease.Holder); err != nil {
			return nil, err
		}
		leases = append(leases, lease)
	}
	if err := rows.Err(); err != nil {
		return nil, l.failed(ctx, op, err)
	}
	return leases, nil
}

// readLease returns the row of a key; the zero row, not locked, if there is none.
func (l *sqliteLeaser) readLease(ctx context.Context, tx *sql.Tx, key string) (leaseRow, error) {
	row := leaseRow{Lease: pipeline.Lease{Key: key}}
	var holder []byte
	var expires, ttl int64
	err := tx.StmtContext(ctx, l.stmt.lease).QueryRowContext(ctx, key).Scan(&row.Token, &holder, &expires, &ttl)
	if errors.Is(err, sql.ErrNoRows) {
		return row, nil
	}
	if err != nil || holder == nil {
		return row, err
	}
	row.locked, row.Expires, row.ttl = true, time.Unix(0, expires).UTC(), time.Duration(ttl)
	return row, l.decodeHolder(key, holder, &row.Holder)
}

func (l *sqliteLeaser) writeLease(ctx context.Context, tx *sql.Tx, lease pipeline.Lease, ttl time.Duration) error {
	holder, err := json.Marshal(lease.Holder)
	if err != nil {
		return fmt.Errorf("encode holder: %w", err)
	}
	_, err = tx.StmtContext(ctx, l.stmt.putLease).ExecContext(ctx, lease.Key, lease.Token, string(holder), lease.Expires.UnixNano(), int64(ttl))
	return err
}

func (l *sqliteLeaser) decodeHolder(key string, doc []byte, h *pipeline.Holder) error {
	if err := json.Unmarshal(doc, h); err != nil {
		return l.damaged("read lease", "%s: lease %q: %w", l.path, key, err)
	}
	return nil
}

// nextToken returns the token after last: the time, or more than last if the time is not. A
// platform remembers tokens for longer than a ledger may live.
func nextToken(last int64, now time.Time) int64 { return max(last+1, now.UnixMilli()) }

// leaseLost returns the error that says what became of a lease that is no longer current.
func leaseLost(op string, lease pipeline.Lease, now leaseRow) error {
	if now.locked {
		return pipeline.Errorf(pipeline.CodeLeaseLost, op, "%s was lost: %s", lease.Key, (&pipeline.LockedError{Lease: now.Lease}).Error()).
			WithHint("Another process took over because this one did not renew its lease in time. Apply again when it has ended.")
	}
	return pipeline.Errorf(pipeline.CodeLeaseLost, op, "%s is no longer held", lease.Key).WithHint("Apply again.")
}
