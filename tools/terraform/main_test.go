// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		`{"terraform_version":"1.8.0"}`:     "",
		`{"terraform_version":"1.15.2"}`:    "",
		`{"terraform_version":"1.8.0-rc1"}`: "",
		`{"terraform_version":"1.7.5"}`:     "1.7.5 is not",
		`{"terraform_version":"2.0.0"}`:     "2.0.0 is not",
		`{}`:                                "read its version",
		`Terraform v1.8.0`:                  "read its version",
	} {
		path := filepath.Join(t.TempDir(), "terraform")
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+output+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := check(t.Context(), path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", output, err, want)
		}
	}
}

func TestInstalledIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := filepath.Join(dir, "terraform")
	if err := os.WriteFile(want, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := installed(t.Context(), dir); got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
