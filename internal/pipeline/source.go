// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"maps"
	"slices"
	"time"
)

// SourceRef is the revision that a commit stage builds, or an image is baked from.
type SourceRef struct {
	Repository string `json:"repository"`
	Commit     string `json:"commit"`
	Digest     string `json:"digest"` // of the files of the components that concern the stage
	// Components are the digests of all components of the commit. They are zero if only
	// Digest is known.
	Components Components `json:"components,omitzero"`
	Paths      *Paths     `json:"paths,omitempty"`
	Web        string     `json:"web,omitempty"` // address of the repository's pages, if its own does not say
}

// Directory returns the directory of the repository that the revision is of; empty for all of
// it.
func (r *SourceRef) Directory() string {
	if r == nil || r.Paths == nil {
		return ""
	}
	return r.Paths.Directory
}

// Paths says which files of a repository belong to which component, by patterns.
//
// A file belongs to the first component that has a pattern for it, in the order
// ignore, module, infrastructure, configuration, data; a file that matches none is application.
// With Directory, only the files below it count, and patterns are relative to it. Of the
// files outside, those that an Include pattern, relative to the repository's root, matches
// are application.
//
// Patterns are case-sensitive and relative to the repository's root, or to Directory:
//
//   - "*" and "?" match within a path element, "[a-z]" and "{a,b}" as in a shell,
//     and an element "**" matches any number of elements: "image/**", "**/test/**".
//   - A pattern without "/" matches at any depth, as in .gitignore: "*.md". One
//     that begins with "/" matches from the root on: "/*.md".
//   - A pattern without wildcards names a file or a whole directory: "db/seed"; one
//     that ends with "/", a directory.
type Paths struct {
	Directory      string   `json:"directory,omitempty"` // the part of the repository that counts, slash-separated; empty for all of it
	Include        []string `json:"include,omitempty"`   // of the application, though outside of Directory; relative to the repository's root
	Module         []string `json:"module,omitempty"`    // of the module that makes the environments
	Infrastructure []string `json:"infrastructure,omitempty"`
	Configuration  []string `json:"configuration,omitempty"`
	Data           []string `json:"data,omitempty"`
	Ignore         []string `json:"ignore,omitempty"`
}

// Revision is one commit of a repository, with a digest of each component's files if it is
// known which files those are.
type Revision struct {
	Repository string     `json:"repository"`
	Ref        string     `json:"ref,omitempty"`
	Commit     string     `json:"commit"`
	Author     string     `json:"author,omitempty"`
	Committer  string     `json:"committer,omitempty"` // the author of the commit; unknown in old records
	Time       time.Time  `json:"time,omitzero" shape:"committed_at"`
	Message    string     `json:"message,omitempty"` // the first line
	Components Components `json:"components,omitzero"`
}

// Components are the digests of the files of each component: "sha256:" and the
// hex of it. A component without files has a digest too, always the same. Only where patterns
// say which files are the module's has it one.
type Components struct {
	Application    string `json:"application"`
	Configuration  string `json:"configuration"`
	Infrastructure string `json:"infrastructure"`
	Data           string `json:"data"`
	Module         string `json:"module,omitempty"` // only where patterns say which files are the module's
}

// Component is one part of a system: its name, and the digest of its files.
type Component struct{ Name, Digest string }

// List returns the components in the order in which people list them. Without patterns for
// the module's files, there is no component of them.
func (c Components) List() []Component {
	all := []Component{
		{"application", c.Application}, {"configuration", c.Configuration}, {"infrastructure", c.Infrastructure}, {"data", c.Data},
	}
	if c.Module != "" {
		all = append(all, Component{"module", c.Module})
	}
	return all
}

// Changed returns the names of the components that are others than those of an earlier
// revision, in the order of List.
func (c Components) Changed(was Components) []string {
	before := map[string]string{}
	for _, part := range was.List() {
		before[part.Name] = part.Digest
	}
	var names []string
	for _, part := range c.List() {
		if before[part.Name] != part.Digest {
			names = append(names, part.Name)
		}
		delete(before, part.Name)
	}
	return append(names, slices.Sorted(maps.Keys(before))...)
}
