// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// resolver finds the commits that refs name.
type resolver struct{ *store }

// resolve returns the commit that a ref names in the cache, which is up to date, and
// keeps it. A branch comes before a tag of the same name.
func (r *resolver) resolve(ctx context.Context, at location, ref string) (string, error) {
	named := ref
	if ref == "" || ref == "HEAD" {
		var err error
		if named, err = r.head(ctx, at); err != nil {
			return "", err
		}
	}
	if named != "" {
		if validCommit(named) {
			return named, r.obtain(ctx, at, named)
		}
		for _, full := range r.candidates(ctx, at, named) {
			commit, err := r.commit(ctx, at, full)
			if err != nil {
				return "", err
			}
			if commit != "" {
				return commit, r.keep(ctx, at, commit)
			}
		}
	}
	return "", r.missing(ctx, at, ref)
}

// candidates returns the names in the cache that a ref may have.
func (r *resolver) candidates(ctx context.Context, at location, ref string) []string {
	switch {
	case strings.HasPrefix(ref, "refs/heads/"), strings.HasPrefix(ref, "refs/tags/"):
		return []string{ref}
	case strings.HasPrefix(ref, "refs/"):
		own := "refs/other/" + strings.TrimPrefix(ref, "refs/")
		_, err := r.memos.do(ctx, "ref "+at.key+" "+ref, func(ctx context.Context) (string, error) {
			return "", r.locked(ctx, at, func() error { return r.git(ctx, r.fetching(at, "+"+ref+":"+own)) })
		})
		if err != nil {
			r.log.Debug("fetch ref", "repository", at.name, "ref", ref, "error", err)
			return nil // the repository was reached just now: it has no such ref
		}
		return []string{own}
	default:
		return []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
}

// commit returns the commit that a full ref of the cache leads to; empty for none.
func (r *resolver) commit(ctx context.Context, at location, ref string) (string, error) {
	commit, err := r.parse(ctx, at, ref+"^{commit}")
	if commit != "" || err != nil {
		return commit, err
	}
	object, err := r.parse(ctx, at, ref)
	if object == "" || err != nil {
		return "", err
	}
	kind, err := r.output(ctx, r.local(at, "cat-file", "-t", object))
	if err != nil {
		return "", err // the ref leads nowhere: the cache is damaged
	}
	return "", pipeline.Errorf(pipeline.CodeInvalid, "resolve ref", "%s of repository %q is not a commit, but a %s", ref, at.name, strings.TrimSpace(kind)).
		WithHint("Set ref to a branch, or to a tag of a commit.")
}

var headLine = regexp.MustCompile(`(?m)^(?:ref: (refs/\S+)|([0-9a-f]{40,64}))\tHEAD$`)

// head returns what the repository's HEAD is: a full ref, or a commit. It is empty in
// a repository whose HEAD leads nowhere.
func (r *resolver) head(ctx context.Context, at location) (string, error) {
	return r.memos.do(ctx, "head "+at.key, func(ctx context.Context) (string, error) {
		c := r.local(at, "ls-remote", "--quiet", "--symref", "--", at.address, "HEAD")
		c.far = true
		text, err := r.output(ctx, c)
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
func (r *resolver) tip(ctx context.Context, at location, ref string) (string, error) {
	if validCommit(ref) {
		return ref, nil
	}
	if _, err := os.Stat(r.path(at)); err != nil {
		return "", nil // nobody has asked for it yet
	}
	return r.list(ctx, at, refNames(ref))
}

// refNames returns the full names that a ref may be short for.
func refNames(ref string) []string {
	switch {
	case strings.HasPrefix(ref, "refs/"):
		return []string{ref}
	case ref != "" && ref != "HEAD":
		return []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
	return []string{"HEAD"}
}

// list asks the repository for refs: a line for each, of its hash and its name.
func (r *resolver) list(ctx context.Context, at location, names []string) (string, error) {
	c := r.local(at, append([]string{"ls-remote", "--quiet", "--", at.address}, names...)...)
	c.far = true
	text, err := r.output(ctx, c)
	var said *gitError
	if errors.As(err, &said) {
		return "", unreachable(at, err)
	}
	return text, err
}

// remote asks the repository what the refs are that a ref may be short for.
func (r *resolver) remote(ctx context.Context, at location, ref string) (Remote, error) {
	found := Remote{URL: at.public(), Private: at.private(), Refs: map[string]string{}}
	if at.dir != "" || validCommit(ref) {
		return found, nil
	}
	names := refNames(ref)
	text, err := r.list(ctx, at, names)
	if err != nil {
		return Remote{}, err
	}
	for _, name := range names {
		found.Refs[name] = ""
	}
	for line := range strings.Lines(text) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if _, asked := found.Refs[name]; asked { // a name is the end of others, too
			found.Refs[name] = hash
		}
	}
	return found, nil
}

// missing says that a ref was not found, and what there is instead.
func (r *resolver) missing(ctx context.Context, at location, ref string) error {
	text, err := r.output(ctx, r.local(at, "for-each-ref", "--count=6", "--sort=-committerdate", "--format=%(refname)", "refs/heads", "refs/tags"))
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
		return pipeline.Errorf(pipeline.CodeNotFound, op, "the HEAD of repository %q points to nothing", at.name).
			WithHint("Name what should be built.").WithAdvice(pipeline.Set("ref", strconv.Quote(there[0]), "the source"))
	default:
		return pipeline.Errorf(pipeline.CodeNotFound, op, "repository %q has no ref %q", at.name, ref).
			WithHint("Set ref to a branch, a tag, a full ref or a whole commit ID. The repository has, newest first: %s.", strings.Join(there, ", "))
	}
}
