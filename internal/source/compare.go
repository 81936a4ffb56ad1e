// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// mostCommits and mostChanges bound a comparison: nobody reads more.
	mostCommits = 500
	mostChanges = 5000
)

// Compare returns what lies between two commits, which are fetched if the cache lacks them.
// Files are grouped by component where paths are given, and of a directory only the
// files that concern it are listed, and the commits that touch them. CodeNotFound where a commit is
// nowhere any more.
func (s *Source) Compare(ctx context.Context, repository, from, to string, paths *pipeline.Paths) (pipeline.Comparison, error) {
	const op = "compare commits"
	var c pipeline.Comparison
	err := s.at(ctx, repository, from, func(location) error { return nil })
	if err == nil {
		err = s.at(ctx, repository, to, func(at location) (err error) {
			c, err = s.store.compare(ctx, at, from, to, paths)
			return err
		})
	}
	return c, failed(ctx, op, err)
}

func (s *store) compare(ctx context.Context, at location, from, to string, paths *pipeline.Paths) (pipeline.Comparison, error) {
	c := pipeline.Comparison{Ahead: []pipeline.Revision{}, Behind: []pipeline.Revision{}, Files: []pipeline.FileChange{}}
	for _, side := range []struct {
		list     *[]pipeline.Revision
		from, to string
	}{{&c.Ahead, from, to}, {&c.Behind, to, from}} {
		args := []string{"log", "-s", fmt.Sprintf("--max-count=%d", mostCommits+1), "--no-show-signature", "--no-color", "--no-notes",
			"--encoding=UTF-8", "--topo-order", "--full-history", "-z", logFormat, side.to, "^" + side.from, "--"}
		text, err := s.output(ctx, s.local(at, append(args, concerns(paths)...)...))
		if err != nil {
			return c, err
		}
		revisions, err := parseLogs(text)
		if err != nil {
			return c, err
		}
		if len(revisions) > mostCommits {
			revisions, c.Cut = revisions[:mostCommits], true
		}
		for i := range revisions {
			revisions[i].Repository = at.name
		}
		*side.list = append(*side.list, revisions...)
	}
	text, err := s.output(ctx, s.local(at, "diff", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", from, to, "--"))
	if err != nil {
		return c, err
	}
	if c.Files, err = parseChanges(text, paths); err != nil {
		return c, err
	}
	names, err := s.output(ctx, s.local(at, "diff", "--name-status", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", from, to, "--"))
	if err != nil {
		return c, err
	}
	nameChanges(c.Files, names)
	if len(c.Files) > mostChanges {
		c.Files, c.Cut = c.Files[:mostChanges], true
	}
	return c, err
}

// concerns returns what git calls a pathspec, for the files that the paths are about: none,
// which stands for all files, for those of a whole repository.
func concerns(paths *pipeline.Paths) []string {
	if paths == nil || paths.Directory == "" {
		return nil
	}
	specs := []string{":(top,literal)" + paths.Directory}
	for _, pattern := range compile(paths.Include) {
		if strings.Contains(pattern, "{") {
			return nil // git has no alternatives, and too many commits are better than too few
		}
		specs = append(specs, ":(top,glob)"+pattern)
	}
	return specs
}

// parseLogs reads the records of several commits. Each is ended by a NUL of its own, or
// two where git puts one between records.
func parseLogs(text string) ([]pipeline.Revision, error) {
	fields := strings.Split(text, "\x00")
	var all []pipeline.Revision
	for len(fields) > logFields {
		if fields[0] == "" {
			fields = fields[1:]
			continue
		}
		r, err := parseLog(strings.Join(fields[:logFields], "\x00") + "\x00")
		if err != nil {
			return nil, err
		}
		all, fields = append(all, r), fields[logFields:]
	}
	return all, nil
}

// nameChanges says of files how they changed, by what `git diff --name-status -z` prints: a
// letter and a path in turn.
func nameChanges(files []pipeline.FileChange, text string) {
	changes := map[string]string{}
	entries := strings.Split(text, "\x00")
	for i := 0; i+1 < len(entries); i += 2 {
		change := pipeline.FileChanged
		switch entries[i] {
		case "A":
			change = pipeline.FileAdded
		case "D":
			change = pipeline.FileRemoved
		}
		changes[printable(entries[i+1])] = change
	}
	for i := range files {
		files[i].Change = changes[files[i].Path]
	}
}

// parseChanges reads what `git diff --numstat -z` prints: lines that were added, a tab,
// lines that were removed, a tab and the path. A file that is no text has dashes.
func parseChanges(text string, paths *pipeline.Paths) ([]pipeline.FileChange, error) {
	files := []pipeline.FileChange{}
	var classify classifier
	if paths != nil {
		classify = newClassifier(*paths)
	}
	for entry := range strings.SplitSeq(text, "\x00") {
		if entry == "" {
			continue
		}
		parts := strings.SplitN(entry, "\t", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("list of changes has the entry %q", clip(entry))
		}
		f := pipeline.FileChange{Path: printable(parts[2])}
		f.Added, _ = strconv.Atoi(parts[0])
		f.Removed, _ = strconv.Atoi(parts[1])
		if paths != nil {
			if classify.outside(parts[2]) {
				continue
			}
			f.Component = componentNames[classify.of(parts[2])]
		}
		files = append(files, f)
	}
	return files, nil
}
