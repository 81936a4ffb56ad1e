// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestComponentsChangeWithTheirFilesOnly(t *testing.T) {
	t.Parallel()
	start := map[string]string{
		"main.go": "package main", "run.sh": "echo", "README.md": "read", "docs/a.txt": "a",
		"config/app.yml": "a: 1", "config/notes.md": "n", "image/rootfs/etc/motd": "hi", "db/1.sql": "select 1",
	}
	tests := map[string]struct {
		change func(*repo)
		want   string // the components that change
	}{
		"nothing":           {func(r *repo) { r.commit("again", nil) }, ""},
		"ignored files":     {func(r *repo) { r.commit("docs", map[string]string{"docs/b": "b", "README.md": "more"}) }, ""},
		"ignored elsewhere": {func(r *repo) { r.commit("docs", map[string]string{"config/notes.md": "x"}) }, ""},
		"time and author": {func(r *repo) {
			r.tick += 1000
			r.git("commit", "--amend", "--quiet", "--author=Bob <b@example.com>", "-m", "x")
		}, ""},
		"application": {func(r *repo) { r.commit("x", map[string]string{"main.go": "package mine"}) }, "application"},
		"renamed":     {func(r *repo) { r.git("mv", "main.go", "app.go"); r.commit("x", nil) }, "application"},
		"executable":  {func(r *repo) { r.git("update-index", "--chmod=+x", "run.sh"); r.git("commit", "--quiet", "-m", "x") }, "application"},
		"link for file": {func(r *repo) {
			must(t, os.Remove(r.dir+"/run.sh"))
			must(t, os.Symlink("echo", r.dir+"/run.sh"))
			r.commit("x", nil)
		}, "application"},
		"configuration":    {func(r *repo) { r.commit("x", map[string]string{"config/app.yml": "a: 2"}) }, "configuration"},
		"infrastructure":   {func(r *repo) { r.commit("x", map[string]string{"image/new": "f"}) }, "infrastructure"},
		"data":             {func(r *repo) { r.commit("x", map[string]string{"db/1.sql": ""}) }, "data"},
		"moved to data":    {func(r *repo) { r.git("mv", "main.go", "db/main.go"); r.commit("x", nil) }, "application data"},
		"moved to ignored": {func(r *repo) { r.git("mv", "db/1.sql", "docs/1.sql"); r.commit("x", nil) }, "data"},
		"there and back": {func(r *repo) {
			r.commit("x", map[string]string{"main.go": "y"})
			r.commit("x", map[string]string{"main.go": "package main"})
		}, ""},
		"a submodule's pin": {func(r *repo) {
			r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("a", 40)+",lib")
			r.git("commit", "--quiet", "-m", "x")
		}, "application"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, cache := newRepo(t), t.TempDir()
			r.t = t
			r.commit("start", start)
			q := Query{
				Repository: r.dir, Ref: "main",
				Paths: pipeline.Paths{Infrastructure: []string{"image/**"}, Configuration: []string{"config/**"}, Data: []string{"db/**"}, Ignore: []string{"docs/**", "*.md"}},
			}
			before := snapshot(t, cache, q)
			test.change(r)
			after := snapshot(t, cache, q)
			if after.Commit != r.head() {
				t.Errorf("commit is %s, want %s", after.Commit, r.head())
			}
			var changed []string
			for _, c := range []struct{ name, before, after string }{
				{"application", before.Components.Application, after.Components.Application},
				{"configuration", before.Components.Configuration, after.Components.Configuration},
				{"infrastructure", before.Components.Infrastructure, after.Components.Infrastructure},
				{"data", before.Components.Data, after.Components.Data},
			} {
				if c.before != c.after {
					changed = append(changed, c.name)
				}
			}
			if got := strings.Join(changed, " "); got != test.want {
				t.Errorf("changed: %q, want %q", got, test.want)
			}
			inSource := strings.ContainsAny(strings.ReplaceAll(test.want, "infrastructure", ""), "abc")
			if (before.Source.Digest != after.Source.Digest) != inSource {
				t.Errorf("digest of source changed: %v", !inSource)
			}
			inImage := test.want == "infrastructure" || test.want == "configuration"
			if (before.Image.Digest != after.Image.Digest) != inImage {
				t.Errorf("digest of image changed: %v", !inImage)
			}
		})
	}
}

