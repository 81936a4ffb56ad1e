// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// fillDir puts files of the user into a directory, also such as have names of Penstock's.
func fillDir(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"main.tf", ".gitignore", "images/logo.png", "logs/app.log", "work/notes", "work/r-essays/one", "cache/c", "artifacts/a", "lock", "context.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// files lists what is below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A directory with somebody's files is refused, and stays as it is.
func TestDirOfOthers(t *testing.T) {
	dir := t.TempDir()
	fillDir(t, dir)
	before := files(t, dir)
	_, err := app.Open(t.Context(), app.Options{DataDir: dir})
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), dir) || !strings.Contains(reason.Hint(err), filepath.Join(dir, app.DataDirName)) {
		t.Errorf("a directory of the user: %v (%s)", err, reason.Hint(err))
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("of %v is left %v", before, after)
	}
}

// A directory that was used before there were markers goes on working. Nothing in it
// that Penstock may not have made is removed.
func TestDirWithoutMarker(t *testing.T) {
	dir := t.TempDir()
	closeAfter(t, dir, func(a *app.App) {
		if _, err := a.Engine.Pipelines.Create(t.Context(), pipeline.Pipeline{Name: "shop", Owner: a.Owner}); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range []string{"PENSTOCK.TAG", ".gitignore"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	fillDir(t, dir)
	if err := os.Remove(filepath.Join(dir, "context.json")); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	closeAfter(t, dir, func(a *app.App) {
		if err := a.Engine.Pipelines.Remove(t.Context(), "shop", "", true); err != nil {
			t.Error(err)
		}
	})
	after := files(t, dir)
	before = slices.DeleteFunc(before, func(name string) bool { return name == "/work/r-essays/one" || name == "/artifacts/a" })
	for _, name := range before {
		if !slices.Contains(after, name) {
			t.Errorf("%s is gone", name)
		}
	}
}

// A directory that Penstock found empty goes when it holds no pipeline, and stays with
// what the user has put there since, to be used again.
func TestDirRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	closeAfter(t, dir, func(*app.App) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory has mode %v, %v", info.Mode(), err)
		}
		if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if left := files(t, dir); !slices.Contains(left, "/notes") || slices.Contains(left, "/ledger.db") {
		t.Errorf("with notes of the user is left %v", left)
	}
	closeAfter(t, dir, func(*app.App) {
		if err := os.Remove(filepath.Join(dir, "notes")); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v, %v", err, files(t, dir))
	}
}

// A removal that was interrupted at any point leaves a directory that can be used.
func TestDirRemovalInterrupted(t *testing.T) {
	for _, left := range [][]string{{".gitignore", "PENSTOCK.TAG", "lock"}, {"PENSTOCK.TAG", "lock"}, {"lock"}, {}} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		closeAfter(t, dir, func(*app.App) {})
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("after %v the directory is left: %v", left, err)
		}
	}
}

// closeAfter opens a data directory for a call.
func closeAfter(t *testing.T, dir string, call func(*app.App)) {
	t.Helper()
	a, err := app.Open(t.Context(), app.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	call(a)
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A directory of another user is refused to everybody.
func TestDirOfAnotherUser(t *testing.T) {
	const other = 12345
	dir := "/" // is root's
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, other, other); err != nil {
			t.Fatal(err)
		}
	}
	_, err := app.Open(t.Context(), app.Options{DataDir: dir})
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), dir+" belongs to the user") || !strings.Contains(reason.Hint(err), "chown") {
		t.Errorf("the directory of another user: %v (%s)", err, reason.Hint(err))
	}
}

// What is found above, and others could have put there, is refused.
func TestFindDataDir(t *testing.T) {
	root := t.TempDir()
	below, dir := filepath.Join(root, "a", "b"), filepath.Join(root, app.DataDirName)
	if found, err := app.FindDataDir(root); err != nil || strings.HasPrefix(found, root) {
		t.Errorf("where none is: %q, %v", found, err)
	}
	for _, made := range []string{below, dir} {
		if err := os.MkdirAll(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "context.json"), []byte(`{"stack":"evil"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := app.FindDataDir(below); err != nil || found != dir {
		t.Errorf("one's own: %q, %v", found, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := app.FindDataDir(below); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "other users may write in "+dir) {
		t.Errorf("one that others may write in: %v", err)
	}
	if os.Geteuid() != 0 {
		return // who is not root can't give a directory away
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := app.FindDataDir(below); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "belongs to the user") {
		t.Errorf("one of another user: %v", err)
	}
}
