// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	mostFiles = 2000      // that are looked at
	mostBytes = 256 << 10 // of a file that is read
)

// repository is what was found in the directory of a service: the text of small files, by
// slash-separated path, and the names of others.
type repository struct {
	root   string // of the git repository
	within string // the directory in it, slash-separated; empty for the root
	found  map[string]string
}

// passedOver are directories that others fill.
var passedOver = []string{"node_modules", "vendor", "target", "dist", "build", "venv", "deploy", "testdata"}

func open(root, within string) *repository {
	r := &repository{root: root, within: within, found: map[string]string{}}
	dir := r.path("")
	_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || len(r.found) >= mostFiles {
			return fs.SkipAll
		}
		if d.IsDir() {
			if file != dir && skipped(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(dir, file)
		if info, statErr := d.Info(); err == nil && statErr == nil && info.Mode().IsRegular() {
			text := []byte{}
			if info.Size() <= mostBytes {
				text, _ = os.ReadFile(file)
			}
			r.found[filepath.ToSlash(name)] = string(text)
		}
		return nil
	})
	return r
}

// skipped reports whether a directory holds what is no source. Of the hidden ones only the
// files of continuous integration are worth a look.
func skipped(name string) bool {
	return slices.Contains(passedOver, name) || strings.HasPrefix(name, ".") && name != ".github"
}

// path returns where a file of the service is on this machine.
func (r *repository) path(name string) string {
	return filepath.Join(r.root, filepath.FromSlash(r.within), filepath.FromSlash(name))
}

func (r *repository) has(name string) bool { _, ok := r.found[name]; return ok }

// names returns the names of the files, sorted.
func (r *repository) names() []string { return slices.Sorted(maps.Keys(r.found)) }

// first returns the first of the files that there is.
func (r *repository) first(names ...string) string {
	for _, name := range names {
		if r.has(name) {
			return name
		}
	}
	return ""
}

// below reports whether there is a file below a directory.
func (r *repository) below(dir string) bool {
	for name := range r.found {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// notSource matches files that only describe, or that a program wrote.
var notSource = regexp.MustCompile(`(?i)(^|/)(tests?|e2e|\.github|charts|docs)/|(^|/)test_|[._]test\.|[._]spec\.|\.(md|adoc|txt|ya?ml|json|lock|sum|mod)$|(^|/)(Dockerfile|LICENSE)`)

// mentions reports whether a source file has what a pattern matches.
func (r *repository) mentions(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for name, text := range r.found {
		if !notSource.MatchString(name) && re.MatchString(text) {
			return true
		}
	}
	return false
}

// listens are how sources say at which port they listen, or would if nobody said another.
var listens = []*regexp.Regexp{
	regexp.MustCompile(`ListenAndServe(?:TLS)?\(\s*"[^":]*:([0-9]{2,5})"`),
	regexp.MustCompile(`\.listen\(\s*([0-9]{2,5})\b`),
	regexp.MustCompile(`\bPORT\s*(?:\|\||\?\?)\s*["']?([0-9]{2,5})\b`),
	regexp.MustCompile(`["']PORT["']\s*,\s*["']?([0-9]{2,5})\b`),
	regexp.MustCompile(`\.run\([^)\n]*\bport\s*=\s*([0-9]{2,5})\b`),
	regexp.MustCompile(`(?m)^server\.port\s*=\s*([0-9]{2,5})\b`),
}

// listensAt returns the port at which the sources listen, and the line that says so, as
// file:line; 0 where they say none, or several.
func (r *repository) listensAt() (port int, where string) {
	for _, name := range r.names() {
		text := r.found[name]
		if notSource.MatchString(name) {
			continue
		}
		for _, re := range listens {
			for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
				n, err := strconv.Atoi(text[m[2]:m[3]])
				if err != nil || !validPort(n) {
					continue
				}
				if port != 0 && port != n {
					return 0, ""
				}
				if port = n; where == "" {
					where = fmt.Sprintf("%s:%d", name, 1+strings.Count(text[:m[0]], "\n"))
				}
			}
		}
	}
	return port, where
}

func validPort(n int) bool { return n > 0 && n < 65536 }

var mapping = regexp.MustCompile(`@(?:Get|Request)Mapping\(\s*(?:(?:value|path)\s*=\s*)?"(/[^"{]*)"`)

// health returns a path at which the service says that it is well, or else one that it
// answers at; "/" where none is known.
func (r *repository) health() string {
	for _, known := range []string{"/healthz", "/health", "/readyz", "/livez", "/status"} {
		if r.mentions("[\"'`]" + known + "[\"'`]") {
			return known
		}
	}
	if r.buildsWith("spring-boot-starter-actuator") {
		return "/actuator/health"
	}
	found := ""
	for _, name := range r.names() {
		for _, m := range mapping.FindAllStringSubmatch(r.found[name], -1) {
			if m[1] == "/" {
				return "/"
			}
			if found == "" && !notSource.MatchString(name) {
				found = m[1]
			}
		}
	}
	return path.Clean("/" + found)
}

// buildsWith reports whether the files that say what a build needs have a word.
func (r *repository) buildsWith(word string) bool {
	for _, name := range []string{"pom.xml", "build.gradle", "build.gradle.kts", "requirements.txt", "pyproject.toml", "Pipfile", "Gemfile"} {
		if strings.Contains(strings.ToLower(r.found[name]), word) {
			return true
		}
	}
	return false
}
