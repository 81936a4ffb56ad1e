// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Options configure a Source.
type Options struct {
	Dir    string // the cache; made when it is needed, and may be removed when nobody has it in use
	Base   string // what relative repository paths are relative to; empty means the working directory
	Logger hclog.Logger
}

// Source reads repositories. It may be used concurrently, and beside other
// processes with the same cache. It fetches each repository once, when it is first
// asked for it, and answers from that ever after: make one for each plan.
type Source struct {
	base     string
	store    *store
	resolver resolver

	mu    sync.Mutex
	known map[string]location // those with credentials, by key
}

var _ pipeline.Sources = (*Source)(nil)

// New returns a Source. It does nothing yet.
func New(o Options) *Source {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		dir = o.Dir // there is no working directory; git will say so
	}
	cache := &store{runner: &runner{dir: dir, log: o.Logger}}
	return &Source{base: o.Base, store: cache, resolver: resolver{cache}, known: map[string]location{}}
}

// Snapshot is one commit with what it means to a pipeline.
type Snapshot struct {
	pipeline.Revision
	Source pipeline.SourceRef // application, configuration and data: what commit stages take
	Image  pipeline.SourceRef // infrastructure and configuration: what baked images take
}

// Snapshot returns the commit that the query's ref names now, with the digests of its
// components. The repository is fetched first, once for the life of s. CodeInvalid
// refuses a query; CodeNotFound says that the repository, the ref or any commit is
// missing; CodeFailed, with what git said, that the repository can't be reached.
func (s *Source) Snapshot(ctx context.Context, q Query) (Snapshot, error) {
	const op = "read repository"
	if err := q.Validate(); err != nil {
		return Snapshot{}, err
	}
	at, err := s.open(ctx, q.Repository)
	if err != nil {
		return Snapshot{}, failed(ctx, op, err)
	}
	if err := s.store.ensure(ctx, at); err != nil {
		return Snapshot{}, failed(ctx, op, err)
	}
	var snapshot Snapshot
	err = s.store.mend(ctx, at, func() (err error) {
		snapshot, err = s.snapshot(ctx, at, q)
		return err
	})
	if err != nil {
		return Snapshot{}, failed(ctx, op, err)
	}
	return snapshot, nil
}

// Tip returns what the query's ref stands for now, as text to compare with what it was:
// while it is unchanged, Snapshot returns the same commit. It asks the repository for no more
// than that. It is empty for a ref that does not exist, and where the repository was
// never read. Errors are those of Snapshot.
func (s *Source) Tip(ctx context.Context, q Query) (string, error) {
	const op = "read repository"
	if err := q.Validate(); err != nil {
		return "", err
	}
	at, err := s.open(ctx, q.Repository)
	if err != nil {
		return "", failed(ctx, op, err)
	}
	text, err := s.resolver.tip(ctx, at, q.Ref)
	return text, failed(ctx, op, err)
}

// Remote is where the ref of a query is, for those who look at it without this program.
type Remote struct {
	URL     string            // without credentials; a path for a repository on this machine
	Private bool              // whether the query brought credentials
	Refs    map[string]string // hash by full name, empty for a ref that is not there; none for a commit and on this machine
}

// Remote asks the repository of a query for the refs that its ref may be short for. Errors are
// those of Snapshot.
func (s *Source) Remote(ctx context.Context, q Query) (Remote, error) {
	const op = "read repository"
	if err := q.Validate(); err != nil {
		return Remote{}, err
	}
	at, err := s.open(ctx, q.Repository)
	if err != nil {
		return Remote{}, failed(ctx, op, err)
	}
	found, err := s.resolver.remote(ctx, at, q.Ref)
	return found, failed(ctx, op, err)
}

func (s *Source) snapshot(ctx context.Context, at location, q Query) (Snapshot, error) {
	commit, err := s.resolver.resolve(ctx, at, q.Ref)
	if err != nil {
		return Snapshot{}, err
	}
	revision, err := s.store.describe(ctx, at, commit)
	if err != nil {
		return Snapshot{}, err
	}
	revision.Ref = q.Ref
	if revision.Components, err = s.store.components(ctx, at, commit, q.Paths); err != nil {
		return Snapshot{}, err
	}
	ref := func(digest func(string, pipeline.Components) string) pipeline.SourceRef {
		return pipeline.SourceRef{
			Repository: at.name, Commit: commit, Digest: digest(q.Paths.Directory, revision.Components),
			Components: revision.Components, Paths: &q.Paths,
		}
	}
	return Snapshot{Revision: revision, Source: ref(sourceDigest), Image: ref(imageDigest)}, nil
}

// Describe returns author, time and message of a commit, which is fetched if the
// cache lacks it. CodeNotFound where it is nowhere.
func (s *Source) Describe(ctx context.Context, repository, commit string) (pipeline.Revision, error) {
	var revision pipeline.Revision
	err := s.at(ctx, repository, commit, func(at location) (err error) {
		revision, err = s.store.describe(ctx, at, commit)
		return err
	})
	return revision, failed(ctx, "describe commit", err)
}

// at does something with a commit that the cache has, or gets.
func (s *Source) at(ctx context.Context, repository, commit string, f func(location) error) error {
	if !validCommit(commit) {
		return pipeline.Errorf(pipeline.CodeInvalid, "read commit", "%q is not a whole commit ID", clip(commit)).
			WithHint("A commit ID is 40 or 64 hexadecimal digits in lower case, as `git rev-parse HEAD` prints it.")
	}
	at, err := s.open(ctx, repository)
	if err != nil {
		return err
	}
	return s.store.with(ctx, at, commit, func() error { return f(at) })
}

// open checks a repository argument, and that git can be run for it.
func (s *Source) open(ctx context.Context, repository string) (location, error) {
	at, err := locate(repository, s.base)
	if err != nil {
		return location{}, err
	}
	if err := os.MkdirAll(s.store.dir, 0o700); err != nil {
		return location{}, pipeline.Errorf(pipeline.CodeInvalid, "make cache of repositories", "%w", err).
			WithHint("Use a data directory that this user may write to.")
	}
	if _, err := s.store.memos.do(ctx, "version", s.store.checkVersion); err != nil {
		return location{}, err
	}
	// Records name a repository without its credentials. Whoever asks by such a
	// record gets those that came with the configuration.
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.private() {
		s.known[at.key] = at
	} else if known, ok := s.known[at.key]; ok {
		at = known
	}
	return at, nil
}

// failed returns an error its code, where it has none yet.
func failed(ctx context.Context, op string, err error) error {
	var known *pipeline.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return pipeline.Errorf(pipeline.CodeCancelled, op, "%w", context.Cause(ctx))
	case errors.As(err, &known):
		return err
	default:
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
}
