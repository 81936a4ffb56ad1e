// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serviceInGo answers with a text of a package that services share.
const serviceInGo = "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n\n\t\"example.com/acme/libs/words\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, NAME, words.Hello) })\n\tpanic(http.ListenAndServe(os.Getenv(\"HOST\")+\":\"+os.Getenv(\"PORT\"), nil))\n}\n"

// A repository of several services has a pipeline for each, which only what belongs to its
// service moves; init asks which service, writes among no other files, and what it writes
// can be applied as it is.
func TestMonorepo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.must(os.RemoveAll(s.repo), os.MkdirAll(s.repo, 0o755))
	put := func(name, text string) {
		t.Helper()
		s.must(os.MkdirAll(filepath.Dir(filepath.Join(s.repo, name)), 0o755))
		s.write(filepath.Join(s.repo, name), text)
	}
	commit := func(message string) {
		t.Helper()
		s.run(s.repo, "git", "add", "-A")
		s.run(s.repo, "git", "commit", "-q", "-m", message)
	}
	put("go.mod", "module example.com/acme\n\ngo 1.24\n")
	put("libs/words/words.go", "package words\n\nconst Hello = \" says hello\"\n")
	put("services/shop/main.go", strings.Replace(serviceInGo, "NAME", `"shop"`, 1))
	put("services/shop/deploy/app.yaml", "kind: Deployment\n")
	put("services/mail/main.go", strings.Replace(serviceInGo, "NAME", `"mail"`, 1))
	s.run(s.repo, "git", "init", "-q", "-b", "main")
	commit("two services")

	// Several services are a question, which a pipe can't answer.
	out, err := s.try(s.repo, binary, "init")
	if err == nil || !strings.Contains(out, "services/mail (Go)") || !strings.Contains(out, "services/shop (Go)") || !strings.Contains(out, "penstock init --service services/mail") {
		t.Errorf("init of several: %v\n%s", err, out)
	}
	if out := s.run(s.repo, binary, "init", "--service", "services/shop"); !strings.Contains(out, "Wrote services/shop/penstock/main.tf for shop (Go)") {
		t.Errorf("init of one: %s", out)
	}
	if out, err := s.try(filepath.Join(s.repo, "services/shop"), binary, "init"); err == nil || !strings.Contains(out, "there is a configuration already: penstock/main.tf") {
		t.Errorf("init again: %v\n%s", err, out)
	}
	if out, err := s.try(s.repo, binary, "init", "services/mail", "--dir", "services/shop/deploy"); err == nil || !strings.Contains(out, "other files are in services/shop/deploy") || !strings.Contains(out, "--dir") {
		t.Errorf("init among other files: %v\n%s", err, out)
	}
	s.run(filepath.Join(s.repo, "services/mail"), binary, "init", "--dir", filepath.Join(s.root, "mail-deploy"))
	for _, dir := range []string{filepath.Join(s.root, "mail-deploy"), filepath.Join(s.repo, "services/shop/penstock")} {
		s.run(dir, terraform, "init", "-no-color", "-input=false")
		s.run(dir, terraform, "validate", "-no-color")
		if out, err := s.try(dir, terraform, "fmt", "-check", "-diff"); err != nil {
			t.Errorf("it is not formatted:\n%s", out)
		}
	}
	commit("a pipeline")

	s.dir = filepath.Join(s.repo, "services/shop/penstock")
	quiet := func(what string) {
		t.Helper()
		if code, plan := s.planned(); code != 0 {
			t.Errorf("%s moves the pipeline:\n%s", what, plan)
		}
	}
	s.apply()
	quiet("nothing")
	build := s.penstock("builds", "shop", "--limit", "1", "--json")
	put("services/mail/main.go", strings.Replace(serviceInGo, "NAME", `"post"`, 1))
	put("README.md", "words\n")
	put("services/shop/penstock/notes.txt", "a note\n")
	commit("another service")
	quiet("another service's commit")

	put("libs/words/words.go", "package words\n\nconst Hello = \" says more\"\n")
	commit("a shared package")
	if code, plan := s.planned(); code != 2 {
		t.Errorf("a commit to a shared package moves nothing:\n%s", plan)
	}
	s.apply()
	if after := s.penstock("builds", "shop", "--limit", "1", "--json"); after == build {
		t.Errorf("it made no build: %s", after)
	}
	s.penstock("approve", "shop", "exploratory")
	s.apply()
	s.penstock("promote", "--yes", "shop", "production")
	s.apply()
	if got := s.answer(s.output("production")); got != "shop says more" {
		t.Errorf("production answers %q", got)
	}

	// The preview of a promotion is about the service, not about the repository.
	put("services/shop/main.go", strings.Replace(serviceInGo, "NAME", `"the shop"`, 1))
	commit("the shop's")
	put("services/mail/main.go", strings.Replace(serviceInGo, "NAME", `"mails"`, 1))
	commit("the mailer's")
	s.apply()
	s.penstock("approve", "shop", "exploratory")
	s.apply()
	if diff := s.penstock("diff", "shop"); !strings.Contains(diff, "the shop's") || strings.Contains(diff, "the mailer's") || strings.Contains(diff, "services/mail") {
		t.Errorf("the difference is %s", diff)
	}
	s.destroy()
}

