// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// checkOut checks out a commit, of which all goes along.
func checkOut(ctx context.Context, s *Source, repository, commit, dir string) error {
	return s.Checkout(ctx, pipeline.CheckoutRequest{Repository: repository, Commit: commit, Dir: dir})
}

func TestCheckoutIsTheCommitAndNothingElse(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	odd := "with\nnewline \xff"
	if runtime.GOOS == "darwin" {
		odd = "with\nnewline ä" // the file system takes text only
	}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("mine"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(r.dir, "link")))
	must(t, os.Symlink("..", filepath.Join(r.dir, "up")))
	r.commit("one", map[string]string{
		"a": "1", "dir/tool": "#!", ".gitattributes": "*.txt text\nskipped export-ignore\nstamp export-subst\n",
		"crlf.txt": "a\nb\n", "skipped": "here", "stamp": "$Format:%H$", odd: "x",
	})
	r.git("update-index", "--chmod=+x", "dir/tool")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("a", 40)+",lib")
	r.git("commit", "--quiet", "-m", "more")
	commit := r.head()
	must(t, os.WriteFile(filepath.Join(r.dir, "untracked"), []byte("x"), 0o600))
	dir := filepath.Join(t.TempDir(), "work tree")
	s, _ := newSource(t.TempDir())
	must(t, checkOut(t.Context(), s, r.dir, commit, dir))

	revision, err := s.Describe(t.Context(), r.dir, commit)
	must(t, err)
	got := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		if d.Name() == ".git" && d.IsDir() {
			return fs.SkipDir
		}
		info, err := d.Info()
		must(t, err)
		if !info.ModTime().Equal(revision.Time) {
			t.Errorf("%s has the time %s, want %s", path, info.ModTime(), revision.Time)
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			what += " " + read(t, path)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(t, err)
			what = "-> " + target
		}
		name, err := filepath.Rel(dir, path)
		must(t, err)
		got[name] = what
		return nil
	}))
	want := map[string]string{
		".": "drwxr-xr-x", "a": "-rw-r--r-- 1", "dir": "drwxr-xr-x", "dir/tool": "-rwxr-xr-x #!", "link": "-> " + outside, "up": "-> ..",
		".gitattributes": "-rw-r--r-- *.txt text\nskipped export-ignore\nstamp export-subst\n", "crlf.txt": "-rw-r--r-- a\nb\n",
		"skipped": "-rw-r--r-- here", "stamp": "-rw-r--r-- $Format:%H$", odd: "-rw-r--r-- x", "lib": "drwxr-xr-x",
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%q is %q, want %q", name, got[name], want[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("there is also %q", got)
	}
	if err := checkOut(t.Context(), s, r.dir, commit, dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("checkout over another one gives %v", err)
	}
	if read(t, filepath.Join(dir, "a")) != "1" || read(t, outside) != "mine" {
		t.Error("files were touched that are not the checkout's")
	}
}

// A repository can name filters and hold hooks; neither may have anything run.
func TestNothingOfTheRepositoryRuns(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	trace := filepath.Join(t.TempDir(), "ran")
	commit := r.commit("one", map[string]string{
		".gitattributes": "* filter=evil\n", "a": "1", ".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch " + trace + "\n",
		".lfsconfig": "[lfs]\n\turl = ext::touch\n", ".gitconfig": "[core]\n\tfsmonitor = touch " + trace + "\n",
	})
	r.git("config", "filter.evil.smudge", "touch "+trace)
	r.git("config", "core.fsmonitor", "touch "+trace)
	r.git("config", "uploadpack.packObjectsHook", "touch "+trace)
	for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction", "pre-receive", "update", "post-update"} {
		path := filepath.Join(r.dir, ".git", "hooks", hook)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("#!/bin/sh\ntouch "+trace+"\n"), 0o755))
	}
	cache := t.TempDir()
	for range 2 {
		snapshot(t, cache, Query{Repository: r.dir})
	}
	s, _ := newSource(cache)
	must(t, checkOut(t.Context(), s, r.dir, commit, filepath.Join(t.TempDir(), "out")))
	if _, err := os.Stat(trace); err == nil {
		t.Error("something of the repository ran")
	}
}

