// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package workplace keeps the directory in which foreign commands run: the checkouts of
// steps, the trees of instances and bakes. It lies outside of any repository and of the
// developer's tree, as tools look for their settings upwards: git for a repository, Go
// for go.work, Node for node_modules, ripgrep for .ignore. In a directory where others
// may write they would find what others put there, so it is no temporary directory
// either, but a directory of the user's own: $PENSTOCK_WORK_DIR, or
// ~/.local/state/penstock (below $XDG_STATE_HOME where that is set).
//
// Each data directory has a place of its own below it, which is chosen once and recorded
// in the data directory. The place names the data directory in turn: one whose data
// directory is gone, and that no process has in use, is removed by whoever opens a place
// next. Nothing in a place is worth keeping when no process is at work in it.
//
//	place, err := workplace.Open(dataDir)
//	if err != nil {
//		return err
//	}
//	defer place.Release()
//	checkout := filepath.Join(place.Dir, "runs", run, "checkout")
package workplace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Variable names the environment variable that says below which directory places are made.
const Variable = "PENSTOCK_WORK_DIR"

// RecordFile is the file of a data directory that names its place.
const RecordFile = "workplace"

// The files of a place.
const (
	ownerFile = "owner" // names the data directory
	lockFile  = "lock"  // is held, shared, by every process that uses the place
)

// Place is the directory of one data directory. It is not removed before Release.
type Place struct {
	Dir  string // absolute, without symbolic links
	data string
	lock *os.File
}

// tries bounds how often a place that others remove or replace is looked for again.
const tries = 20

// Open returns the place of a data directory, which exists. The place is made where
// there is none. CodeInvalid says that there is no directory to make it in.
func Open(dataDir string) (*Place, error) {
	base, named, err := base()
	if err != nil {
		return nil, err
	}
	data, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		return nil, placeError(base, err)
	}
	for range tries {
		p, err := open(data, base, named)
		if p != nil || err != nil {
			return p, err
		}
	}
	return nil, placeError(base, fmt.Errorf("the place of %s changes all the time", dataDir))
}

// open returns nil where another process was quicker.
func open(data, base string, named bool) (*Place, error) {
	recorded, err := readRecord(data)
	if err != nil {
		return nil, placeError(base, err)
	}
	if recorded != "" {
		p, err := adopt(data, recorded)
		if err != nil {
			return nil, placeError(recorded, err)
		}
		if p != nil && named && filepath.Dir(p.Dir) != resolved(base) {
			return nil, p.leave(base)
		}
		if p != nil {
			sweep(filepath.Dir(p.Dir))
			return p, nil
		}
	}
	if base, err = makeBase(base, named); err != nil {
		return nil, err
	}
	sweep(base)
	p, err := create(data, base, recorded)
	if err != nil {
		return nil, placeError(base, err)
	}
	return p, nil
}

// adopt takes the place that is recorded. It returns nil where that is gone, or another
// data directory's.
func adopt(data, dir string) (*Place, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(dir, info); err != nil {
		return nil, err
	}
	lock, err := share(filepath.Join(dir, lockFile))
	if lock == nil || err != nil {
		return nil, err
	}
	p := &Place{Dir: dir, data: data, lock: lock}
	owner, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if was := strings.TrimSpace(string(owner)); err == nil && was != data {
		if other, _ := readRecord(was); other == dir { // data was copied from there, and the place is not its own
			return nil, p.Release()
		}
	}
	if err != nil || strings.TrimSpace(string(owner)) != data { // it was moved
		if err := os.WriteFile(filepath.Join(dir, ownerFile), []byte(data+"\n"), 0o600); err != nil {
			return nil, errors.Join(err, p.Release())
		}
	}
	return p, nil
}

