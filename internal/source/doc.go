// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package source reads git repositories: which commit a ref names, which files of
// it belong to which component, with a digest of each, and clean work trees for
// the steps of a run.
//
// It runs the user's own git, so whatever that can reach can be a source, with the
// user's own credentials. Each repository is kept as a bare clone in a cache that
// processes share, and is fetched at most once by each Source. It never runs what a
// repository brings (hooks, submodules), never pushes, and knows no stage or build.
//
// A component's digest is over the paths, modes and content of exactly its files.
// Time, author, message and history don't enter it, so a commit that leaves a
// component's files as they were leaves its digest as it was. A submodule counts
// as the commit that it is pinned to, and is never fetched; in a checkout it is an
// empty directory, as git makes it.
//
//	s := source.New(source.Options{Dir: cacheDir})
//	snapshot, err := s.Snapshot(ctx, source.Query{
//		Repository: "https://example.com/acme/shop.git",
//		Ref:        "main",
//		Paths:      pipeline.Paths{Infrastructure: []string{"image/**"}, Ignore: []string{"docs/**", "*.md"}},
//	})
//	if err != nil {
//		return err
//	}
//	fmt.Println(snapshot.Commit, snapshot.Components.Application)
package source