// object writes an object that git's own commands would not make.
func (r *repo) object(kind string, content []byte) string {
	r.t.Helper()
	return pipeGit(r.t, r.dir, nil, content, "hash-object", "-t", kind, "-w", "--literally", "--stdin")
}

type treeEntry struct{ mode, name, id string }

func (r *repo) tree(entries ...treeEntry) string {
	r.t.Helper()
	var raw []byte
	for _, e := range entries {
		id, err := hex.DecodeString(e.id)
		must(r.t, err)
		raw = append(raw, e.mode+" "+e.name+"\x00"...)
		raw = append(raw, id...)
	}
	return r.object("tree", raw)
}

func TestHostileCommits(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	r := newRepo(t)
	blob, link := r.object("blob", []byte("evil")), r.object("blob", []byte(outside))
	file := treeEntry{"100644", "f", blob}
	sub := r.tree(file)
	commitOf := func(tree string) string {
		text := "tree " + tree + "\nauthor A <a> 1 +0000\ncommitter A <a> 99999999999999999 +0000\n\n\x1b[31mred\x00x\n"
		return r.object("commit", []byte(text))
	}
	for name, test := range map[string]struct {
		tree  string
		words string
	}{
		"up":                   {r.tree(treeEntry{"40000", "..", sub}), ".."},
		"here":                 {r.tree(treeEntry{"40000", ".", sub}), "."},
		"slash":                {r.tree(treeEntry{"100644", "../x", blob}), ".."},
		"absolute":             {r.tree(treeEntry{"100644", "/x", blob}), "empty"},
		"git directory":        {r.tree(treeEntry{"40000", ".git", sub}), "git directory"},
		"git in capitals":      {r.tree(treeEntry{"40000", "d", r.tree(treeEntry{"40000", ".GIT", sub})}), "git directory"},
		"link and directory":   {r.tree(treeEntry{"120000", "a", link}, treeEntry{"40000", "a", sub}), "symbolic link"},
		"directory, then link": {r.tree(treeEntry{"40000", "a", sub}, treeEntry{"120000", "a", link}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			commit := commitOf(test.tree)
			r.git("update-ref", "refs/heads/main", commit)
			dir := filepath.Join(t.TempDir(), "out")
			s, _ := newSource(t.TempDir())
			err := checkOut(t.Context(), s, r.dir, commit, dir)
			if test.words != "" {
				refused(t, err, pipeline.CodeInvalid, test.words)
			}
			if list := names(t, outside); len(list) > 0 {
				t.Errorf("written outside: %q", list)
			}
			if _, statErr := os.Lstat(dir); err != nil && statErr == nil {
				t.Error("a refused checkout left its directory")
			}
			if test.words != "symbolic link" && test.words != "" {
				_, err := s.Snapshot(t.Context(), Query{Repository: r.dir})
				refused(t, err, pipeline.CodeInvalid, test.words)
			}
		})
	}
	revision, err := New(Options{Dir: t.TempDir()}).Describe(t.Context(), r.dir, commitOf(sub))
	if err != nil || revision.Message != "red" || revision.Time.Year() != 1970 {
		t.Errorf("commit with a hostile message and time gives %+v, %v", revision, err)
	}
}

