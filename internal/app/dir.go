// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

const (
	ledgerFile = "ledger.db"
	lockName   = "lock"
	ignoreFile = ".gitignore"

	// markerFile is in each directory that Penstock made, or found empty: what has one of
	// the names below there is Penstock's. Nothing is ever removed where it is missing.
	markerFile = "PENSTOCK.TAG"
	markerText = "This directory belongs to Penstock. It is removed when it contains no pipeline.\n"
)

// contents are the entries of a data directory that may be removed whole when it
// holds no pipeline, in this order. The ledger is the last of what is large: Terraform ends a
// provider that takes long to close, and whoever opens the ledger next removes the rest.
// Environments are not among them: if one is there, somebody still needs it, and the directory
// stays.
var contents = []string{
	keeperLock, keeperWake, keeperLog, "cache", verifiedDir, "artifacts", "logs", "images", "fences", workplace.RecordFile, BoardDir, targetsDir,
	ledgerFile + ".new", ledgerFile + "-wal", ledgerFile + "-shm", ledgerFile, contextFile, contextFile + ".new",
}

// verifiedDir has what was verified of the histories of other ledgers.
const verifiedDir = "verified"

// BoardDir has the sessions of people who have signed in to boards.
const BoardDir = "board"

// modulesDir has the states of modules, which are secret.
const modulesDir = "modules"

// archiveDir has the histories of pipelines that were removed. It stays, and the data
// directory with it, until the last of them is garbage.
const archiveDir = "archive"

// frame are the entries that go last, in this order. A directory with nothing but a
// lock counts as empty, so that one whose removal was interrupted is as good as new.
var frame = []string{ignoreFile, markerFile, lockName}

// makeDataDir makes the directory, readable by its owner only. It refuses one of
// another user, and one with files that Penstock did not put there.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dirError(dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return dirError(dir, err)
	}
	if err := checkOwner(dir, info); err != nil {
		return err
	}
	if !isDataDir(dir) {
		empty, err := isEmpty(dir)
		if err != nil {
			return dirError(dir, err)
		}
		if !empty {
			return pipeline.Errorf(pipeline.CodeInvalid, "open data directory", "%s contains other files, and is not a data directory of Penstock", dir).
				WithAdvice(pipeline.Advice{Verb: pipeline.VerbDataDir, Value: "a directory that is empty or does not exist yet, such as " + filepath.Join(dir, DataDirName)})
		}
	}
	return restrict(dir, info)
}

// markDataDir says in the directory that it is Penstock's, and keeps git from adding
// it. The caller has its lock.
func markDataDir(dir string) error {
	if isDataDir(dir) && !isFile(dir, markerFile) {
		return nil // of a time without markers: nobody knows whose files are there
	}
	for name, text := range map[string]string{markerFile: markerText, ignoreFile: "*\n"} {
		if isFile(dir, name) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return dirError(dir, err)
		}
	}
	return nil
}

// isDataDir reports whether Penstock has used the directory before.
func isDataDir(dir string) bool {
	if isFile(dir, markerFile) || isFile(dir, ledgerFile) {
		return true
	}
	at, err := ReadContext(dir)
	return err == nil && at != nil && at.Stack != ""
}

// HasPipelines reports whether a directory has a ledger, or what is kept of one, or says
// where on AWS there is one.
func HasPipelines(dir string) bool {
	kept, _ := os.ReadDir(filepath.Join(dir, archiveDir))
	return isFile(dir, ledgerFile) || isFile(dir, contextFile) || len(kept) > 0 && isFile(dir, markerFile)
}

func isFile(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}

// isEmpty reports whether nobody has put anything into the directory yet.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && (e.Name() != lockName || !info.Mode().IsRegular() || info.Size() > 0) {
			return false, nil
		}
	}
	return true, err
}

func dirError(dir string, err error) error {
	return pipeline.Errorf(pipeline.CodeInvalid, "open data directory", "%s: %w", dir, err).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbDataDir, Value: "a directory that this user may write to"})
}

// removeDataDir removes a data directory that holds no pipeline, and its place. It stays where the
// user put something of their own there, and where Penstock did not make it.
func removeDataDir(dir string, place *workplace.Place) error {
	if !isFile(dir, markerFile) {
		return nil
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "environments")); err == nil && len(entries) > 0 {
		return nil
	}
	if left, _ := filepath.Glob(filepath.Join(dir, targetsDir, "*", "environments", "*")); len(left) > 0 {
		return nil
	}
	for _, kind := range []string{"stages", "environments"} { // whose states of modules say what else exists
		if left, err := os.ReadDir(filepath.Join(dir, modulesDir, kind)); err == nil && len(left) > 0 {
			return nil
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, modulesDir)); err != nil {
		return fmt.Errorf("remove data directory: %w", err)
	}
	if err := place.Remove(); err != nil {
		return fmt.Errorf("remove work directory: %w", err)
	}
	for _, name := range []string{"environments", archiveDir} {
		_ = os.Remove(filepath.Join(dir, name)) // where it is empty
	}
	for _, name := range contents {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove data directory: %w", err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || slices.ContainsFunc(left, func(e fs.DirEntry) bool { return !slices.Contains(frame, e.Name()) }) {
		return err
	}
	for _, name := range frame {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove data directory: %w", err)
		}
	}
	_ = os.Remove(dir) // stays where another process has just begun to use it
	return nil
}

// FindDataDir looks for a data directory in dir and its parents, and returns "" where
// there is none. One that others may have put there is CodeInvalid.
func FindDataDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "find data directory", "%w", err)
	}
	for {
		candidate := filepath.Join(dir, DataDirName)
		if HasPipelines(candidate) {
			return candidate, checkPrivate(candidate)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}