// The digests are recorded in ledgers and states: they may never change for the
// same files, whatever becomes of this package.
func TestDigestsAreStable(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("one", map[string]string{"a": "a\n", "b/c": "c\n"})
	snap := snapshot(t, t.TempDir(), Query{Repository: r.dir, Paths: pipeline.Paths{Data: []string{"b/**"}}})
	want := pipeline.Components{
		Application:    "sha256:ce9945669b03927fb0094e6d0c27bdfa3737ae1cb81de7a80d267723cf7cfa5d",
		Configuration:  "sha256:c94ad3a03532850cba45e51ad5019a6ee713d35472f71636e8f1380a43f3662d",
		Infrastructure: "sha256:c94ad3a03532850cba45e51ad5019a6ee713d35472f71636e8f1380a43f3662d",
		Data:           "sha256:56b1f93e2bbb6eb36a26ed72bb0de9e8d7f787d1aab187234b4bccdafb547616",
	}
	if snap.Components != want {
		t.Errorf("components are %+v, want %+v", snap.Components, want)
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("first\n\nbody", map[string]string{"a": "1"})
	r.git("tag", "-a", "v1", "-m", "tag")
	r.git("tag", "-a", "nested", "-m", "tag", "v1")
	r.git("branch", "same")
	second := r.commit("second", map[string]string{"a": "2"})
	r.git("tag", "same")
	r.git("update-ref", "refs/pull/7/head", second)
	r.git("branch", "feature/x")
	r.git("tag", "blob", r.git("rev-parse", "HEAD:a"))
	third := r.commit("third", map[string]string{"a": "3"})
	cache := t.TempDir()
	for ref, want := range map[string]string{
		"": third, "HEAD": third, "main": third, "v1": first, "nested": first, "same": first, "feature/x": second,
		"refs/heads/main": third, "refs/tags/v1": first, "refs/pull/7/head": second, second: second,
	} {
		if snap := snapshot(t, cache, Query{Repository: r.dir, Ref: ref}); snap.Commit != want || snap.Ref != ref {
			t.Errorf("ref %q gives %s as %q, want %s", ref, snap.Commit, snap.Ref, want)
		}
	}
	s, _ := newSource(cache)
	for ref, code := range map[string]pipeline.Code{
		"maim": pipeline.CodeNotFound, "refs/pull/8/head": pipeline.CodeNotFound, "refs/heads/v1": pipeline.CodeNotFound,
		strings.Repeat("0", 39) + "1": pipeline.CodeNotFound, "blob": pipeline.CodeInvalid,
	} {
		_, err := s.Snapshot(t.Context(), Query{Repository: r.dir, Ref: ref})
		refused(t, err, code, ref, r.dir)
	}
	_, err := s.Snapshot(t.Context(), Query{Repository: r.dir, Ref: "maim"})
	refused(t, err, pipeline.CodeNotFound, "main", "feature/x")

	r.git("checkout", "--quiet", "--detach", first)
	if snap := snapshot(t, cache, Query{Repository: r.dir}); snap.Commit != first || snap.Author != "Ann <ann@example.com>" ||
		snap.Message != "first" || snap.Time.Unix() != 1_700_000_001 || snap.Repository != r.dir {
		t.Errorf("detached HEAD gives %+v, want %s", snap.Revision, first)
	}
	r.git("symbolic-ref", "HEAD", "refs/heads/nowhere")
	s, _ = newSource(cache)
	_, err = s.Snapshot(t.Context(), Query{Repository: r.dir})
	refused(t, err, pipeline.CodeNotFound, "HEAD")
}

func TestRepositoriesOfAllShapes(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	want := r.commit("one", map[string]string{"a": "1"})
	base := t.TempDir()
	bare := filepath.Join(base, "with space", "bare.git")
	runGit(t, "", nil, "clone", "--quiet", "--bare", r.dir, bare)
	linked := filepath.Join(base, "work tree")
	r.git("worktree", "add", "--quiet", "-b", "other", linked)
	shallow := filepath.Join(base, "shallow")
	runGit(t, "", nil, "clone", "--quiet", "--depth=1", "file://"+r.dir, shallow)
	for _, repository := range []string{r.dir, bare, linked, shallow, "with space/bare.git", "./work tree", "file://" + r.dir, "file://" + strings.ReplaceAll(bare, " ", "%20")} {
		s := New(Options{Dir: t.TempDir(), Base: base})
		snap, err := s.Snapshot(t.Context(), Query{Repository: repository})
		if err != nil || snap.Commit != want || snap.Repository != repository || snap.Source.Repository != repository {
			t.Errorf("%s gives %+v, %v", repository, snap, err)
		}
	}
	sha256 := newRepo(t, "--object-format=sha256")
	want = sha256.commit("one", map[string]string{"a": "1"})
	s, cache := (*Source)(nil), t.TempDir()
	for range 2 { // clone, then fetch
		s, _ = newSource(cache)
		if snap, err := s.Snapshot(t.Context(), Query{Repository: sha256.dir}); err != nil || snap.Commit != want || len(want) != 64 {
			t.Errorf("SHA-256 repository gives %+v, %v", snap, err)
		}
	}
	must(t, checkOut(t.Context(), s, sha256.dir, want, filepath.Join(base, "out")))
}

func TestMissing(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	must(t, os.Mkdir(filepath.Join(base, "plain"), 0o755))
	empty := newRepo(t)
	s := New(Options{Dir: t.TempDir(), Base: base})
	for _, test := range []struct {
		repository, ref string
		code            pipeline.Code
		words           string
	}{
		{empty.dir, "", pipeline.CodeNotFound, "no commits"},
		{empty.dir, "main", pipeline.CodeNotFound, "no commits"},
		{"gone", "", pipeline.CodeNotFound, "gone"},
		{"file:///gone/too", "", pipeline.CodeNotFound, "gone"},
		{"plain", "", pipeline.CodeInvalid, "plain"},
	} {
		_, err := s.Snapshot(t.Context(), Query{Repository: test.repository, Ref: test.ref})
		refused(t, err, test.code, test.repository, test.words)
	}

	// An empty repository that gets its first commit is picked up, also when its
	// clone was made while it was empty.
	cache := t.TempDir()
	s, _ = newSource(cache)
	_, err := s.Snapshot(t.Context(), Query{Repository: empty.dir})
	refused(t, err, pipeline.CodeNotFound, "no commits")
	first := empty.commit("first", map[string]string{"a": "1"})
	if snap := snapshot(t, cache, Query{Repository: empty.dir}); snap.Commit != first {
		t.Errorf("commit is %s, want %s", snap.Commit, first)
	}

	// A repository that goes away after it was cached is gone for new plans, while
	// builds can still be checked out.
	must(t, os.RemoveAll(empty.dir))
	s, _ = newSource(cache)
	_, err = s.Snapshot(t.Context(), Query{Repository: empty.dir})
	refused(t, err, pipeline.CodeNotFound, empty.dir)
	must(t, checkOut(t.Context(), s, empty.dir, first, filepath.Join(base, "out")))
}

func TestForcePush(t *testing.T) {
	t.Parallel()
	r, cache, out := newRepo(t), t.TempDir(), t.TempDir()
	r.commit("one", map[string]string{"a": "1"})
	r.git("tag", "moving")
	r.commit("two", map[string]string{"a": "2"})
	r.git("branch", "dir")
	old := snapshot(t, cache, Query{Repository: r.dir, Ref: "main"}).Commit
	r.git("reset", "--quiet", "--hard", "HEAD~1")
	now := r.commit("other two", map[string]string{"a": "3"})
	r.git("tag", "--force", "moving")
	r.git("branch", "-D", "dir")
	r.git("branch", "dir/file")
	r.git("reflog", "expire", "--expire=all", "--all")
	r.git("gc", "--quiet", "--prune=now")
	for _, ref := range []string{"main", "moving", "dir/file"} {
		if snap := snapshot(t, cache, Query{Repository: r.dir, Ref: ref}); snap.Commit != now {
			t.Errorf("ref %s gives %s, want %s", ref, snap.Commit, now)
		}
	}
	s, _ := newSource(cache)
	_, err := s.Snapshot(t.Context(), Query{Repository: r.dir, Ref: "dir"})
	refused(t, err, pipeline.CodeNotFound, "dir")
	clone := filepath.Join(cache, only(t, cache, ".git"))
	runGit(t, clone, nil, "gc", "--quiet", "--prune=now")
	must(t, checkOut(t.Context(), s, r.dir, old, filepath.Join(out, "old")))
	if text, err := os.ReadFile(filepath.Join(out, "old", "a")); err != nil || string(text) != "2" {
		t.Errorf("checkout of the old commit holds %q, %v", text, err)
	}

	// The same holds when the clone has to be made anew, as long as it can be read.
	must(t, os.WriteFile(filepath.Join(clone, "packed-refs"), []byte("damaged\n"+read(t, filepath.Join(clone, "packed-refs"))), 0o600))
	s, j := newSource(cache)
	if _, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil || j.count("clone") != 1 {
		t.Errorf("snapshot with a damaged clone: %v\n%s", err, j)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// only returns the one name in dir with the ending.
func only(t *testing.T, dir, ending string) string {
	t.Helper()
	list := slices.DeleteFunc(names(t, dir), func(name string) bool { return !strings.HasSuffix(name, ending) })
	if len(list) != 1 {
		t.Fatalf("%s holds %q, want one name with %s", dir, list, ending)
	}
	return list[0]
}

func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	r, cache := newRepo(t), t.TempDir()
	r.commit("one", map[string]string{"a": "1"})
	r.git("branch", "other")
	for _, command := range []string{"clone", "fetch"} {
		s, j := newSource(cache)
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				q := Query{Repository: r.dir, Ref: []string{"main", "other", ""}[i%3], Paths: pipeline.Paths{Data: []string{fmt.Sprint("d", i)}}}
				if _, err := s.Snapshot(t.Context(), q); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		commit := r.head()
		if _, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil {
			t.Error(err)
		}
		if _, err := s.Describe(t.Context(), r.dir, commit); err != nil {
			t.Error(err)
		}
		if j.count(command) != 1 || j.count("clone")+j.count("fetch") != 1 || j.count("ls-remote") != 1 {
			t.Errorf("want one %s and one look at HEAD:\n%s", command, j)
		}
	}
}

// Several processes share the cache; a lock is the same to them as to several Sources.
func TestManySourcesOnOneCache(t *testing.T) {
	t.Parallel()
	r, cache := newRepo(t), t.TempDir()
	want := r.commit("one", map[string]string{"a": "1"})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, j := newSource(cache)
			snap, err := s.Snapshot(t.Context(), Query{Repository: r.dir})
			if err != nil || snap.Commit != want {
				t.Errorf("%+v, %v\n%s", snap, err, j)
			}
		})
	}
	group.Wait()
	if list := names(t, cache); len(list) != 2 {
		t.Errorf("cache holds %q, want a clone and its lock", list)
	}
}

