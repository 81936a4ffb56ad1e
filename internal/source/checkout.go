// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Checkout puts the files of a commit into dir, which must not exist yet. They are
// exactly the commit's files: there is no .git, so that a step can't tell a
// checkout from any other, and a build that asks `git describe` should ask
// PENSTOCK_REVISION. Permissions are 0755 for directories and executables and 0644
// for other files, times are the commit's. Filters of the user's own git (such as
// LFS) are applied, symbolic links are made as they are, and submodules are empty
// directories. On an error, dir is removed again.
//
// CodeNotFound where the commit is nowhere; CodeInvalid refuses a commit that would
// have files written through a symbolic link, or into a git directory.
func (s *Source) Checkout(ctx context.Context, repository, commit, dir string) error {
	const op = "check out commit"
	dir, err := filepath.Abs(dir)
	if err != nil {
		return failed(ctx, op, err)
	}
	err = s.at(ctx, repository, commit, func(at location) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		err := s.checkOut(ctx, at, commit, dir)
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	})
	return failed(ctx, op, err)
}

func (s *Source) checkOut(ctx context.Context, at location, commit, dir string) error {
	paths := newPaths()
	if err := s.tree(ctx, at, commit, paths.add); err != nil {
		return err
	}
	revision, err := s.describe(ctx, at, commit)
	if err != nil {
		return err
	}
	// No file of the commit can be in the way of an index there.
	private := filepath.Join(dir, ".git")
	if err := os.Mkdir(private, 0o700); err != nil {
		return err
	}
	c := s.local(at, "--work-tree="+dir, "read-tree", "--reset", "-u", "--no-sparse-checkout", "--no-recurse-submodules", commit)
	c.env = map[string]string{"GIT_INDEX_FILE": filepath.Join(private, "index")}
	if err := s.git(ctx, c); err != nil {
		return err
	}
	if err := os.RemoveAll(private); err != nil {
		return err
	}
	return settle(ctx, dir, revision.Time)
}

// paths finds entries that lead through a symbolic link of the same commit. Git
// makes no such commit, but somebody may.
type paths struct {
	links map[string]bool
	fold  func(string) string
}

func newPaths() *paths {
	p := &paths{links: map[string]bool{}, fold: func(s string) string { return s }}
	if runtime.GOOS != "linux" { // the file system may take "A" for "a"
		p.fold = strings.ToLower
	}
	return p
}

func (p *paths) add(e entry) error {
	name := p.fold(e.path)
	if e.mode == modeLink {
		p.links[name] = true
	}
	if len(p.links) == 0 {
		return nil
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if p.links[dir] {
			return pipeline.Errorf(pipeline.CodeInvalid, "read commit", "path %q leads through a symbolic link", clip(e.path)).
				WithHint("Such a commit is made to write where it shouldn't. Find out who made it, and build another.")
		}
	}
	return nil
}

// settle gives every file of a work tree the mode and time that it has on all machines.
func settle(ctx context.Context, dir string, t time.Time) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.IsDir() || info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if d.Type() != fs.ModeSymlink && info.Mode().Perm() != mode {
			err = os.Chmod(path, mode)
		}
		return errors.Join(err, setTime(path, t))
	})
}
