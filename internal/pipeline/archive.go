// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Archive is the kept history of a pipeline that was removed.
type Archive struct {
	ID       string    `json:"id"` // of the pipeline
	Pipeline string    `json:"pipeline"`
	Removed  time.Time `json:"removed_at"` // when the pipeline was removed
	Until    time.Time `json:"expires_at"` // from then on it is garbage
}

const archiveTime = "20060102T150405Z"

// FileName returns the name under which the archive is stored. It has all that is known of
// the archive, and is the same for each try of one removal.
func (a Archive) FileName() string {
	return fmt.Sprintf("%s_%s_%s_%s.jsonl", a.Removed.UTC().Format(archiveTime), a.Until.UTC().Format(archiveTime), a.ID, a.Pipeline)
}

// ParseArchive reads the name of an archive; false for another name.
func ParseArchive(name string) (a Archive, ok bool) {
	name, ok = strings.CutSuffix(name, ".jsonl")
	parts := strings.SplitN(name, "_", 4)
	if !ok || len(parts) < 4 || parts[2] == "" || parts[3] == "" {
		return Archive{}, false
	}
	removed, err := time.Parse(archiveTime, parts[0])
	until, err2 := time.Parse(archiveTime, parts[1])
	return Archive{ID: parts[2], Pipeline: parts[3], Removed: removed, Until: until}, err == nil && err2 == nil
}

// Archives keep the histories of removed pipelines.
type Archives interface {
	// Put stores what write writes, whole or not at all, in place of an archive of the same
	// name. Once it has returned, the archive survives a crash.
	Put(ctx context.Context, a Archive, write func(io.Writer) error) error
	// List lists the archives, the newest first.
	List(ctx context.Context) ([]Archive, error)
	// Open reads an archive, as Put stored it; CodeNotFound where there is none.
	Open(ctx context.Context, a Archive) (io.ReadCloser, error)
	// Remove removes an archive. One that is not there is no error.
	Remove(ctx context.Context, a Archive) error
}
