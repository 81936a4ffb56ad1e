// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// Commands of a bake find the source as a clone of their commit, that is their user's:
// git refuses to work in what is another's, and the ID of whoever bakes means somebody
// else on the builder, or nobody.
func TestBakeSourceIsAClone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	repository, tree := t.TempDir(), filepath.Join(t.TempDir(), "checkout")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", repository, "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	b.must(os.WriteFile(filepath.Join(repository, "script"), []byte("#!/bin/sh\ntest -x \"$0\"\n"), 0o755))
	b.must(os.WriteFile(filepath.Join(repository, "plain"), []byte("x\n"), 0o644))
	b.must(os.Symlink("script", filepath.Join(repository, "link")))
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	git("tag", "v1.0.0")
	commit := git("rev-parse", "HEAD")
	git("commit", "-q", "--allow-empty", "-m", "two")
	b.must(source.New(source.Options{Dir: t.TempDir()}).Checkout(t.Context(), pipeline.CheckoutRequest{Repository: repository, Commit: commit, Dir: tree, Travels: true}))
	if os.Getuid() == 0 { // the tree is another's
		b.must(filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Lchown(path, 12345, 12345)
			}
			return err
		}))
	}
	r := b.bakeRequest("r-1")
	r.Source = tree
	r.Commands = []pipeline.Command{{Name: "look", Line: `cd "$PENSTOCK_SOURCE"
test -z "$(find . ! -user "$(id -u)")"
echo "head $(git rev-parse HEAD), describe $(git describe --tags --dirty)"
git diff-files --quiet
git diff --exit-code
test -z "$(git status --porcelain)"
./script && test ! -x plain && test "$(readlink link)" = script`}}
	_, err := b.Bake(t.Context(), r)
	b.must(err)
	if want := "head " + commit + ", describe v1.0.0\n"; !strings.Contains(b.log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, b.log)
	}
	b.wantNothing()
}
