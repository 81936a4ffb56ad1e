// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// files returns the content of the files below a directory, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found[path[len(dir):]] = read(t, path)
		}
		return err
	}))
	return found
}

func wantSame(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %s has changed", what, name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is new", what, name)
		}
	}
}

// tagged makes a repository with a history: three commits, tagged before, at and after
// the one in the middle, which it returns.
func tagged(t *testing.T) (r *repo, commit string) {
	r = newRepo(t)
	r.commit("one", map[string]string{"a": "1", "sub/b": "1", ".gitattributes": "*.bat text eol=crlf\n*.c text\n"})
	r.git("tag", "-a", "-m", "first", "v1.0.0")
	commit = r.commit("two", map[string]string{"a": "2", "run.bat": "x\n", "x.c": "y\n", "plain": "z\n"})
	r.git("tag", "light")
	r.git("branch", "other", "HEAD~")
	r.commit("three", map[string]string{"a": "3"})
	r.git("tag", "-a", "-m", "second", "v2.0.0")
	return r, commit
}

func TestCheckoutIsAWorkTree(t *testing.T) {
	t.Parallel()
	r, commit := tagged(t)
	cache, dir := t.TempDir(), filepath.Join(t.TempDir(), "out")
	s, _ := newSource(cache)
	must(t, checkOut(t.Context(), s, r.dir, commit, dir))
	for command, want := range map[string]string{
		"rev-parse HEAD": commit, "rev-parse --show-toplevel": dir, "symbolic-ref -q HEAD || :": "", "log --format=%s": "two\none",
		"describe": "v1.0.0-1-g" + commit[:7], "describe --tags --dirty": "light", "tag": "light\nv1.0.0", "branch --list -a": "* (no branch)",
		"status --porcelain --ignored": "", "diff --exit-code": "", "diff-index HEAD": "", "diff-files": "", "fsck --no-dangling": "", "remote get-url origin": r.dir,
		"stash list": "", "cat-file -t HEAD~:a": "blob", "rev-parse --is-shallow-repository": "false",
	} {
		out, err := exec.Command("sh", "-c", "cd '"+dir+"' && git "+command).CombinedOutput() // with the user's configuration
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("git %s: %v, %q, want %q", command, err, got, want)
		}
	}
	for name, want := range map[string]string{"run.bat": "x\r\n", "x.c": "y\n", "plain": "z\n"} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// What a step does to it, it does to no other.
	clone := filepath.Join(cache, only(t, cache, ".git"))
	before, origin := files(t, clone), files(t, r.dir)
	for _, command := range []string{
		"config user.name Step", "config user.email s@example.com", "commit -q --allow-empty -m step", "tag -f v1.0.0", "tag -d light", "checkout -q -b branch",
		"reset -q --hard HEAD~2", "reflog expire --expire=now --all", "gc -q --prune=now --aggressive", "clean -fdxq", "update-ref refs/heads/main HEAD",
	} {
		must(t, exec.Command("sh", "-c", "cd '"+dir+"' && git "+command).Run())
	}
	must(t, exec.Command("chmod", "-R", "u+w", dir).Run())
	wantSame(t, "cache", files(t, clone), before)
	wantSame(t, "repository", files(t, r.dir), origin)
	runGit(t, clone, nil, "fsck")
	again := filepath.Join(t.TempDir(), "again")
	must(t, checkOut(t.Context(), s, r.dir, commit, again))
	if got := runGit(t, again, nil, "describe", "--tags"); got != "light" {
		t.Errorf("the next work tree is at %q", got)
	}
}