func TestCommitsByID(t *testing.T) {
	t.Parallel()
	r, cache := newRepo(t), t.TempDir()
	r.commit("one", map[string]string{"a": "1"})
	snapshot(t, cache, Query{Repository: r.dir})
	r.git("checkout", "--quiet", "--detach")
	loose := r.commit("on no branch", map[string]string{"a": "2"})
	s, _ := newSource(cache)
	revision, err := s.Describe(t.Context(), r.dir, loose)
	if err != nil || revision.Commit != loose || revision.Message != "on no branch" {
		t.Errorf("commit on no branch gives %+v, %v", revision, err)
	}
	absent := strings.Repeat("ab", 20)
	_, err = s.Describe(t.Context(), r.dir, absent)
	refused(t, err, pipeline.CodeNotFound, absent)
	refused(t, checkOut(t.Context(), s, r.dir, absent, filepath.Join(t.TempDir(), "x")), pipeline.CodeNotFound, absent)
	for _, commit := range []string{"", "main", "-x", strings.Repeat("A", 40), strings.Repeat("a", 41)} {
		_, err := s.Describe(t.Context(), r.dir, commit)
		refused(t, err, pipeline.CodeInvalid, commit)
	}
}

func TestCancelledBeforeIt(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	commit := r.commit("one", map[string]string{"a": "1"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, _ := newSource(t.TempDir())
	_, err := s.Snapshot(ctx, Query{Repository: r.dir})
	refused(t, err, pipeline.CodeCancelled)
	refused(t, checkOut(ctx, s, r.dir, commit, filepath.Join(t.TempDir(), "x")), pipeline.CodeCancelled)
	if _, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil {
		t.Errorf("a cancel is remembered: %v", err)
	}
}
