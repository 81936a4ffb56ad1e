// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Seal completes an event as the one after last, which is the zero event for none: it sets
// the sequence number, the time (now, or that of last if the clock has gone backwards), the
// order of a build or image that has none, the number of a build that has none, and the hash.
func (e *Event) Seal(last Event, now time.Time) error {
	now = now.UTC().Round(0)
	if now.Before(last.Time) {
		now = last.Time
	}
	e.Seq, e.Prev, e.Time, e.Builds = last.Seq+1, last.Hash, now, last.Builds
	for _, k := range kinds {
		if k.number != nil {
			k.number(e)
		}
	}
	body, err := e.body()
	if err != nil {
		return fmt.Errorf("seal event: %w", err)
	}
	e.Body, e.Hash = body, HashOf(body)
	return nil
}

// DecodeEvent reads an event from the JSON that was sealed. It does not check that the hash
// matches the body: Check does.
func DecodeEvent(body []byte, hash string) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return e, err
	}
	e.Hash, e.Body = hash, bytes.Clone(body)
	return e, nil
}

// Check reports whether the event is the one that was sealed after prev, and can be read.
func (e Event) Check(seq int64, prev string) error {
	sealed, err := e.sealed()
	switch {
	case err != nil:
		return Errorf(CodeCorrupt, "verify event", "event %d: %w", e.Seq, err)
	case e.Seq != seq:
		return Errorf(CodeCorrupt, "verify event", "event %d stands where event %d should be", e.Seq, seq)
	case e.Prev != prev:
		return Errorf(CodeCorrupt, "verify event", "event %d does not follow the event before it", e.Seq)
	case !sealed:
		return Errorf(CodeCorrupt, "verify event", "event %d was changed after it was written", e.Seq)
	}
	for _, k := range kinds {
		if k.check != nil {
			if err := k.check(&e.Facts); err != nil {
				return err
			}
		}
	}
	return nil
}

// CountsOn reports whether the event has the count of builds that Seal makes after an event
// with last of them.
func (e Event) CountsOn(last int64) bool {
	if b := e.Facts.Build; b != nil {
		last = max(last, b.Number)
	}
	return e.Builds == last
}

// sealed reports whether the event equals its body, and its hash is the body's.
func (e Event) sealed() (bool, error) {
	body, err := e.body()
	if err != nil || e.Body == nil {
		return HashOf(body) == e.Hash, err
	}
	was, err := DecodeEvent(e.Body, e.Hash)
	if err != nil {
		return false, err
	}
	said, err := was.body()
	return HashOf(e.Body) == e.Hash && bytes.Equal(said, body), err
}

// body makes the JSON that a new event's hash is of.
func (e Event) body() ([]byte, error) {
	e.Hash = ""
	return json.Marshal(e)
}

// HashOf returns the hash of an event's body: hex SHA-256.
func HashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
