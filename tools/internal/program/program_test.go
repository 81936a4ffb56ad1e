// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package program

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "new", "chosen"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	check := func(path string) error {
		if filepath.Base(path) == "old" {
			return errors.New("too old")
		}
		return nil
	}
	for name, c := range map[string]struct {
		chosen  string
		names   []string
		want    string
		wantErr string
	}{
		"the first that does":     {"", []string{"missing", "old", "new"}, "new", ""},
		"none":                    {"", []string{"missing", "old"}, "", ""},
		"the chosen one":          {filepath.Join(dir, "chosen"), []string{"new"}, "chosen", ""},
		"the chosen one, on PATH": {"chosen", []string{"new"}, "chosen", ""},
		"a chosen one too old":    {"old", []string{"new"}, "", "too old"},
		"a chosen one missing":    {filepath.Join(dir, "nowhere"), []string{"new"}, "", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEST_PROGRAM", c.chosen)
			got, err := Find("TEST_PROGRAM", check, c.names...)
			want := c.want
			if want != "" {
				want = filepath.Join(dir, want)
			}
			if got != want {
				t.Errorf("got %q; want %q", got, want)
			}
			if (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("got error %v; want %q", err, c.wantErr)
			}
		})
	}
}
