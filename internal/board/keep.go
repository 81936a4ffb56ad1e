// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// keeper keeps sessions in a file, so that people are signed in when a board is started
// again. Who reads the file can't sign in: it has hashes. Who can write it could as well
// write the ledger beside it.
type keeper struct {
	path, realm string
	logger      hclog.Logger
	mu          sync.Mutex // of the file

	// guarded by sessions
	saved  time.Time
	closed bool
}

// saveEvery is how much of what people do may be forgotten when the program is killed.
const saveEvery = 10 * time.Minute

// kept is what the file has.
type kept struct {
	Realm    string        `json:"realm"`
	Sessions []keptSession `json:"sessions"`
}

type keptSession struct {
	ID     string          `json:"id"`            // hash of the cookie's value
	Key    string          `json:"key,omitempty"` // hash
	Person pipeline.Person `json:"person"`
	Began  time.Time       `json:"began"`
	Used   time.Time       `json:"used"`
	Spent  spent           `json:"spent,omitzero"`
}

// keptSessions returns the sessions that a board begins with: those of the file that have
// not ended, and whose people still get in. A file that can't be read signs everybody out.
func keptSessions(ctx context.Context, o Options) *sessions {
	all := newSessions(ctx)
	if o.Sessions == "" || o.Access.Realm() == "" {
		return all
	}
	all.keep = &keeper{path: o.Sessions, realm: o.Access.Realm(), logger: o.Logger}
	file, err := all.keep.read()
	if err != nil {
		o.Logger.Warn("people have to sign in again", "error", err)
		return all
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	slices.SortFunc(file.Sessions, func(a, b keptSession) int { return a.Used.Compare(b.Used) })
	now := time.Now()
	for _, k := range file.Sessions {
		who, ok := o.Access.Again(k.Person)
		if ok && now.Before(k.Began.Add(sessionLife)) && now.Before(k.Used.Add(idleLimit)) && !k.Began.After(now) && !k.Used.After(now) {
			all.add(k.ID, &browser{person: who, key: k.Key, began: k.Began, used: k.Used, spent: k.Spent})
		}
	}
	return all
}

// read returns what the file has; nothing where there is none, or where people signed in in
// another way.
func (k *keeper) read() (file kept, err error) {
	data, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		return kept{}, fmt.Errorf("read sessions: %w", err)
	}
	if file.Realm != k.realm {
		return kept{}, nil
	}
	return file, nil
}

// write replaces the file, readable by its owner only.
func (k *keeper) write(file kept) error {
	data, err := json.Marshal(file)
	if err != nil {
		return err
	}
	dir := filepath.Dir(k.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	next := k.path + ".new" // the next writing replaces what a killed one left
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, k.path)
}

// save keeps the sessions that there are. An error is logged: people are signed in all the
// same.
func (all *sessions) save() {
	if all.keep == nil {
		return
	}
	k := all.keep
	k.mu.Lock() // before looking, so that the newest is written last
	defer k.mu.Unlock()
	all.mu.Lock()
	if k.closed {
		all.mu.Unlock()
		return
	}
	k.saved = time.Now()
	file := kept{Realm: k.realm}
	for _, id := range slices.Sorted(maps.Keys(all.all)) {
		s := all.all[id]
		s.mu.Lock()
		used := spent{At: maps.Clone(s.spent.At), Floor: s.spent.Floor}
		s.mu.Unlock()
		file.Sessions = append(file.Sessions, keptSession{ID: id, Key: s.key, Person: s.person, Began: s.began, Used: s.used, Spent: used})
	}
	all.mu.Unlock()
	if err := k.write(file); err != nil {
		k.logger.Warn("a restart will sign people out", "error", fmt.Errorf("keep sessions: %w", err))
	}
}

// close saves the sessions for the next start; what ends from now on is not forgotten.
func (all *sessions) close() {
	all.save()
	if all.keep != nil {
		all.mu.Lock()
		all.keep.closed = true
		all.mu.Unlock()
	}
}