func TestDamagedCache(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("one", map[string]string{"a": "1", "b/c": "2"})
	object := func(name string) func(t *testing.T, clone string) {
		return func(t *testing.T, clone string) {
			packs, err := filepath.Glob(filepath.Join(clone, "objects", "pack", "*.pack"))
			must(t, err)
			for _, pack := range packs {
				moved := filepath.Join(t.TempDir(), "pack")
				must(t, os.Rename(pack, moved))
				pipeGit(t, clone, nil, []byte(read(t, moved)), "unpack-objects", "-q")
				must(t, os.Remove(strings.TrimSuffix(pack, ".pack")+".idx"))
			}
			id := runGit(t, clone, nil, "rev-parse", name)
			path := filepath.Join(clone, "objects", id[:2], id[2:])
			must(t, os.Chmod(path, 0o600))
			must(t, os.WriteFile(path, []byte("damaged"), 0o600))
		}
	}
	for name, damage := range map[string]func(t *testing.T, clone string){
		"no objects": func(t *testing.T, clone string) { must(t, os.RemoveAll(filepath.Join(clone, "objects"))) },
		"no packs":   func(t *testing.T, clone string) { must(t, os.RemoveAll(filepath.Join(clone, "objects", "pack"))) },
		"no HEAD":    func(t *testing.T, clone string) { must(t, os.Remove(filepath.Join(clone, "HEAD"))) },
		"empty":      func(t *testing.T, clone string) { must(t, os.RemoveAll(clone)); must(t, os.Mkdir(clone, 0o700)) },
		"bad config": func(t *testing.T, clone string) {
			must(t, os.WriteFile(filepath.Join(clone, "config"), []byte("[core"), 0o600))
		},
		"damaged commit": object("main"),
		"damaged tree":   object("main^{tree}"),
		"damaged file":   object("main:a"),
		"stale locks": func(t *testing.T, clone string) {
			for _, name := range []string{"packed-refs.lock", "refs/heads/main.lock", "HEAD.lock", "config.lock", "shallow.lock"} {
				must(t, os.WriteFile(filepath.Join(clone, name), nil, 0o600))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, again := range []bool{false, true} { // with and without something to fetch
				cache := t.TempDir()
				want := snapshot(t, cache, Query{Repository: r.dir})
				damage(t, filepath.Join(cache, only(t, cache, ".git")))
				s, j := newSource(cache)
				if again {
					if got, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil || !reflect.DeepEqual(got.Source, want.Source) {
						t.Fatalf("snapshot is %+v, %v, want %+v\n%s", got, err, want, j)
					}
				}
				dir := filepath.Join(t.TempDir(), "out")
				if err := checkOut(t.Context(), s, r.dir, want.Commit, dir); err != nil || read(t, filepath.Join(dir, "a")) != "1" {
					t.Fatalf("checkout: %v\n%s", err, j)
				}
				if list := names(t, cache); len(list) != 2 {
					t.Errorf("cache holds %q, want a clone and its lock", list)
				}
			}
		})
	}
}

// A filter that fails is not the clone's fault, which is left as it is.
func TestFailedFilterIsReported(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	commit := r.commit("one", map[string]string{".gitattributes": "a filter=broken\n", "a": "1"})
	cache := t.TempDir()
	s, j := newSource(cache)
	if _, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	refused(t, checkOut(t.Context(), s, r.dir, commit, dir), pipeline.CodeFailed, "out of order", "filter")
	if j.count("clone") != 1 {
		t.Errorf("cloned anew:\n%s", j)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a failed checkout left its directory")
	}
}

func TestCancelledCheckoutLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	commit := r.commit("one", map[string]string{".gitattributes": "a filter=slow\n", "a": "1"})
	cache, dir := t.TempDir(), filepath.Join(t.TempDir(), "out")
	trace := dir + ".pid" // as the filter is configured
	s, _ := newSource(cache)
	if _, err := s.Snapshot(t.Context(), Query{Repository: r.dir}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		waitFor(t, func() bool { text, _ := os.ReadFile(trace); return len(text) > 0 })
	}()
	refused(t, checkOut(ctx, s, r.dir, commit, dir), pipeline.CodeCancelled)
	if _, err := os.Stat(dir); err == nil {
		t.Error("a cancelled checkout left its directory")
	}
	waitFor(t, func() bool { return !alive(t, read(t, trace)) })
}

// waitFor waits for something that happens soon.
func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !what() {
		select {
		case <-deadline.C:
			t.Error("waited in vain")
			return
		case <-tick.C:
		}
	}
}

// alive reports whether the process with the printed ID runs.
func alive(t *testing.T, text string) bool {
	t.Helper()
	_, ok := process.Identify(atoi(t, text))
	return ok
}
