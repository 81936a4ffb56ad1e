// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// queueModule is an environment that is a file for everybody who looks. A file PROTECTED keeps
// it from going.
const queueModule = `
variable "penstock" {
  type = object({ name = string, environment = string })
}
resource "terraform_data" "queue" {
  input = "<DIR>/${var.penstock.name}"
  provisioner "local-exec" {
    command = "touch '${self.input}'"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "if test -e '${self.input}.protected'; then echo the queue is protected; exit 1; fi; rm '${self.input}'"
  }
}
output "endpoint" {
  value = "http://127.0.0.1:9/${terraform_data.queue.output}"
}
`

// queueConfig has a commit stage alone: people launch from its builds.
const queueConfig = `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
  backend "local" { path = "<STATE>" }
}
provider "penstock" { aws = { region = "<REGION>" } }
data "penstock_source" "s" {
  repository = "<REPO>"
  ref        = "main"
  module     = ["environment/**"]
}
resource "penstock_pipeline" "p" {
  name   = "p"
  module = { directory = "environment" }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.s.revision
  steps    = [{ name = "build", command = "true" }]
}
`

// releases serves the Terraform of the tests as the archive of a release, and the credentials of
// the project's role.
func (s *site) releases(c *cloudtest.Cloud) *httptest.Server {
	s.t.Helper()
	archive, sums := filepath.Join(s.root, "terraform.zip"), filepath.Join(s.root, "SHA256SUMS")
	file, err := os.Create(archive)
	s.must(err)
	sum := sha256.New()
	z := zip.NewWriter(io.MultiWriter(file, sum))
	h := &zip.FileHeader{Name: "terraform", Method: zip.Store}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	s.must(err)
	program, err := os.Open(terraform)
	s.must(err)
	_, err = io.Copy(w, program)
	s.must(err, program.Close(), z.Close(), file.Close())
	s.write(sums, fmt.Sprintf("%x  terraform_1.2.3_linux_amd64.zip\n", sum.Sum(nil)))
	m := http.NewServeMux()
	m.HandleFunc("/1.2.3/terraform_1.2.3_linux_amd64.zip", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, archive) })
	m.HandleFunc("/1.2.3/terraform_1.2.3_SHA256SUMS", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, sums) })
	m.HandleFunc("/credentials", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":"AKIA%sRunnerRole","SecretAccessKey":"secret","Expiration":"2099-01-01T00:00:00Z"}`, c.ID)
	})
	server := httptest.NewServer(m)
	s.t.Cleanup(server.Close)
	return server
}

// uploads is the command of AWS as far as the builds of STACK-apply use it, under the role of
// their project.
const uploads = `#!/bin/sh
set -eu
test "$1 $2 $3" = "s3 cp --only-show-errors"
<ENV> exec <PYTHON> -c 'import boto3, sys; b, k = sys.argv[2][5:].split("/", 1); boto3.client("s3").upload_file(sys.argv[1], b, k)' "$4" "$5"
`