// A work tree that travels takes a history that is long along without its files.
func TestCheckoutThatTravels(t *testing.T) {
	t.Parallel()
	r, commit := tagged(t)
	s, _ := newSource(t.TempDir())
	at := func(name string) string {
		dir := filepath.Join(t.TempDir(), name)
		must(t, s.Checkout(t.Context(), pipeline.CheckoutRequest{Repository: r.dir, Commit: commit, Dir: dir, Travels: true}))
		return dir
	}
	if got := runGit(t, at("small"), nil, "cat-file", "-t", "HEAD~:a"); got != "blob" {
		t.Errorf("a small one lacks a file of before: %q", got)
	}
	large := make([]byte, maxTravel+1)
	seed := rand.NewChaCha8([32]byte{})
	_, _ = seed.Read(large)
	r.git("checkout", "-q", "--detach", commit)
	r.commit("large", map[string]string{"large": string(large)})
	commit = r.commit("small again", map[string]string{"large": "little"})
	r.git("branch", "-f", "main")
	s, _ = newSource(t.TempDir())
	dir := at("large")
	if size, err := sizeOf(dir); err != nil || size > 1<<20 {
		t.Errorf("it has %d bytes, %v", size, err)
	}
	for command, want := range map[string]string{
		"rev-parse HEAD": commit, "log --format=%s": "small again\nlarge\ntwo\none", "describe": "v1.0.0-3-g" + commit[:7], "describe --tags": "light-2-g" + commit[:7],
		"status --porcelain": "", "diff --exit-code": "", "show HEAD:large": "little", "rev-list --objects --missing=print --count --no-walk HEAD": "10",
	} {
		if got := runGit(t, dir, []string{"GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none"}, strings.Fields(command)...); got != want {
			t.Errorf("git %s: %q, want %q", command, got, want)
		}
	}
	runGit(t, dir, []string{"GIT_ALLOW_PROTOCOL=none"}, "fsck")
	runGit(t, dir, []string{"GIT_ALLOW_PROTOCOL=none"}, "gc", "-q", "--prune=now")
	if got := runGit(t, dir, nil, "show", "--stat", "--format=%s", "HEAD~2"); !strings.Contains(got, "run.bat") { // asks the remote
		t.Errorf("an older commit is %q", got)
	}
}

func TestShallowRepositoryIsCheckedOut(t *testing.T) {
	t.Parallel()
	r, _ := tagged(t)
	shallow := filepath.Join(t.TempDir(), "shallow")
	runGit(t, "", nil, "clone", "-q", "--depth=1", "file://"+r.dir, shallow)
	s, _ := newSource(t.TempDir())
	dir := filepath.Join(t.TempDir(), "out")
	must(t, checkOut(t.Context(), s, shallow, r.head(), dir))
	if got := runGit(t, dir, nil, "log", "--format=%s"); got != "three" {
		t.Errorf("its history is %q", got)
	}
	runGit(t, dir, nil, "fsck")
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	make := func(name string) *repo {
		r := &repo{t: t, dir: filepath.Join(top, name)}
		runGit(t, "", nil, "init", "--quiet", "-b", "main", r.dir)
		return r
	}
	leaf, lib, app := make("leaf"), make("lib"), make("app")
	allow := []string{"-c", "protocol.file.allow=always"}
	leaf.commit("leaf", map[string]string{"leaf": "1"})
	lib.git(append(allow, "submodule", "--quiet", "add", "../leaf", "deep/leaf")...)
	pinned := lib.commit("lib", map[string]string{"lib": "1"})
	app.git(append(allow, "submodule", "--quiet", "add", "--name", `odd "name`, "../lib", "third party/lib")...)
	commit := app.commit("app", map[string]string{"app": "1"})
	lib.commit("newer", map[string]string{"lib": "2"})
	s, _ := newSource(t.TempDir())
	dir := filepath.Join(t.TempDir(), "out")
	must(t, checkOut(t.Context(), s, app.dir, commit, dir))
	inner := filepath.Join(dir, "third party", "lib")
	if read(t, filepath.Join(inner, "lib")) != "1" || read(t, filepath.Join(inner, "deep", "leaf", "leaf")) != "1" || runGit(t, inner, nil, "rev-parse", "HEAD") != pinned {
		t.Error("a submodule is not at its commit")
	}
	for _, command := range []string{"status --porcelain", "diff --exit-code", "diff-files"} {
		if got := runGit(t, dir, nil, strings.Fields(command)...); got != "" {
			t.Errorf("git %s: %q", command, got)
		}
	}
	if got := runGit(t, dir, nil, "submodule", "status", "--recursive"); !strings.HasPrefix(got, pinned) || strings.Contains(got, "\n-") || strings.Contains(got, "\n+") {
		t.Errorf("git submodule status: %q", got)
	}
	runGit(t, dir, nil, "submodule", "update", "--init", "--recursive")
	runGit(t, dir, nil, "clean", "-fdxq")
	if read(t, filepath.Join(inner, "lib")) != "1" {
		t.Error("git clean removed a submodule")
	}
	gone := app.commit("gone", map[string]string{".gitmodules": "[submodule \"lib\"]\n\tpath = third party/lib\n\turl = ../nothing\n"})
	refused(t, checkOut(t.Context(), s, app.dir, gone, filepath.Join(t.TempDir(), "x")), pipeline.CodeNotFound, `submodule "third party/lib"`, filepath.Join(top, "nothing"))
	evil := app.commit("evil", map[string]string{".gitmodules": "[submodule \"lib\"]\n\tpath = third party/lib\n\turl = ext::touch x\n"})
	refused(t, checkOut(t.Context(), s, app.dir, evil, filepath.Join(t.TempDir(), "x")), pipeline.CodeInvalid, "transport")
	none := app.commit("none", map[string]string{".gitmodules": "[submodule \"lib\"]\n\tpath = third party/lib\n\turl = ../nothing\n\tupdate = none\n"})
	out := filepath.Join(t.TempDir(), "x")
	must(t, checkOut(t.Context(), s, app.dir, none, out))
	if list := names(t, filepath.Join(out, "third party", "lib")); len(list) > 0 {
		t.Errorf("a submodule that is not to be updated holds %q", list)
	}
}

