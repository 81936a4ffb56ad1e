// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package filetree

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCopyTree(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(from, "a/empty"), 0o755))
	must(os.WriteFile(filepath.Join(from, "a/run"), []byte("text"), 0o755))
	must(os.WriteFile(filepath.Join(from, "secret"), []byte("s"), 0o400))
	must(os.Symlink("a/run", filepath.Join(from, "link")))
	must(os.Symlink("../outside", filepath.Join(from, "dangling")))
	must(os.Chmod(filepath.Join(from, "a"), 0o555))
	must(Copy(t.Context(), from, to))
	for path, mode := range map[string]os.FileMode{
		"a": os.ModeDir | 0o555, "a/empty": os.ModeDir | 0o755, "a/run": 0o755, "secret": 0o400,
		"link": os.ModeSymlink | 0o777, "dangling": os.ModeSymlink | 0o777,
	} {
		info, err := os.Lstat(filepath.Join(to, path))
		must(err)
		if got := info.Mode(); got != mode && got.Type() != os.ModeSymlink {
			t.Errorf("%s has mode %v, want %v", path, got, mode)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "dangling")); target != "../outside" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if data, err := os.ReadFile(filepath.Join(to, "link")); string(data) != "text" {
		t.Errorf("the link gives %q, %v", data, err)
	}
	for _, dir := range []string{from, to} {
		must(Remove(dir))
		must(Remove(dir)) // again
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	if err := Copy(t.Context(), from, to); err == nil {
		t.Error("a tree that isn't there was copied")
	}
}
