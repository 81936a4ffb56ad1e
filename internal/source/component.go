// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// component is what a file belongs to.
type component int

// The components, in the order in which patterns are tried but for application,
// which has what none matched.
const (
	ignored component = iota
	module
	infrastructure
	configuration
	data
	application
	components // their number
)

// componentNames are what components are called.
var componentNames = [...]string{ignored: "ignored", module: "module", infrastructure: "infrastructure", configuration: "configuration", data: "data", application: "application"}

// classifier tells the component of a path.
type classifier struct {
	within   string // ends with a slash; empty for the whole repository
	include  globs
	patterns [application]globs
}

func newClassifier(p pipeline.Paths) classifier {
	c := classifier{include: compile(p.Include), patterns: [application]globs{
		ignored:        compile(p.Ignore),
		module:         compile(p.Module),
		infrastructure: compile(p.Infrastructure),
		configuration:  compile(p.Configuration),
		data:           compile(p.Data),
	}}
	if p.Directory != "" {
		c.within = p.Directory + "/"
	}
	return c
}

// of returns the component of a path that is relative to the repository's root.
func (c classifier) of(path string) component {
	path, inside := strings.CutPrefix(path, c.within)
	switch {
	case inside:
		for which, g := range c.patterns {
			if g.match(path) {
				return component(which)
			}
		}
		return application
	case c.include.match(path):
		return application
	default:
		return ignored
	}
}

// outside reports whether a path is none of the patterns' own: neither in its directory nor included.
func (c classifier) outside(path string) bool {
	return !strings.HasPrefix(path, c.within) && !c.include.match(path)
}

// components digests the components of a commit that the cache has.
func (s *store) components(ctx context.Context, at location, commit string, p pipeline.Paths) (pipeline.Components, error) {
	sums, classify := newDigests(), newClassifier(p)
	there := p.Directory == ""
	err := s.tree(ctx, at, commit, func(e entry) error {
		there = there || strings.HasPrefix(e.path, classify.within)
		sums.add(classify.of(e.path), e)
		return nil
	})
	if err == nil && !there {
		err = pipeline.Errorf(pipeline.CodeNotFound, "find directory", "repository %q has no directory %q at commit %s", at.name, p.Directory, commit).
			WithHint("Set directory to one with files of that commit, relative to the repository's root.")
	}
	all := sums.all()
	if len(p.Module) == 0 {
		all.Module = ""
	}
	return all, err
}

// digests adds up the entries of each component.
type digests struct{ sums [components]hash.Hash }

func newDigests() *digests {
	d := &digests{}
	for i := range d.sums {
		d.sums[i] = sha256.New()
		_, _ = io.WriteString(d.sums[i], "penstock-component-1\n")
	}
	return d
}

// add counts a file. Neither mode, ID nor path can hold a NUL, so that no two
// lists of files run into each other.
func (d *digests) add(to component, e entry) {
	_, _ = io.WriteString(d.sums[to], e.mode+" "+e.id+" "+e.path+"\x00")
}

// all returns the digests of the components.
func (d *digests) all() pipeline.Components {
	return pipeline.Components{
		Application:    format(d.sums[application]),
		Configuration:  format(d.sums[configuration]),
		Infrastructure: format(d.sums[infrastructure]),
		Data:           format(d.sums[data]),
		Module:         format(d.sums[module]),
	}
}

func format(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// sourceDigest digests what concerns the application's stages.
func sourceDigest(directory string, c pipeline.Components) string {
	named := []string{"application", c.Application, "configuration", c.Configuration, "data", c.Data}
	if c.Module != "" {
		named = append(named, "module", c.Module)
	}
	return combine(directory, named...)
}

// imageDigest digests what concerns the base image.
func imageDigest(directory string, c pipeline.Components) string {
	return combine(directory, "infrastructure", c.Infrastructure, "configuration", c.Configuration)
}

// combine digests named digests, and the directory: the same files are built elsewhere in
// another one.
func combine(directory string, named ...string) string {
	if directory != "" {
		named = append(named, "directory", strconv.Quote(directory))
	}
	h := sha256.New()
	_, _ = io.WriteString(h, "penstock-source-1\n"+strings.Join(named, "\n")+"\n")
	return format(h)
}
