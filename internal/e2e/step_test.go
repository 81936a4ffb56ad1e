// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// alone fails where a tool would find something of the developer's: in the directories
// above the one that it runs in.
const alone = `
dir=$(pwd -P)
while [ "$dir" != / ]; do
  dir=$(dirname "$dir")
  for name in .git .gitignore .ignore .editorconfig go.mod go.work node_modules package.json; do
    if [ -e "$dir/$name" ]; then echo "$dir/$name is above $(pwd -P)"; exit 1; fi
  done
done
if command -v node >/dev/null && node -e 'require("leaked")' 2>/dev/null; then echo "node finds the developer's modules"; exit 1; fi
`

// noRepository fails where git finds a repository.
const noRepository = `if git rev-parse --show-toplevel 2>/dev/null; then exit 1; fi` + "\n"

// stepsConfig is a pipeline within the repository that it builds, whose commands do what
// those of a CI server do, and look around.
const stepsConfig = `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "s" {
  repository     = ".."
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" {
  name    = "p"
  service = {
    install      = file("install.sh")
    migrate      = file("alone.sh")
    start        = "${file("alone.sh")}\nexec SELF e2e-service"
    health_check = { path = "/", interval = "50ms" }
  }
}
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.p.name
  name     = "base"
  from     = { directory = "." }
  source   = data.penstock_source.s.image_revision
  steps    = [{ name = "bake", command = file("bake.sh") }]
}
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.p.name
  type       = "commit"
  source     = data.penstock_source.s.revision
  base_image = penstock_baked_image.base.image_id
  steps = [
    { name = "alone", command = file("above.sh") },
    { name = "git", command = file("git.sh") },
    { name = "go", command = file("go.sh") },
    { name = "search", command = file("search.sh") },
    { name = "havoc", command = file("havoc.sh") },
    { name = "build", command = "tar -czf dist.tar.gz version" },
  ]
  artifact = "dist.tar.gz"
}
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.p.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps = [
    { name = "inside", command = file("alone.sh"), on = "environment" },
    { name = "git", command = file("git.sh") },
  ]
}
`

// TestStepsFindTheBuildOnly keeps the configuration in the repository, as `penstock init`
// does, and the developer at work in it: a hook of it applies. Commands find the build's
// own repository, and what they do to it leaves the developer's as it is.
func TestStepsFindTheBuildOnly(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "")
	s.dir = filepath.Join(s.repo, "deploy")
	s.must(os.Mkdir(s.dir, 0o755))
	for name, text := range map[string]string{
		"main.tf": strings.ReplaceAll(stepsConfig, "SELF", self),
		// Terraform's file() takes these as they are.
		"above.sh":   alone,
		"alone.sh":   noRepository + alone,
		"install.sh": noRepository + alone + "tar -xzf \"$PENSTOCK_ARTIFACT\"\n",
		"bake.sh":    noRepository + alone + "test ! -e .git\ntest -e main.go\n" + `test "$(git -C "$PENSTOCK_SOURCE" rev-parse HEAD)" = "$PENSTOCK_REVISION"` + "\n",
		"git.sh": `test "$(git rev-parse HEAD)" = "$PENSTOCK_REVISION"
test "$(git rev-parse --show-toplevel)" = "$(pwd -P)"
test -z "$(git status --porcelain)"
git diff --exit-code
git diff-index --exit-code HEAD
test "$(git describe)" = "v1.0-1-g$(git rev-parse --short HEAD)"
test "$(git log --format=%s | wc -l)" -eq 2
test -z "$(git for-each-ref refs/heads refs/remotes)"
cd .. && ! git rev-parse 2>/dev/null
`,
		"go.sh": `test -z "$GOFLAGS"
go build -o /dev/null .
go build -o service .
go version -m service | tee stamp
grep -q "vcs.revision=$PENSTOCK_REVISION" stamp
grep -q "vcs.modified=false" stamp
rm service stamp
`,
		"search.sh": `git ls-files | grep -qx main.go
! git check-ignore -q main.go
if command -v rg >/dev/null; then rg -l needle . | grep -q main.go; fi
`,
		"havoc.sh": `echo changed >> main.go; touch new
test -n "$(git status --porcelain)"
! git diff --exit-code
git stash -q; git reset -q --hard HEAD~1; git clean -fdxq; git checkout -q "$PENSTOCK_REVISION"
git config user.name Step; git tag -f v1.0; git update-ref refs/heads/main HEAD; git gc -q --prune=now
`,
	} {
		s.write(filepath.Join(s.dir, name), text)
	}
	for name, text := range map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { println(\"needle\") }\n", ".gitignore": "deploy/\n",
	} {
		s.write(filepath.Join(s.repo, name), text)
	}
	s.run(s.repo, "git", "tag", "-a", "-m", "one", "v1.0")
	s.commit("2")
	// The developer's own, which is in no commit.
	s.must(os.MkdirAll(filepath.Join(s.repo, "node_modules", "leaked"), 0o755))
	for name, text := range map[string]string{
		"node_modules/leaked/index.js": "", "package.json": "{}\n", ".ignore": "*\n", "go.work": "go 1.24\n\nuse ./nothing\n", "notes": "not committed\n",
		"main.go": "package main\n\nfunc main() { work in progress\n", "staged": "staged\n",
	} {
		s.write(filepath.Join(s.repo, name), text)
	}
	s.run(s.repo, "git", "add", "staged")
	s.run(s.dir, terraform, "init", "-no-color", "-input=false")
	before := s.developers()
	outside := s.env
	s.env = append(append([]string{}, s.env...), "GOFLAGS=", "GOENV=off", "GOTOOLCHAIN=local", "GIT_DIR="+filepath.Join(s.repo, ".git"), "GIT_WORK_TREE="+s.repo,
		"GIT_INDEX_FILE="+filepath.Join(s.repo, ".git", "index"), "GIT_PREFIX=deploy/", "GIT_CONFIG_PARAMETERS='core.bare=true'")
	s.apply()
	s.env = outside
	after := s.developers()
	for name, text := range before {
		if after[name] != text {
			t.Errorf("the developer's %s has changed", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
	s.run(s.repo, "git", "fsck")
	s.destroy()
	if left := s.left(); fmt.Sprint(left) != onlyArchives {
		t.Errorf("the destroy left %v", left)
	}
}

// developers returns the content of what is the developer's in the repository, by path:
// all but what Terraform and Penstock keep.
func (s *site) developers() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	s.must(filepath.WalkDir(s.repo, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(s.repo, path)
		switch {
		case err != nil:
			return err
		case rel == "deploy/.penstock" || rel == "deploy/.terraform":
			return fs.SkipDir
		case d.Type().IsRegular() && !strings.HasPrefix(rel, "deploy/terraform.tfstate"):
			text, err := os.ReadFile(path)
			found[rel] = string(text)
			return err
		}
		return nil
	}))
	return found
}
