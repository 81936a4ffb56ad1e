// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package local

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A tree that a bake has made may have a pipe where packages are listed, or a link to one.
func TestPackagesOfAPipe(t *testing.T) {
	tree := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(tree, "var/lib/dpkg"), 0o700), os.MkdirAll(filepath.Join(tree, "lib/apk/db"), 0o700),
		unix.Mkfifo(filepath.Join(tree, "var/lib/dpkg/status"), 0o600),
		os.Symlink("../../../var/lib/dpkg/status", filepath.Join(tree, "lib/apk/db/installed")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := packages(tree); got != nil {
		t.Errorf("the packages are %v", got)
	}
}
