// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// kept is where the cache holds on to each commit that was handed out: builds refer
// to it, also when a force push took it from its branch.
const kept = "refs/penstock/"

// fetch are the arguments of every fetch. What the cache has becomes what the
// repository has, wherever its branches were moved to.
var fetch = []string{"fetch", "--quiet", "--force", "--prune", "--no-tags", "--update-shallow", "--no-recurse-submodules"}

// store is the cache: a clone of each repository, which git can read and bring up to date.
type store struct {
	*runner
	memos memos
}

// path is where the clone of a repository is.
func (s *store) path(at location) string { return filepath.Join(s.dir, at.key+".git") }

// local is a command that reads or writes the cache only.
func (s *store) local(at location, args ...string) call {
	return call{at: at, args: append([]string{"--git-dir=" + s.path(at)}, args...)}
}

// fetching is a command that brings something from the repository into the cache.
func (s *store) fetching(at location, refspecs ...string) call {
	c := s.local(at, slices.Concat(fetch, []string{"--", at.address}, refspecs)...)
	c.far = true
	return c
}

// ensure brings the cache up to date with the repository, once.
func (s *store) ensure(ctx context.Context, at location) error {
	_, err := s.memos.do(ctx, "fetch "+at.key, func(ctx context.Context) (string, error) {
		return "", s.locked(ctx, at, func() error { return s.update(ctx, at) })
	})
	return err
}

// locked does something to the cache that no other process may do at the same time.
func (s *store) locked(ctx context.Context, at location, f func() error) error {
	lock, err := lockFile(ctx, filepath.Join(s.dir, at.key+".lock"))
	if err != nil {
		return err
	}
	return errors.Join(f(), lock.Close())
}

// update fetches, or clones where there is nothing to fetch into.
func (s *store) update(ctx context.Context, at location) error {
	if at.dir != "" {
		if _, err := os.Stat(at.dir); err != nil {
			return pipeline.Errorf(pipeline.CodeNotFound, "find repository", "repository %q: %w", at.name, err).
				WithHint("Set repository to the directory of a git repository, or to a URL.")
		}
	}
	if err := s.sweep(at); err != nil {
		return err
	}
	if _, err := os.Stat(s.path(at)); errors.Is(err, fs.ErrNotExist) {
		return s.clone(ctx, at)
	}
	err := s.git(ctx, s.fetching(at, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"))
	var said *gitError
	if !errors.As(err, &said) {
		return err
	}
	// Either of the two repositories may be at fault.
	if reach := s.git(ctx, call{at: at, far: true, args: []string{"ls-remote", "--quiet", "--", at.address, "HEAD"}}); reach != nil {
		return unreachable(at, reach)
	}
	s.log.Warn("the cached clone can't be fetched into, and is made again", "repository", at.name, "reason", said)
	return s.clone(ctx, at)
}

// sweep removes what killed processes left: unfinished clones, and the locks of a
// git that is no more. Whoever writes to the cache holds its lock, so they are dead.
func (s *store) sweep(at location) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), at.key+".tmp-") {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	objects := filepath.Join(s.path(at), "objects")
	return filepath.WalkDir(s.path(at), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case path == objects:
			return fs.SkipDir
		case strings.HasSuffix(path, ".lock") && !d.IsDir():
			return os.Remove(path)
		}
		return nil
	})
}