// unusable are the characters of a data directory's name that its place's name has not.
var unusable = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// create makes a place and records it, instead of the one that was recorded before. It
// returns nil where another process was quicker.
func create(data, base, before string) (*Place, error) {
	name := unusable.ReplaceAllString(filepath.Base(filepath.Dir(data)), "-")
	dir, err := os.MkdirTemp(base, strings.Trim(name[:min(len(name), 32)], "-.")+"-")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the base was removed, being empty
	}
	if err != nil {
		return nil, err
	}
	lock, err := share(filepath.Join(dir, lockFile))
	if lock == nil || errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it was swept away
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	p := &Place{Dir: dir, data: data, lock: lock}
	err = os.WriteFile(filepath.Join(dir, ownerFile), []byte(data+"\n"), 0o600)
	if err == nil {
		err = record(data, dir, before)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(RemoveTree(dir), p.Release())
	}
	if err != nil {
		return nil, errors.Join(err, RemoveTree(dir), p.Release())
	}
	return p, nil
}

// record writes which place a data directory has. It fails with fs.ErrExist where
// another one was recorded since.
func record(data, dir, before string) error {
	path := filepath.Join(data, RecordFile)
	next := path + "." + filepath.Base(dir)
	if err := os.WriteFile(next, []byte(dir+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(next)
	if before != "" {
		if now, err := readRecord(data); err != nil || now != before {
			return errors.Join(err, fs.ErrExist)
		}
		return os.Rename(next, path)
	}
	return os.Link(next, path)
}

// readRecord returns the place of a data directory; empty for none.
func readRecord(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	dir := strings.TrimSpace(string(text))
	if err == nil && !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s names %q, which is not an absolute path", filepath.Join(data, RecordFile), dir)
	}
	return dir, err
}

// leave gives up a place for one below another directory, where nothing runs in it.
func (p *Place) leave(base string) error {
	running, _ := filepath.Glob(filepath.Join(escape(p.Dir), "environments", "*"))
	if len(running) > 0 || !alone(p.lock) {
		return errors.Join(p.Release(), pipeline.Errorf(pipeline.CodeInvalid, "open work directory", "%s is %s, and data directory %s has its work in %s, which is in use", Variable, base, p.data, p.Dir).
			WithHint("Unset %s, or set it to %s; or end the environments and the runs of the data directory first.", Variable, filepath.Dir(p.Dir)))
	}
	return p.Remove()
}

// Remove removes the place, unless another process uses it, and releases it.
func (p *Place) Remove() error {
	if !alone(p.lock) {
		return p.Release()
	}
	err := RemoveTree(p.Dir)
	if now, _ := readRecord(p.data); err == nil && now == p.Dir {
		err = os.Remove(filepath.Join(p.data, RecordFile))
	}
	if os.Getenv(Variable) == "" {
		_ = os.Remove(filepath.Dir(p.Dir)) // stays where there are others
	}
	return errors.Join(err, p.Release())
}

// Release says that this process uses the place no more. It may be called again.
func (p *Place) Release() error {
	if err := p.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Lock keeps the place from being removed for as long as this process lives, or until
// the file is closed: for a process that outlives the one that opened the place.
func Lock(dir string) (*os.File, error) { return share(filepath.Join(dir, lockFile)) }

// sweep removes the places whose data directories are gone, or have others, and that no
// process uses. What can't be removed is left for the next one.
func sweep(base string) {
	entries, _ := os.ReadDir(base)
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		owner, err := os.ReadFile(filepath.Join(dir, ownerFile))
		if !e.IsDir() || err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if recorded, failed := readRecord(strings.TrimSpace(string(owner))); err == nil && (failed != nil || recorded == dir) {
			continue
		}
		lock, failed := share(filepath.Join(dir, lockFile))
		if lock == nil || failed != nil {
			continue
		}
		if alone(lock) {
			if err == nil {
				_ = RemoveTree(dir)
			} else if os.Remove(lock.Name()) == nil { // one that was about to be made, or somebody's directory
				_ = os.Remove(dir)
			}
		}
		_ = lock.Close()
	}
}

// RemoveTree removes a tree, also one with directories that may not be written.
func RemoveTree(path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func placeError(dir string, err error) error {
	var known *pipeline.Error
	if errors.As(err, &known) {
		return err
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "open work directory", "%s: %w", dir, err).
		WithHint("Steps, bakes and instances work below it. Set %s to a directory of this user that is in no repository.", Variable)
}
