// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestParseChanges(t *testing.T) {
	files, err := parseChanges("3\t1\tsrc/a b.go\x00-\t-\tlogo.png\x000\t7\tdb/\x1bx.sql\x00", &pipeline.Paths{Data: []string{"db/**"}, Ignore: []string{"*.png"}})
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for i, want := range []pipeline.FileChange{
		{Path: "src/a b.go", Component: "application", Added: 3, Removed: 1}, {Path: "logo.png", Component: "ignored"}, {Path: "db/.sql", Component: "data", Removed: 7},
	} {
		if files[i] != want {
			t.Errorf("%+v, want %+v", files[i], want)
		}
	}
	if files, err := parseChanges("1\t1\ta\x00", nil); err != nil || files[0].Component != "" {
		t.Errorf("without paths: %+v, %v", files, err)
	}
	if _, err := parseChanges("hello\x00", nil); err == nil {
		t.Error("what is no change is one")
	}
}

func TestParseLogs(t *testing.T) {
	record := func(n, message string) string {
		return strings.Join([]string{strings.Repeat(n, 40), "Ada", "ada@example.com", "Bob", "bob@example.com", "1700000000", message}, "\x00") + "\x00"
	}
	for name, text := range map[string]string{"one NUL": record("a", "first\n\nmore") + record("b", ""), "two NULs": record("a", "first") + "\x00" + record("b", "") + "\x00"} {
		all, err := parseLogs(text)
		if err != nil || len(all) != 2 || all[0].Message != "first" || all[0].Author != "Ada <ada@example.com>" || all[0].Committer != "Bob <bob@example.com>" || all[1].Commit != strings.Repeat("b", 40) {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
}