func TestWhereSubmodulesAre(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, url, want, user string }{
		{"https://host/a/b.git", "../c.git", "https://host/a/c.git", ""},
		{"https://ann:secret@host/a/b.git", "../../c.git", "https://host/c.git", "ann"},
		{"https://ann:secret@host/a/b.git", "https://host/x.git", "https://host/x.git", "ann"},
		{"https://ann:secret@host/a/b.git", "https://host.evil/x.git", "https://host.evil/x.git", ""},
		{"https://ann:secret@host/a/b.git", "http://host/x.git", "http://host/x.git", ""},
		{"git@host:a/b.git", "../c.git", "git@host:a/c.git", ""},
		{"git@host:b.git", "../c.git", "git@host:c.git", ""},
		{"/srv/a/b", "../c", "/srv/a/c", ""},
		{"/srv/a/b", "./c", "/srv/a/b/c", ""},
		{"https://host/a", "/etc", "", ""},
		{"https://host/a", "file:///etc", "", ""},
		{"https://host/a", "etc", "", ""},
		{"https://host/a", "--upload-pack=x", "", ""},
	} {
		from, err := locate(test.base, "/")
		must(t, err)
		at, err := from.submodule(test.url)
		if (err != nil) != (test.want == "") || at.address != test.want || at.username != test.user {
			t.Errorf("%s in %s: %+v, %v", test.url, test.base, at, err)
		}
	}
}

// A file that is in Git LFS is there as it is, or the checkout fails and says so.
func TestLargeFiles(t *testing.T) {
	r := newRepo(t)
	const content = "a large file\n"
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content))
	commit := r.commit("one", map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "x.bin": pointer, "plain.txt": pointer, "real.bin": "never was a pointer\n"})
	store := filepath.Join(r.dir, ".git", "lfs", "objects", oid[:2], oid[2:4])
	must(t, os.MkdirAll(store, 0o755))
	must(t, os.WriteFile(filepath.Join(store, oid), []byte(content), 0o644))
	s, _ := newSource(t.TempDir())
	dir := filepath.Join(t.TempDir(), "out")
	t.Run("without", func(t *testing.T) {
		path, bin := os.Getenv("PATH"), t.TempDir()
		t.Setenv("PATH", bin)
		for dir := range strings.SplitSeq(path, ":") {
			if _, err := os.Stat(filepath.Join(dir, "git-lfs")); err == nil { // all of the directory's but that
				for _, name := range []string{"git", "sh"} {
					if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
						_ = os.Symlink(filepath.Join(dir, name), filepath.Join(bin, name))
					}
				}
				continue
			}
			t.Setenv("PATH", os.Getenv("PATH")+":"+dir)
		}
		refused(t, checkOut(t.Context(), s, r.dir, commit, dir), pipeline.CodeInvalid, `"x.bin"`, "Git LFS", "Install git-lfs")
		if _, err := os.Stat(dir); err == nil {
			t.Error("a refused checkout left its directory")
		}
	})
	if _, err := exec.LookPath("git-lfs"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no git-lfs")
		}
		t.Skip("there is no git-lfs")
	}
	t.Setenv("GIT_LFS_SKIP_SMUDGE", "1") // is the user's, for their own clones
	must(t, checkOut(t.Context(), s, r.dir, commit, dir))
	if got := read(t, filepath.Join(dir, "x.bin")); got != content {
		t.Errorf("the file is %q", got)
	}
	if got := read(t, filepath.Join(dir, "plain.txt")); got != pointer {
		t.Errorf("what only looks like one is %q", got)
	}
	if got := runGit(t, dir, nil, "status", "--porcelain"); strings.Contains(got, "x.bin") {
		t.Errorf("git status: %q", got)
	}
}