// A base image is baked from the directory, too.
func TestImageOfADirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, `terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "p" {
  repository     = "../repo"
  directory      = "service"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" {
  name = "p"
}
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.p.name
  name     = "base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.p.image_revision
  steps    = [{ name = "packages", script = "image/packages.sh" }]
}
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.p.name
  type       = "commit"
  source     = data.penstock_source.p.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "here", command = "cp version out.txt && test -f ../version && echo '<testsuite tests=\"1\"><testcase name=\"a\"/></testsuite>' > junit.xml", report = "junit.xml" }]
  artifact   = "out.txt"
}
resource "penstock_stage" "check" {
  pipeline = penstock_pipeline.p.name
  name     = "check"
  type     = "custom"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "there", command = "grep -q one version && grep -q one \"$PENSTOCK_ARTIFACT\" && ls image/rootfs/etc/motd" }]
}
`)
	s.must(os.MkdirAll(filepath.Join(s.repo, "service/image/rootfs/etc"), 0o755))
	s.write(filepath.Join(s.repo, "service/image/rootfs/etc/motd"), "service\n")
	s.write(filepath.Join(s.repo, "service/image/packages.sh"), "grep -q service etc/motd\ntest -f \"$PENSTOCK_SOURCE/version\"\n")
	s.write(filepath.Join(s.repo, "service/version"), "one\n")
	s.commit("1")
	for what, out := range map[string]string{"apply": s.apply(), "plan": s.quietPlan()} {
		if strings.Contains(out, "Files move nothing") {
			t.Errorf("the %s warns of infrastructure that an image is baked from:\n%s", what, out)
		}
	}
	s.write(filepath.Join(s.repo, "image/rootfs/etc/motd"), "not the service's\n")
	s.commit("2")
	if code, plan := s.planned(); code != 0 {
		t.Errorf("another directory's image moves it:\n%s", plan)
	}
	s.write(filepath.Join(s.repo, "service/image/rootfs/etc/motd"), "a service\n")
	s.commit("3")
	s.apply()
	s.destroy()
}

// quietPlan returns what a plan that changes nothing prints.
func (s *site) quietPlan() string {
	s.t.Helper()
	code, plan := s.planned()
	if code != 0 {
		s.t.Errorf("a second plan has changes:\n%s", plan)
	}
	return plan
}

// Paths of an infrastructure that no image is baked from are warned of, in every plan.
func TestUnusedInfrastructure(t *testing.T) {
	t.Parallel()
	s := newSite(t, `terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "p" {
  repository     = "../repo"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" {
  name = "p"
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.p.revision
  steps    = [{ name = "nothing", command = "true" }]
}
`)
	for what, out := range map[string]string{"apply": s.apply(), "plan": s.quietPlan()} {
		if !strings.Contains(out, "Files move nothing") || !strings.Contains(out, `infrastructure = ["image/**"]`) || !strings.Contains(out, "penstock_baked_image") {
			t.Errorf("the %s does not warn:\n%s", what, out)
		}
	}
	s.destroy()
}
