// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// resolve gives the commit that a ref names in the cache, which is up to date, and
// keeps it. A branch comes before a tag of the same name.
func (s *Source) resolve(ctx context.Context, at location, ref string) (string, error) {
	named := ref
	if ref == "" || ref == "HEAD" {
		var err error
		if named, err = s.head(ctx, at); err != nil {
			return "", err
		}
	}
	if named != "" {
		if validCommit(named) {
			return named, s.obtain(ctx, at, named)
		}
		for _, full := range s.candidates(ctx, at, named) {
			commit, err := s.commit(ctx, at, full)
			if err != nil {
				return "", err
			}
			if commit != "" {
				return commit, s.keep(ctx, at, commit)
			}
		}
	}
	return "", s.missing(ctx, at, ref)
}

// candidates gives the names in the cache that a ref may have.
func (s *Source) candidates(ctx context.Context, at location, ref string) []string {
	switch {
	case strings.HasPrefix(ref, "refs/heads/"), strings.HasPrefix(ref, "refs/tags/"):
		return []string{ref}
	case strings.HasPrefix(ref, "refs/"):
		own := "refs/other/" + strings.TrimPrefix(ref, "refs/")
		_, err := s.memos.do(ctx, "ref "+at.key+" "+ref, func(ctx context.Context) (string, error) {
			return "", s.locked(ctx, at, func() error { return s.git(ctx, s.fetching(at, "+"+ref+":"+own)) })
		})
		if err != nil {
			s.log.Debug("fetch ref", "repository", at.name, "ref", ref, "error", err)
			return nil // the repository was reached just now: it has no such ref
		}
		return []string{own}
	default:
		return []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
}

// commit gives the commit that a full ref of the cache leads to; empty for none.
func (s *Source) commit(ctx context.Context, at location, ref string) (string, error) {
	commit, err := s.parse(ctx, at, ref+"^{commit}")
	if commit != "" || err != nil {
		return commit, err
	}
	object, err := s.parse(ctx, at, ref)
	if object == "" || err != nil {
		return "", err
	}
	kind, err := s.output(ctx, s.local(at, "cat-file", "-t", object))
	if err != nil {
		return "", err // the ref leads nowhere: the cache is damaged
	}
	return "", pipeline.Errorf(pipeline.CodeInvalid, "resolve ref", "%s of repository %q leads to no commit, but to a %s", ref, at.name, strings.TrimSpace(kind)).
		WithHint("Set ref to a branch, or to a tag of a commit.")
}

// parse gives the object that a full ref names; empty for none.
func (s *Source) parse(ctx context.Context, at location, ref string) (string, error) {
	text, err := s.output(ctx, s.local(at, "rev-parse", "--verify", "--quiet", ref))
	var said *gitError
	if errors.As(err, &said) && said.status == 1 {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

var headLine = regexp.MustCompile(`(?m)^(?:ref: (refs/\S+)|([0-9a-f]{40,64}))\tHEAD$`)

// head gives what the repository's HEAD is: a full ref, or a commit. It is empty in
// a repository whose HEAD leads nowhere.
func (s *Source) head(ctx context.Context, at location) (string, error) {
	return s.memos.do(ctx, "head "+at.key, func(ctx context.Context) (string, error) {
		c := s.local(at, "ls-remote", "--quiet", "--symref", "--", at.address, "HEAD")
		c.far = true
		text, err := s.output(ctx, c)
		var said *gitError
		if errors.As(err, &said) {
			return "", unreachable(at, err)
		}
		m := headLine.FindStringSubmatch(text)
		if m == nil {
			return "", err
		}
		return m[1] + m[2], err
	})
}

// tip asks the repository what a ref stands for.
func (s *Source) tip(ctx context.Context, at location, ref string) (string, error) {
	if validCommit(ref) {
		return ref, nil
	}
	if _, err := os.Stat(s.cache(at)); err != nil {
		return "", nil // nobody has asked for it yet
	}
	names := []string{"HEAD"}
	switch {
	case strings.HasPrefix(ref, "refs/"):
		names = []string{ref}
	case ref != "" && ref != "HEAD":
		names = []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
	c := s.local(at, append([]string{"ls-remote", "--quiet", "--", at.address}, names...)...)
	c.far = true
	text, err := s.output(ctx, c)
	var said *gitError
	if errors.As(err, &said) {
		return "", unreachable(at, err)
	}
	return text, err
}

// missing says that a ref was not found, and what there is instead.
func (s *Source) missing(ctx context.Context, at location, ref string) error {
	text, err := s.output(ctx, s.local(at, "for-each-ref", "--count=6", "--sort=-committerdate", "--format=%(refname)", "refs/heads", "refs/tags"))
	if err != nil {
		return err
	}
	var there []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "refs/heads/"), "refs/tags/")
		there = append(there, line)
	}
	const op = "resolve ref"
	switch {
	case len(there) == 0:
		return pipeline.Errorf(pipeline.CodeNotFound, op, "repository %q has no commits", at.name).
			WithHint("Push a first commit to it.")
	case ref == "" || ref == "HEAD":
		return pipeline.Errorf(pipeline.CodeNotFound, op, "the HEAD of repository %q leads nowhere", at.name).
			WithHint("Set ref to what should be built, as in ref = %q.", there[0])
	default:
		return pipeline.Errorf(pipeline.CodeNotFound, op, "repository %q has no ref %q", at.name, ref).
			WithHint("Set ref to a branch, a tag, a full ref or a whole commit ID. There are, newest first: %s.", strings.Join(there, ", "))
	}
}

// obtain has the cache hold a commit, and keep it. The repository is asked only
// for what the cache lacks.
func (s *Source) obtain(ctx context.Context, at location, commit string) error {
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
	held, heldErr := s.parse(ctx, at, kept+commit)
	if held != "" || heldErr != nil {
		return err // it was here: the cache is damaged
	}
	return pipeline.Errorf(pipeline.CodeNotFound, "find commit", "repository %q has no commit %s: %w", at.name, commit, err).
		WithHint("It was never pushed, or a force push took it away and the repository has cleaned up. Push it again, or build a commit that is there.")
}

// has reports whether the cache has a commit.
func (s *Source) has(ctx context.Context, at location, commit string) bool {
	if _, err := os.Stat(s.cache(at)); err != nil {
		return false
	}
	return s.git(ctx, s.local(at, "cat-file", "-e", commit+"^{commit}")) == nil
}

// keep holds on to a commit that the cache has.
func (s *Source) keep(ctx context.Context, at location, commit string) error {
	held, err := s.parse(ctx, at, kept+commit)
	if held != "" || err != nil {
		return err
	}
	return s.locked(ctx, at, func() error {
		return s.git(ctx, s.local(at, "update-ref", kept+commit, commit))
	})
}
