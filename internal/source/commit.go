// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"io"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// describe reads a commit that the cache has.
func (s *store) describe(ctx context.Context, at location, commit string) (pipeline.Revision, error) {
	text, err := s.output(ctx, s.local(at, "log", "-1", "-s", "--no-show-signature", "--no-color", "--no-notes", "--encoding=UTF-8", logFormat, commit, "--"))
	if err != nil {
		return pipeline.Revision{}, err
	}
	revision, err := parseLog(text)
	revision.Repository = at.name
	return revision, err
}

// tree reads the list of files of a commit that the cache has.
func (s *store) tree(ctx context.Context, at location, commit string, f func(entry) error) error {
	c := s.local(at, "ls-tree", "-r", "-z", "--full-tree", commit, "--")
	c.read = func(r io.Reader) error { return readTree(r, f) }
	return s.git(ctx, c)
}