// clone makes the cache, which is in its place only when it is complete. From one
// that it replaces, the commits that were handed out are saved where they can be read.
func (s *store) clone(ctx context.Context, at location) error {
	temp, err := os.MkdirTemp(s.dir, at.key+".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	fresh, old := filepath.Join(temp, "new"), filepath.Join(temp, "old")
	err = s.git(ctx, call{at: at, far: true, args: []string{"clone", "--quiet", "--bare", "--no-local", "--template=", "--", at.address, fresh}})
	var said *gitError
	if errors.As(err, &said) {
		return unreachable(at, err)
	}
	if err != nil {
		return err
	}
	// The address may hold a user name, and that may be a token.
	if err := s.git(ctx, call{at: at, args: []string{"--git-dir=" + fresh, "config", "remote.origin.url", at.public()}}); err != nil {
		return err
	}
	if _, err := os.Stat(s.path(at)); err == nil {
		args := slices.Concat([]string{"--git-dir=" + fresh}, fetch, []string{"--", s.path(at), "+" + kept + "*:" + kept + "*"})
		if err := s.git(ctx, call{args: args}); err != nil {
			s.log.Warn("older commits could not be saved from the damaged clone", "repository", at.name, "error", err)
		}
		if err := os.Rename(s.path(at), old); err != nil {
			return err
		}
	}
	return os.Rename(fresh, s.path(at))
}

func unreachable(at location, err error) error {
	if at.dir != "" {
		return pipeline.Errorf(pipeline.CodeInvalid, "fetch repository", "repository %q: %w", at.name, err).
			WithHint("Set repository to the top directory of a git repository, bare or not, that `git ls-remote %s` can read.", at.dir)
	}
	return pipeline.Errorf(pipeline.CodeFailed, "fetch repository", "repository %q: %w", at.name, err).
		WithHint("Make sure that `git ls-remote %s` works for this user without a password prompt: through a credential helper, or a key in the ssh agent.", at.name)
}

// mend does something that reads the cache. Where git can't, and finds the cache
// damaged, it is made again, once, and read again.
func (s *store) mend(ctx context.Context, at location, f func() error) error {
	err := f()
	var said, damage *gitError
	var known *pipeline.Error
	if errors.As(err, &known) || !errors.As(err, &said) {
		return err
	}
	check := s.git(ctx, s.local(at, "fsck", "--no-progress", "--no-dangling"))
	if check == nil {
		return pipeline.Errorf(pipeline.CodeFailed, "read repository", "repository %q: %w", at.name, err).
			WithHint("The repository itself is intact. A full disk or a filter in git's own configuration may be the reason.")
	}
	if !errors.As(check, &damage) {
		return check
	}
	s.log.Warn("the cached clone is damaged, and is made again", "repository", at.name, "reason", said, "damage", damage)
	_, again := s.memos.do(ctx, "mend "+at.key, func(ctx context.Context) (string, error) {
		return "", s.locked(ctx, at, func() error { return s.clone(ctx, at) })
	})
	if again == nil {
		again = f()
	}
	if errors.As(again, &said) && !errors.As(again, &known) {
		return pipeline.Errorf(pipeline.CodeCorrupt, "read repository", "repository %q: %w", at.name, again).
			WithHint("`git fsck` in the repository says what is wrong with it.")
	}
	return again
}

// parse returns the object that a full ref names; empty for none.
func (s *store) parse(ctx context.Context, at location, ref string) (string, error) {
	text, err := s.output(ctx, s.local(at, "rev-parse", "--verify", "--quiet", ref))
	var said *gitError
	if errors.As(err, &said) && said.status == 1 {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

// obtain has the cache hold a commit, and keep it. The repository is asked only
// for what the cache lacks.
func (s *store) obtain(ctx context.Context, at location, commit string) error {
	if s.has(ctx, at, commit) {
		return s.keep(ctx, at, commit)
	}
	if err := s.ensure(ctx, at); err != nil {
		return err
	}
	if s.has(ctx, at, commit) {
		return s.keep(ctx, at, commit)
	}
	_, err := s.memos.do(ctx, "commit "+at.key+" "+commit, func(ctx context.Context) (string, error) {
		return "", s.locked(ctx, at, func() error {
			return s.git(ctx, s.fetching(at, "+"+commit+":"+kept+commit))
		})
	})
	var said *gitError
	if !errors.As(err, &said) {
		return err
	}
	found, findErr := s.parse(ctx, at, kept+commit)
	if found != "" || findErr != nil {
		return err // it was here: the cache is damaged
	}
	return pipeline.Errorf(pipeline.CodeNotFound, "find commit", "repository %q has no commit %s: %w", at.name, commit, err).
		WithHint("It was never pushed, or a force push removed it and the repository has cleaned up. Push it again, or build a commit that exists.")
}

// has reports whether the cache has a commit.
func (s *store) has(ctx context.Context, at location, commit string) bool {
	if _, err := os.Stat(s.path(at)); err != nil {
		return false
	}
	return s.git(ctx, s.local(at, "cat-file", "-e", commit+"^{commit}")) == nil
}

// keep holds on to a commit that the cache has.
func (s *store) keep(ctx context.Context, at location, commit string) error {
	found, err := s.parse(ctx, at, kept+commit)
	if found != "" || err != nil {
		return err
	}
	return s.locked(ctx, at, func() error {
		return s.git(ctx, s.local(at, "update-ref", kept+commit, commit))
	})
}

// with does something that reads a commit, once the cache has it.
func (s *store) with(ctx context.Context, at location, commit string, f func() error) error {
	return s.mend(ctx, at, func() error {
		if err := s.obtain(ctx, at, commit); err != nil {
			return err
		}
		return f()
	})
}
