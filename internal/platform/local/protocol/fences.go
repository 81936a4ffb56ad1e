// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const (
	fencesDir  = "fences" // of the data directory
	tokensFile = "tokens.json"
)

// Fences remembers, below a data directory, the highest token that anybody was shown of
// each lease. It outlives environments and supervisors: a displaced owner must not make
// again what the new one has removed.
//
// Whoever admits a change before it makes it, and lets no other change of the same thing
// in between, has no effect after a change with a higher token: supervisors change one
// thing at a time, and the files of an environment and the store of images have locks.
type Fences struct{ dir string }

func FencesOf(data string) Fences { return Fences{filepath.Join(data, fencesDir)} }

// Admit refuses a change with a token lower than one that was seen, with CodeLeaseLost,
// and remembers one that is higher.
func (f Fences) Admit(ctx context.Context, op string, by []pipeline.Fence) error {
	seen, err := f.read()
	if err != nil {
		return err
	}
	if higher, err := compare(op, seen, by); err != nil || !higher {
		return err
	}
	lock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if seen, err = f.read(); err != nil {
		return err
	}
	higher, err := compare(op, seen, by)
	if err != nil || !higher {
		return err
	}
	for _, b := range by {
		seen[b.Key] = b.Token
	}
	return WriteJSON(filepath.Join(f.dir, tokensFile), seen)
}

// compare refuses tokens lower than those that were seen, and reports whether one is higher.
func compare(op string, seen map[string]int64, by []pipeline.Fence) (higher bool, err error) {
	for _, b := range by {
		switch newest := seen[b.Key]; {
		case b.Token < newest:
			return false, pipeline.LeaseLost(op, b, newest)
		case b.Token > newest:
			higher = true
		}
	}
	return higher, nil
}

func (f Fences) read() (map[string]int64, error) {
	seen := map[string]int64{}
	err := ReadJSON(filepath.Join(f.dir, tokensFile), &seen)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return seen, err
}

// lock keeps others from raising tokens. It is held for as long as a file is written.
func (f Fences) lock(ctx context.Context) (lock *os.File, err error) {
	schedule := poll.Schedule{First: time.Millisecond, Max: 20 * time.Millisecond, Factor: 1.5, What: "the tokens of leases to be free"}
	return lock, poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) {
		err := os.MkdirAll(f.dir, 0o700)
		if err == nil {
			lock, err = TryLock(filepath.Join(f.dir, LockFile))
		}
		return poll.Probe{Done: lock != nil}, err
	})
}
