// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		docs, rendered map[string]string
		current        bool
	}{
		"the same":       {map[string]string{"index.md": "a\n"}, map[string]string{"index.md": "a\n"}, true},
		"changed":        {map[string]string{"index.md": "a\n"}, map[string]string{"index.md": "b\n"}, false},
		"one missing":    {map[string]string{"index.md": "a\n"}, map[string]string{"index.md": "a\n", "stage.md": "s\n"}, false},
		"one too many":   {map[string]string{"index.md": "a\n", "stage.md": "s\n"}, map[string]string{"index.md": "a\n"}, false},
		"none are there": {nil, map[string]string{"index.md": "a\n"}, false},
	} {
		dir := t.TempDir()
		docs, rendered := filepath.Join(dir, "docs"), filepath.Join(dir, "rendered")
		write(t, docs, c.docs)
		write(t, rendered, c.rendered)
		if err := compare(t.Context(), docs, rendered); (err == nil) != c.current {
			t.Errorf("%s: got %v; current is %t", name, err, c.current)
		}
	}
}

func TestWithoutTerraform(t *testing.T) {
	t.Parallel()
	got := withoutTerraform([]string{"HOME=/h", "TF_LOG=trace", "TF_CLI_ARGS=-x", "PATH=/bin"})
	if want := []string{"HOME=/h", "PATH=/bin"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
