// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"slices"
	"strings"
)

// Package is a package of an operating system that is installed in an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

const (
	// maxPackages bounds the packages of an image: a large system has some thousands.
	maxPackages = 50_000

	// maxPackageText bounds a name and a version, in bytes.
	maxPackageText = 500
)

// Packages returns packages in order, each once, without invalid ones: a name and a version
// have no spaces and at most 500 bytes. It returns at most 50,000 packages. The list is never
// nil, because nil means that the packages are not known.
func Packages(list []Package) []Package {
	ok := func(s string) bool { return s != "" && len(s) <= maxPackageText && len(strings.Fields(s)) == 1 }
	out := []Package{}
	for _, p := range list {
		if p.Name, p.Version = strings.TrimSpace(p.Name), strings.TrimSpace(p.Version); ok(p.Name) && ok(p.Version) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Package) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)) })
	out = slices.Compact(out)
	return out[:min(len(out), maxPackages)]
}

// ParsePackages reads lines of a name, a space and a version, and skips others. It returns
// nil if there is no such line.
func ParsePackages(text string) []Package {
	var list []Package
	for line := range strings.Lines(text) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			list = append(list, Package{name, version})
		}
	}
	if list = Packages(list); len(list) == 0 {
		return nil
	}
	return list
}

// PackageChange is a package that differs between two images.
type PackageChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"` // empty: it is new
	To   string `json:"to,omitempty"`   // empty: it is gone
}

// ComparePackages returns the differences between the packages of two images, by name. If an
// image has several versions of a name, as of Linux kernels, the last one counts.
func ComparePackages(from, to []Package) []PackageChange {
	before, after := versions(from), versions(to)
	changes := []PackageChange{}
	for name, version := range before {
		if after[name] != version {
			changes = append(changes, PackageChange{Name: name, From: version, To: after[name]})
		}
	}
	for name, version := range after {
		if before[name] == "" {
			changes = append(changes, PackageChange{Name: name, To: version})
		}
	}
	slices.SortFunc(changes, func(a, b PackageChange) int { return cmp.Compare(a.Name, b.Name) })
	return changes
}

func versions(list []Package) map[string]string {
	byName := make(map[string]string, len(list))
	for _, p := range list {
		byName[p.Name] = p.Version
	}
	return byName
}
