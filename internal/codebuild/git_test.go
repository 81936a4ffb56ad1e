// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// git runs git in a directory, with no settings but those of its repository.
func (b *bed) git(dir string, args ...string) string {
	b.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// checkOut makes the work tree of a commit that has a report, a script and a link, the
// way a run does, and returns the commit. With a large history only part of that travels.
func (b *bed) checkOut(large bool) (commit string) {
	b.Helper()
	repository := b.TempDir()
	b.git(repository, "init", "-q", "-b", "main")
	write := func(name, text string, mode os.FileMode) {
		b.must(os.WriteFile(filepath.Join(repository, name), []byte(text), mode))
	}
	write("r1.xml", `<testsuite><testcase name="a"/></testsuite>`, 0o644)
	write("script", "#!/bin/sh\necho out > built\n", 0o755)
	write(".gitignore", "built\n", 0o644)
	b.must(os.Symlink("script", filepath.Join(repository, "link")))
	if large {
		random := make([]byte, 17<<20)
		seed := rand.NewChaCha8([32]byte{})
		_, _ = seed.Read(random)
		write("large", string(random), 0o644)
	}
	b.git(repository, "add", "-A")
	b.git(repository, "commit", "-q", "-m", "one")
	b.git(repository, "tag", "-a", "-m", "first", "v1.0.0")
	write("large", "little\n", 0o644)
	b.git(repository, "add", "-A")
	b.git(repository, "commit", "-q", "-m", "two")
	commit = b.git(repository, "rev-parse", "HEAD")
	write("later", "x\n", 0o644)
	b.git(repository, "add", "-A")
	b.git(repository, "commit", "-q", "-m", "three")
	b.must(os.Remove(b.tree))
	b.must(source.New(source.Options{Dir: b.TempDir()}).Checkout(b.Context(), pipeline.CheckoutRequest{Repository: repository, Commit: commit, Dir: b.tree, Travels: true}))
	return commit
}

// A command in CodeBuild works in a clone of its build's commit, as it does here: git,
// version stamps and checks for changes see that commit, and no change. Steps that come
// then see it, too.
func TestWorkTreeOfGit(t *testing.T) {
	t.Parallel()
	for name, large := range map[string]bool{"small": false, "large": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			commit := b.checkOut(large)
			if size := b.packed(); size > 1<<20 {
				t.Errorf("%d bytes travel", size)
			}
			look := `export GIT_ALLOW_PROTOCOL=none
test "$(git rev-parse --show-toplevel)" = "$(pwd -P)"
echo "head $(git rev-parse HEAD)" "describe $(git describe --tags --dirty)"
test -z "$(git status --porcelain)"
git diff --exit-code
git diff-files --quiet
git diff-index --quiet HEAD
git log -1 --format=subject\ %s
git fsck --no-dangling
test -x script && test ! -x r1.xml && test -L link && test "$(readlink link)" = script
./link
`
			for _, run := range []string{"r-1", "r-2"} { // what comes back is as good as what was sent
				b.log = &syncBuffer{}
				r := b.request(look)
				r.Run = run
				_, err := b.runner.Run(t.Context(), r)
				b.must(err)
				for _, want := range []string{"head " + commit, "describe v1.0.0-1-g" + commit[:7] + "\n", "subject two"} {
					if !strings.Contains(b.log.String(), want) {
						t.Errorf("the log does not say %q:\n%s", want, b.log)
					}
				}
			}
			if got := []string{b.git(b.tree, "rev-parse", "HEAD"), b.git(b.tree, "status", "--porcelain"), b.read("built")}; !slices.Equal(got, []string{commit, "", "out\n"}) {
				t.Errorf("what came back has HEAD, changes and result %q", got)
			}
			b.git(b.tree, "fsck", "--no-dangling")
			r := b.request("git status >/dev/null; git checkout -q -- r1.xml") // which finds nothing to do
			r.Run, r.Step.Report = "r-3", "r*.xml"
			if _, err := b.runner.Run(t.Context(), r); err == nil || !strings.Contains(err.Error(), "did not write it") {
				t.Errorf("a report of the commit: %v", err)
			}
			b.wantNothing()
		})
	}
}

// packed is how many bytes of the work tree travel.
func (b *bed) packed() int {
	b.Helper()
	var out bytes.Buffer
	b.must(artifact.Pack(b.Context(), b.tree, &out))
	return out.Len()
}
