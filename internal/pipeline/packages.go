// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"strings"
	"time"
)

// PackageMark begins what a bake writes to its log for each package of the image: the
// mark, the name, a space and the version.
const PackageMark = "== package "

// ParsePackage reads a line of a bake's log that names a package, with or without the
// time before it.
func ParsePackage(line string) (name, version string, ok bool) {
	if stamp, rest, found := strings.Cut(line, " "); found {
		if _, err := time.Parse(time.RFC3339, stamp); err == nil {
			line = rest
		}
	}
	line, ok = strings.CutPrefix(line, PackageMark)
	if !ok {
		return "", "", false
	}
	name, version, ok = strings.Cut(strings.TrimSpace(line), " ")
	return name, version, ok && name != "" && version != "" && !strings.Contains(version, " ")
}

// PackageChange is a package that two images do not have alike.
type PackageChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"` // empty: it is new
	To   string `json:"to,omitempty"`   // empty: it is gone
}
