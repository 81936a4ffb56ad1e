// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Of a repository of several services only what belongs to one of them moves its pipeline.
func TestDirectory(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("all", map[string]string{
		"go.mod": "module m\n", "libs/money/money.go": "1", "libs/mail/mail.go": "1",
		"services/shop/main.go": "1", "services/shop/db/1.sql": "1", "services/shop/README.md": "1",
		"services/shop2/main.go": "1", "db/other.sql": "1",
	})
	q := Query{Repository: r.dir, Paths: pipeline.Paths{Directory: "services/shop", Include: []string{"/go.mod", "libs/money/**"}, Data: []string{"/db/**"}, Ignore: []string{"*.md"}}}
	snapshot := func() Snapshot {
		t.Helper()
		s, j := newSource(t.TempDir())
		snap, err := s.Snapshot(t.Context(), q)
		if err != nil {
			t.Fatalf("%v\n%s", err, j)
		}
		return snap
	}
	before := snapshot()
	for _, tt := range []struct {
		file    string
		touches string
	}{
		{"services/shop2/main.go", ""}, {"libs/mail/mail.go", ""}, {"db/other.sql", ""}, {"services/shop/README.md", ""}, {"services/go.mod", ""},
		{"services/shop/main.go", "application"}, {"services/shop/db/1.sql", "data"}, {"libs/money/money.go", "application"}, {"go.mod", "application"},
	} {
		r.commit("touch "+tt.file, map[string]string{tt.file: "2 of " + tt.file})
		after := snapshot()
		was, is := before.Components, after.Components
		if moved := was.Application != is.Application; moved != (tt.touches == "application") {
			t.Errorf("%s: the application moves: %t", tt.file, moved)
		}
		if moved := was.Data != is.Data; moved != (tt.touches == "data") {
			t.Errorf("%s: the data move: %t", tt.file, moved)
		}
		if moved := before.Source.Digest != after.Source.Digest; moved != (tt.touches != "") {
			t.Errorf("%s: the source moves: %t", tt.file, moved)
		}
		if was.Infrastructure != is.Infrastructure || before.Image.Digest != after.Image.Digest {
			t.Errorf("%s: the image moves", tt.file)
		}
		before = after
	}

	s, _ := newSource(t.TempDir())
	c, err := s.Compare(t.Context(), r.dir, first, r.head(), &q.Paths)
	must(t, err)
	var commits, files []string
	for _, a := range c.Ahead {
		commits = append(commits, strings.TrimPrefix(a.Message, "touch "))
	}
	for _, f := range c.Files {
		files = append(files, f.Path+"="+f.Component)
	}
	if got, want := strings.Join(commits, " "), "go.mod libs/money/money.go services/shop/db/1.sql services/shop/main.go services/shop/README.md"; got != want {
		t.Errorf("commits that concern it are %q, want %q", got, want)
	}
	if got, want := strings.Join(files, " "), "go.mod=application libs/money/money.go=application services/shop/README.md=ignored services/shop/db/1.sql=data services/shop/main.go=application"; got != want {
		t.Errorf("files that concern it are %q, want %q", got, want)
	}
	for _, ref := range []pipeline.SourceRef{before.Source, before.Image} {
		if ref.Components != before.Components || ref.Directory() != "services/shop" {
			t.Errorf("the revision is %+v", ref)
		}
	}

	// The same files in another directory are built elsewhere.
	q.Paths.Include = nil
	one := snapshot().Source.Digest
	q.Paths = pipeline.Paths{Directory: "services", Ignore: []string{"/shop2/**", "/go.mod", "*.md"}, Data: []string{"/shop/db/**"}}
	if snapshot().Source.Digest == one {
		t.Error("another directory has the same digest")
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "..", "/services", "services/", "a//b", "a/../b", "./a", `a\b`, "a\nb"} {
		refused(t, Query{Repository: "x", Paths: pipeline.Paths{Directory: dir}}.Validate(), pipeline.CodeInvalid, "directory")
	}
	refused(t, Query{Repository: "x", Paths: pipeline.Paths{Include: []string{"a"}}}.Validate(), pipeline.CodeInvalid, "include")
	r := newRepo(t)
	r.commit("one", map[string]string{"services/shop/a": "1", "file": "1"})
	for _, dir := range []string{"service/shop", "services/sho", "file"} {
		s, _ := newSource(t.TempDir())
		_, err := s.Snapshot(t.Context(), Query{Repository: r.dir, Paths: pipeline.Paths{Directory: dir}})
		refused(t, err, pipeline.CodeNotFound, "has no directory", dir)
	}
}
