// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// serviceArg makes the test binary act as the service that the tests deploy.
const serviceArg = "e2e-service"

// binary is the provider and CLI, built once; terraform is the client.
var binary, terraform string

func TestMain(m *testing.M) {
	moduletest.Serve()
	process.Guard()
	if len(os.Args) > 1 && os.Args[1] == serviceArg {
		serve()
		return
	}
	if len(os.Args) == 5 && os.Args[1] == "e2e-load" {
		makeLoad(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	os.Exit(workplacetest.Main(func() int { return setUp(m) }))
}

func setUp(m *testing.M) int {
	dir, err := os.MkdirTemp("", "penstock-e2e")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// What programs that are killed leave among the temporary files goes, too.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "penstock")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "github.com/penstock-io/terraform-provider-penstock")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the binary: %v\n%s", err, out)
		return 1
	}
	terraform = os.Getenv("TF_ACC_TERRAFORM_PATH")
	if terraform == "" {
		terraform, err = exec.LookPath("terraform")
		if err != nil {
			fmt.Fprintln(os.Stderr, "these tests need terraform: run them with `make test`, which finds or installs it")
			return 1
		}
	}
	return cloudtest.Main(m)
}

// serve is a service that answers with its version: the first argument's file, as
// it is in the root that the service was started in.
func serve() {
	version, err := os.ReadFile("version")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	text := strings.TrimSpace(string(version))
	if strings.Contains(text, "broken") {
		fmt.Fprintln(os.Stderr, "this version does not start")
		os.Exit(1)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), nil))
	os.Exit(1)
}

// site is a git repository of the service and a Terraform root module for it.
type site struct {
	t    testing.TB
	root string // holds everything
	repo string
	dir  string // of Terraform
	env  []string
}

// newSite makes a site with a first commit. Its files and processes are gone at
// the end of the test, or the test fails.
func newSite(t testing.TB, config string) *site {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, root: root, repo: filepath.Join(root, "repo"), dir: filepath.Join(root, "deploy")}
	s.must(os.MkdirAll(s.repo, 0o755), os.MkdirAll(s.dir, 0o755))
	for _, registry := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		mirror := filepath.Join(root, "mirror", registry, "penstock-io", "penstock", "0.1.0", runtime.GOOS+"_"+runtime.GOARCH)
		s.must(os.MkdirAll(mirror, 0o755), os.Symlink(binary, filepath.Join(mirror, "terraform-provider-penstock_v0.1.0")))
	}
	rc := filepath.Join(root, "terraform.rc")
	s.write(rc, fmt.Sprintf("provider_installation {\n  filesystem_mirror { path = %q }\n}\n", filepath.Join(root, "mirror")))
	s.env = append(cleanEnviron(), "TF_CLI_CONFIG_FILE="+rc, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "E2E_SITE="+root, workplacetest.Variable+"="+s.work(),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	s.write(filepath.Join(s.dir, "main.tf"), config)
	s.run(s.repo, "git", "init", "-q", "-b", "main")
	s.must(os.MkdirAll(filepath.Join(s.repo, "image/rootfs/etc"), 0o755))
	s.write(filepath.Join(s.repo, "image/rootfs/etc/motd"), "base\n")
	s.commit("1")
	s.run(s.dir, terraform, "init", "-no-color", "-input=false")
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = s.try(s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-input=false")
		}
		left := s.processes()
		for pid, line := range left {
			t.Errorf("process %d is left behind: %s", pid, line)
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	})
	return s
}

// cleanEnviron is the environment without what steers Terraform or this test run.
func cleanEnviron() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TF_") && !strings.HasPrefix(kv, "PENSTOCK_") {
			env = append(env, kv)
		}
	}
	return env
}

// work is where steps, bakes and instances of the site work.
func (s *site) work() string { return filepath.Join(s.root, "work") }

func (s *site) must(errs ...error) {
	s.t.Helper()
	for _, err := range errs {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) write(path, content string) {
	s.t.Helper()
	s.must(os.WriteFile(path, []byte(content), 0o644))
}

// commit makes the service's version the given one.
func (s *site) commit(version string) {
	s.t.Helper()
	s.write(filepath.Join(s.repo, "version"), version+"\n")
	s.run(s.repo, "git", "add", "-A")
	s.run(s.repo, "git", "commit", "-q", "-m", "version "+version)
}

func (s *site) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, s.env
	return cmd
}

// try runs a command and returns its output and whether it ended well.
func (s *site) try(dir, name string, args ...string) (string, error) {
	out, err := s.command(dir, name, args...).CombinedOutput()
	return string(out), err
}

func (s *site) run(dir, name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(dir, name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func (s *site) apply(args ...string) string {
	s.t.Helper()
	return s.run(s.dir, terraform, append([]string{"apply", "-auto-approve", "-no-color", "-input=false"}, args...)...)
}

func (s *site) destroy(args ...string) {
	s.t.Helper()
	s.run(s.dir, terraform, append([]string{"destroy", "-auto-approve", "-no-color", "-input=false"}, args...)...)
	if left := s.places(); len(left) > 0 {
		s.t.Errorf("a destroy left in the work directory %v", left)
	}
}

// places lists what there is in the work directory for the data directory of the site's
// configuration. Other directories that work with it have places of their own.
func (s *site) places() []string {
	s.t.Helper()
	left, err := filepath.Glob(filepath.Join(s.work(), filepath.Base(s.dir)+"-*"))
	s.must(err)
	return left
}

// planned returns the plan's exit code with -detailed-exitcode: 0 for no changes, 2 for changes.
func (s *site) planned() (int, string) {
	s.t.Helper()
	cmd := s.command(s.dir, terraform, "plan", "-detailed-exitcode", "-no-color", "-input=false")
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func (s *site) penstock(args ...string) string {
	s.t.Helper()
	return s.run(s.dir, binary, args...)
}

// bootstrap makes the stack, as the owner of an account does. From then on a deployer is at
// work.
func (s *site) bootstrap(c *cloudtest.Cloud) string {
	s.t.Helper()
	s.as(c, cloudtest.Owner)
	out := s.penstock("bootstrap", "--region", cloudtest.Region, "--yes")
	s.as(c, cloudtest.Deployer)
	return out
}

// as makes who has a role the one at work, until what it returns is called.
func (s *site) as(c *cloudtest.Cloud, role string) (back func()) {
	before := s.env
	s.env = append(slices.Clone(before), c.EnvironAs(role)...)
	return func() { s.env = before }
}

func (s *site) output(name string) string {
	s.t.Helper()
	return strings.TrimSpace(s.run(s.dir, terraform, "output", "-raw", name))
}

// answer returns what the service at the endpoint says.
func (s *site) answer(endpoint string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	s.must(err)
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	s.must(err)
	return strings.TrimSpace(body.String())
}

// garbage is what a collection would remove: nothing, after a clean apply.
func (s *site) garbage() map[string][]string {
	s.t.Helper()
	var g map[string][]string
	s.must(json.Unmarshal([]byte(s.penstock("gc", "--dry-run", "--kept", "--json")), &g))
	for k, v := range g {
		if len(v) == 0 {
			delete(g, k)
		}
	}
	return g
}

// await waits for something that a busy machine may take long for.
func (s *site) await(what string, ok func() bool) {
	s.t.Helper()
	for limit := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			s.t.Fatalf("there is no %s", what)
		}
	}
}
