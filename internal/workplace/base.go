// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package workplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// base returns the directory below which places are made, and whether the user named it.
func base() (dir string, named bool, err error) {
	if dir = os.Getenv(Variable); dir != "" {
		if dir, err = filepath.Abs(dir); err != nil {
			return "", true, placeError(os.Getenv(Variable), err)
		}
		return dir, true, nil
	}
	if dir = os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "penstock"), false, nil
	}
	home, err := os.UserHomeDir()
	if err == nil && !filepath.IsAbs(home) {
		err = fmt.Errorf("the home directory %q is not an absolute path", home)
	}
	if err != nil {
		return "", false, placeError("no directory for it", err)
	}
	return filepath.Join(home, ".local", "state", "penstock"), false, nil
}

// makeBase makes the directory, for this user only, and returns it without symbolic
// links. It refuses one that others could change, and one that a user named and that
// lies below what steps would find.
func makeBase(dir string, named bool) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", placeError(dir, err)
	}
	if info, err := os.Lstat(dir); err != nil {
		return "", placeError(dir, err)
	} else if !ownedOrRoots(info) { // a link, perhaps, that somebody put there
		return "", placeError(dir, errors.New("it belongs to another user"))
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", placeError(dir, err)
	}
	info, err := os.Lstat(real)
	if err == nil {
		err = checkPrivate(real, info)
	}
	for above := filepath.Dir(real); err == nil; above = filepath.Dir(above) {
		if info, err = os.Stat(above); err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
			err = fmt.Errorf("other users may write in %s", above)
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if err != nil {
		return "", placeError(dir, err)
	}
	if found := Above(real); named && len(found) > 0 {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "open work directory", "%s is %s, which lies below %s: steps would find that", Variable, dir, found[0]).
			WithHint("Set %s to a directory outside of any repository and project.", Variable)
	}
	return real, nil
}

// marks are what tools look for in the directories above the one that they run in, and
// take for a part of what they work on.
var marks = []string{
	".git", ".hg", ".ignore", ".rgignore", "Cargo.toml", "go.mod", "go.work", "node_modules", "package.json", "pnpm-workspace.yaml", "pom.xml", "pyproject.toml",
}

// Above returns what lies in the directories above dir that tools which run in it would
// take for a part of their project.
func Above(dir string) []string {
	var found []string
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		for _, mark := range marks {
			if _, err := os.Lstat(filepath.Join(up, mark)); err == nil {
				found = append(found, filepath.Join(up, mark))
			}
		}
		if up == filepath.Dir(up) {
			return found
		}
	}
}

// Surroundings says in words what lies above a place that steps would find; empty where
// nothing does. A repository is left out: git does not look for it.
func (p *Place) Surroundings() string {
	var found []string
	for _, path := range Above(p.Dir) {
		if filepath.Base(path) != ".git" {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("steps and instances work in %s, and may find %s above it", p.Dir, strings.Join(found, ", "))
}