// TestModuleEndsOnAWS launches environments that are modules, and then nobody runs Penstock any
// more. The function of the stack, which its schedule calls, starts the build of CodeBuild that
// applies the configuration, and the build ends them at their time. One whose module can't be
// destroyed stays listed with the reason, is in nobody's way, and ends with a later build.
func TestModuleEndsOnAWS(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := newSite(t, `terraform {}`)
	queues := filepath.Join(s.root, "queues")
	s.must(os.Mkdir(queues, 0o755), os.Mkdir(filepath.Join(s.repo, "environment"), 0o755))
	s.write(filepath.Join(s.repo, "environment", "main.tf"), strings.ReplaceAll(queueModule, "<DIR>", queues))
	s.commit("1")
	live := filepath.Join(s.root, "live")
	s.must(os.Mkdir(live, 0o755))
	configuration := strings.NewReplacer("<STATE>", filepath.Join(s.root, "state.json"), "<REGION>", cloudtest.Region, "<REPO>", s.repo).Replace(queueConfig)
	s.write(filepath.Join(live, "main.tf"), configuration)
	s.run(live, "git", "init", "-q", "-b", "main")
	s.run(live, "git", "add", "-A")
	s.run(live, "git", "commit", "-q", "-m", "configuration")

	s.as(c, cloudtest.Owner)
	s.penstock("bootstrap", "--region", cloudtest.Region, "--repository", "https://example.com/acme/pipeline.git", "--yes")
	python := filepath.Join(filepath.Dir(os.Getenv("MOTO_SERVER")), "python3")
	tools := filepath.Join(s.root, "tools")
	s.must(os.Mkdir(tools, 0o755))
	script := strings.NewReplacer("<PYTHON>", python, "<ENV>", strings.Join(append(c.EnvironAs("RunnerRole"), "AWS_DEFAULT_REGION="+cloudtest.Region), " ")).Replace(uploads)
	s.must(os.WriteFile(filepath.Join(tools, "aws"), []byte(script), 0o755))
	short, err := os.MkdirTemp("", "b") // the path of a plugin's socket is short
	s.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	project, outside := c.ApplyProject(), s.releases(c)
	for name, value := range map[string]string{
		"REPOSITORY": live, "REPOSITORY_REF": "main", "REPOSITORY_DIRECTORY": ".", "REPOSITORY_TOKEN": "", "TERRAFORM_VERSION": "1.2.3", "TERRAFORM_RELEASES": outside.URL,
		"AWS_ENDPOINT_URL": c.URL, "AWS_REGION": cloudtest.Region, "AWS_CONTAINER_CREDENTIALS_FULL_URI": outside.URL + "/credentials", "AWS_EC2_METADATA_DISABLED": "true",
		"TF_CLI_CONFIG_FILE": filepath.Join(s.root, "terraform.rc"), "CHECKPOINT_DISABLE": "1", "E2E_SITE": s.root, workplacetest.Variable: s.work(),
		"TMPDIR": short, "PATH": tools + string(os.PathListSeparator) + os.Getenv("PATH"),
	} {
		project.Variables[name] = value
	}
	c.SetProject("penstock-apply", project)

	// look lets the function look at a time, and waits for the build that it starts.
	looks := 0
	look := func(at time.Time, want string) {
		t.Helper()
		before := len(c.Builds())
		if said := c.Look(at); !strings.Contains(said, want) {
			t.Errorf("look %d says %q, want %q", looks, said, want)
		}
		looks++
		starts := want != "nothing moved"
		if n := len(c.Builds()); (n > before) != starts {
			t.Fatalf("look %d started %d builds\n%s", looks, n-before, c.BuildLogs())
		}
		s.await("end of the build", func() bool {
			for _, status := range c.Builds() {
				if status == "IN_PROGRESS" {
					return false
				}
			}
			return true
		})
		for id, status := range c.Builds() {
			if status != "SUCCEEDED" {
				t.Fatalf("build %s is %s:\n%s", id, status, c.BuildLogs())
			}
		}
	}
	look(time.Now(), "can't be seen") // there is no note yet
	look(time.Now(), "nothing moved")

	s.as(c, cloudtest.Launcher)
	for _, name := range []string{"alice", "bob"} {
		s.run(s.root, binary, "env", "launch", "p", name, "--ttl", "30s", "--stack", "penstock", "--region", cloudtest.Region)
	}
	s.write(filepath.Join(queues, "alice.protected"), "")
	if got := within(objects(t, c), "ci/ends/s-"); len(got) != 2 {
		t.Errorf("the ends of the environments are %q", got)
	}
	over := time.Now().Add(30 * time.Second) // or earlier
	s.await("end of the time", func() bool { return time.Now().After(over) })
	s.as(c, cloudtest.Deployer)
	look(time.Now(), "the time of an environment is over")
	envs := s.environments()
	if envs["bob"][0] != "expired" || envs["alice"][0] != "ending" || !strings.Contains(envs["alice"][1], "terraform_data.queue") {
		t.Errorf("after the build that ended what it could, the environments are %q\n%s", envs, c.BuildLogs())
	}
	if got := filesIn(t, queues); got != "alice alice.protected" {
		t.Errorf("the queues are %q", got)
	}
	if got := within(objects(t, c), "ci/ends/"); len(got) != 0 {
		t.Errorf("ends that are over are left: %q", got)
	}
	look(time.Now(), "nothing moved") // it is not tried again at once
	s.must(os.Remove(filepath.Join(queues, "alice.protected")))
	look(time.Now().Add(61*time.Minute), "an apply is due")
	if envs := s.environments(); envs["alice"] != [2]string{"expired", ""} {
		t.Errorf("after the build that ended it, alice's environment is %q\n%s", envs["alice"], c.BuildLogs())
	}
	if left, states := filesIn(t, queues), within(objects(t, c), "modules/"); left != "" || len(states) > 0 {
		t.Errorf("the queues are %q, and of modules there are %q", left, states)
	}
	s.run(live, terraform, "init", "-no-color", "-input=false")
	s.run(live, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
}

// filesIn lists the files of a directory.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// within returns the keys that begin with a prefix.
func within(keys []string, prefix string) (found []string) {
	for _, key := range keys {
		if strings.HasPrefix(key, prefix) {
			found = append(found, key)
		}
	}
	return found
}

// environments returns the statuses and the reasons of the environments of people, by name.
func (s *site) environments() map[string][2]string {
	s.t.Helper()
	var all []struct{ Name, Status, Reason string }
	s.must(json.Unmarshal([]byte(s.penstock("env", "list", "p", "--json", "--stack", "penstock", "--region", cloudtest.Region)), &all))
	found := map[string][2]string{}
	for _, env := range all {
		found[env.Name] = [2]string{env.Status, env.Reason}
	}
	return found
}
