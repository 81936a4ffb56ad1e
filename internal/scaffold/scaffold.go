// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package scaffold looks at a repository and writes a first pipeline for one of its
// services: a Terraform configuration that validates and says what to change. It looks at
// files and runs none.
//
//	p := scaffold.Look(root, "services/shop")
//	text, notes := scaffold.Write(p, scaffold.Local)
package scaffold

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Project is what a service's directory contains, as far as its files show.
type Project struct {
	Name     string
	Language string // empty where no file tells
	Needs    string // the version of its language that it asks for, and where; empty where it does not
	Build    []Step
	Artifact string // that the steps make
	Install  string
	Start    string // empty where it is unknown
	Says     string // the file that says so; empty where it is a guess
	Migrate  string // what a Procfile runs before a release; empty for nothing
	Health   string // a path that the service knows
	OwnPort  bool   // the service takes its port from $PORT
	Port     int    // at which it listens where nobody says another; 0 where it is unknown
	Listens  string // the line that says so, as file:line; may be empty

	Declared string // how its Procfile or Dockerfile starts it; empty where none says
	Declares string // that file

	Directory  string   // the part of the repository that it is; empty for all of it
	Include    []string // patterns of files outside of Directory that it is built from
	Repository string   // where the repository is, seen from the configuration
	Deploy     string   // the directory of the configuration, in Directory; empty where it is elsewhere

	Infrastructure, Configuration, Data, Ignore []string // patterns
}

// Step is a command of the commit stage.
type Step struct{ Name, Command string }

// Look finds out what a directory of a repository holds. within is relative to the
// repository's root, slash-separated, and empty for all of it.
func Look(root, within string) Project {
	r := open(root, within)
	p := Project{
		Name: nameOf(r.path("")), Artifact: "dist.tar.gz", Health: r.health(), OwnPort: r.mentions(`\bPORT\b`),
		Directory: within, Repository: path.Join("..", climb(within)), Deploy: "deploy",
	}
	for _, look := range []func(*repository, *Project) bool{lookGo, lookNode, lookPython, lookRust, lookJava, lookRuby, lookStatic} {
		if look(r, &p) {
			break
		}
	}
	r.started(&p)
	r.targets(&p)
	r.components(&p)
	r.pack(&p)
	return p
}

// climb returns the way from a directory up to the repository's root.
func climb(within string) string {
	if within == "" {
		return ""
	}
	return strings.Repeat("../", strings.Count(within, "/")+1)
}

// nameOf makes the name of a pipeline from that of the directory.
func nameOf(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	return pipeline.Slug(filepath.Base(abs), "app") // Terraform's names begin with a letter
}

// Service is a directory of a repository that looks like a service of its own.
type Service struct {
	Directory string `json:"directory"` // relative to the repository's root
	Language  string `json:"language"`
}

// buildFiles are what tells a service's directory from others.
var buildFiles = []string{
	"Procfile", "Dockerfile", "package.json", "go.mod", "requirements.txt", "pyproject.toml", "setup.py", "Cargo.toml", "pom.xml",
	"build.gradle", "build.gradle.kts", "Gemfile",
}

// notServices are directories of what tests or shows others.
var notServices = []string{"test", "tests", "e2e", "docs", "doc", "examples", "example", "scripts", "tools", "hack"}

// Services lists what looks like services one and two directories below one, where that is
// none itself: nil where it is. Of a Go module that has several programs, and does not say
// which is the service, they are those.
func Services(root, within string) []Service {
	r := open(root, within)
	p := Look(root, within)
	if p.Start != "" && p.Language != "" && !r.workspaces() {
		return nil
	}
	dirs := map[string]bool{}
	for _, name := range r.names() {
		dir, file := path.Split(name)
		dir = strings.TrimSuffix(dir, "/")
		if dir == "" || strings.Count(dir, "/") > 1 || slices.ContainsFunc(strings.Split(dir, "/"), func(part string) bool { return slices.Contains(notServices, part) }) {
			continue
		}
		if slices.Contains(buildFiles, file) {
			dirs[dir] = true
		}
	}
	for _, dir := range r.composed() {
		dirs[dir] = r.below(dir)
	}
	for dir := range r.mains() {
		dirs[dir] = dirs[dir] || dir != "."
	}
	var starts, others []Service
	for _, name := range sorted(dirs) {
		if parent := path.Dir(name); dirs[parent] { // what is in a service is its own
			continue
		}
		found := Look(root, path.Join(within, name))
		s := Service{path.Join(within, name), found.Language}
		switch {
		case found.Start != "":
			starts = append(starts, s)
		case found.Language != "":
			others = append(others, s)
		}
	}
	if len(starts) > 0 {
		return starts
	}
	return others
}

func sorted(set map[string]bool) (names []string) {
	for name, in := range set {
		if in {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var target = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)

// targets takes steps from a Makefile, which knows better.
func (r *repository) targets(p *Project) {
	has := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(r.found[r.first("Makefile", "makefile", "GNUmakefile")], -1) {
		has[m[1]] = true
	}
	for _, s := range []struct {
		name    string
		targets []string
	}{{"unit tests", []string{"test", "check"}}, {"static analysis", []string{"lint", "vet"}}} {
		for _, t := range s.targets {
			if !has[t] {
				continue
			}
			i := slices.IndexFunc(p.Build, func(b Step) bool { return b.Name == s.name })
			if i < 0 {
				p.Build = append(p.Build, Step{s.name, "make " + t})
			} else {
				p.Build[i].Command = "make " + t
			}
			break
		}
	}
}

// components finds out which paths belong to which component.
func (r *repository) components(p *Project) {
	add := func(list *[]string, pattern string, there bool) {
		if there {
			*list = append(*list, pattern)
		}
	}
	for _, dir := range []string{"image", "packer", "infrastructure", "infra", "ansible"} {
		add(&p.Infrastructure, dir+"/**", r.below(dir))
	}
	for _, dir := range []string{"config", "conf"} {
		add(&p.Configuration, dir+"/**", r.below(dir))
	}
	for _, dir := range []string{"db", "migrations", "data", "sql"} {
		add(&p.Data, dir+"/**", r.below(dir))
	}
	p.Ignore = []string{"*.md"}
	add(&p.Ignore, "docs/**", r.below("docs"))
	add(&p.Ignore, ".github/**", r.below(".github"))
}

// pack adds what a service reads when it runs to an artifact that is only what was built:
// configuration, data, and files that it serves.
func (r *repository) pack(p *Project) {
	var dirs []string
	for _, pattern := range slices.Concat(p.Configuration, p.Data) {
		dirs = append(dirs, strings.TrimSuffix(pattern, "/**"))
	}
	for _, dir := range slices.Concat([]string{"assets", "public", "resources", "static", "templates", "views", "web", "www"}, r.container().copied(r)) {
		if (r.below(dir) || r.has(dir)) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for i, step := range p.Build {
		_, packed, ok := strings.Cut(step.Command, "tar -czf dist.tar.gz ")
		if !ok || len(dirs) == 0 {
			continue
		}
		if strings.HasPrefix(packed, "-C target/release ") {
			p.Build[i].Command += " -C ../.."
		}
		p.Build[i].Command += " " + strings.Join(dirs, " ")
	}
}
