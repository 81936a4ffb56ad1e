// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// site is a git repository of the service, a Terraform root module for it, and an account.
type site struct {
	*account
	t     *testing.T
	ctx   context.Context // until when all must be done
	root  string          // holds everything
	repo  string
	dir   string // of Terraform
	log   string // of requests to AWS
	env   []string
	took  []stepTime
	meter meter
}

// stepTime is how long a step of the route took.
type stepTime struct {
	name string
	took time.Duration
}

// newSite makes a site of the quickstart's shop, with a first commit.
func newSite(ctx context.Context, t *testing.T, a *account) *site {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{account: a, t: t, ctx: ctx, root: root, repo: filepath.Join(root, "shop"), dir: filepath.Join(root, "deploy"), log: filepath.Join(root, "requests.jsonl")}
	s.must(os.Mkdir(s.dir, 0o755), os.CopyFS(s.repo, os.DirFS(examples("quickstart/shop"))))
	for _, registry := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		mirror := filepath.Join(root, "mirror", registry, "penstock-io", "penstock", "0.1.0", runtime.GOOS+"_"+runtime.GOARCH)
		s.must(os.MkdirAll(mirror, 0o755), os.Symlink(binary, filepath.Join(mirror, "terraform-provider-penstock_v0.1.0")))
	}
	rc := filepath.Join(root, "terraform.rc")
	s.write(rc, fmt.Sprintf("provider_installation {\n  filesystem_mirror { path = %q }\n}\n", filepath.Join(root, "mirror")))
	s.env = []string{
		"TF_CLI_CONFIG_FILE=" + rc, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_VAR_region=" + a.region, fmt.Sprint("TF_VAR_outside=", a.outside), "TF_VAR_repository=" + s.repo,
		workplacetest.Variable + "=" + filepath.Join(root, "work"), cloud.RecordVariable + "=" + s.log, "XDG_CACHE_HOME=" + filepath.Join(root, "cache"), "GOCACHE=" + goCache(t),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=commit.gpgsign", "GIT_CONFIG_VALUE_0=false",
	}
	s.write(filepath.Join(s.dir, "main.tf"), config(t, a))
	s.run(cloudtest.Owner, s.repo, "git", "init", "-q", "-b", "main")
	s.commit("A shop")
	return s
}

// goCache returns Go's cache of builds, which steps share.
func goCache(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// examples returns the path of something below examples/.
func examples(name string) string {
	return filepath.Join("..", "..", "examples", filepath.FromSlash(name))
}

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

// commit commits what the repository has.
func (s *site) commit(message string) {
	s.t.Helper()
	s.run(cloudtest.Owner, s.repo, "git", "add", "-A")
	s.run(cloudtest.Owner, s.repo, "git", "commit", "-q", "-m", message)
}

// step does a step of the route, and remembers how long it took.
func (s *site) step(name string, do func()) {
	s.t.Helper()
	began, n := time.Now(), len(s.took)
	s.t.Logf("%s: begins", name)
	defer func() { // also when it fails
		s.took = slices.Insert(s.took, n, stepTime{name, time.Since(began)})
	}()
	do()
	s.t.Logf("%s: took %s", name, time.Since(began).Round(time.Second))
}

// try runs a command with a role, and returns its output and whether it ended well.
func (s *site) try(role, dir, name string, args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(without(os.Environ(), role), s.env...)
	// Terraform ends in good order at an interrupt: not at a second one, after the terminal's.
	cmd.WaitDelay = 2 * time.Minute
	cmd.Cancel = func() error {
		if errors.Is(context.Cause(s.ctx), errInterrupted) {
			return nil
		}
		return cmd.Process.Signal(os.Interrupt)
	}
	if name != "git" {
		env, err := s.environ(s.ctx, role)
		s.must(err)
		cmd.Env = append(cmd.Env, env...)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *site) run(role, dir, name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(role, dir, name, args...)
	if s.ctx.Err() != nil {
		s.t.Fatalf("%v\n%s", context.Cause(s.ctx), out)
	}
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

// moved is how long a resource took, as Terraform says.
var moved = regexp.MustCompile(`(?m)^(\S+): (?:Creation|Modifications|Destruction) complete after (\S+)`)

// apply applies the configuration, as a deployer, and takes down how long each resource took.
func (s *site) apply() {
	s.t.Helper()
	out := s.run(cloudtest.Deployer, s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	for _, m := range moved.FindAllStringSubmatch(out, -1) {
		if d, err := time.ParseDuration(m[2]); err == nil {
			s.took = append(s.took, stepTime{"  " + m[1], d})
		}
	}
}

func (s *site) penstock(role string, args ...string) string {
	s.t.Helper()
	return s.run(role, s.dir, binary, args...)
}

func (s *site) output(name string) string {
	s.t.Helper()
	return strings.TrimSpace(s.run(cloudtest.Owner, s.dir, terraform, "output", "-raw", name))
}

// wantVersion asserts that a build answers at an endpoint. The name of a new load balancer
// gets around in minutes.
func (s *site) wantVersion(endpoint, build string) {
	s.t.Helper()
	schedule := poll.Schedule{First: time.Second, Max: 10 * time.Second, Factor: 1.5, Limit: 5 * time.Minute, What: endpoint + " to answer with " + build}
	s.must(poll.Until(s.ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/version", nil)
		if err != nil {
			return poll.Probe{}, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return poll.Probe{State: err.Error()}, nil
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
		said := strings.TrimSpace(string(body))
		return poll.Probe{Done: err == nil && said == build, State: resp.Status + " " + said}, nil
	}))
}

// killAt ends the provider with SIGKILL when it has got the answer to an operation, and
// returns what waits for that.
func (s *site) killAt(operation string) (killed func() bool) {
	s.t.Helper()
	before := len(s.records())
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan bool, 1)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			records, err := readRecords(s.log)
			if err == nil && len(records) > before {
				for _, r := range records[before:] {
					if r.Operation == operation {
						p, err := os.FindProcess(r.PID)
						done <- err == nil && p.Kill() == nil
						return
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		done <- false
	}()
	return func() bool {
		cancel()
		return <-done
	}
}

// records returns the requests that were made of AWS so far.
func (s *site) records() []cloud.Record {
	s.t.Helper()
	records, err := readRecords(s.log)
	s.must(err)
	return records
}

// readRecords reads a log of requests. A last line without its end is being written.
func readRecords(path string) (records []cloud.Record, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return records, nil
		}
		var record cloud.Record
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		records = append(records, record)
	}
}

// garbage is what a collection would remove: nothing, after a clean apply.
func (s *site) garbage() []string {
	s.t.Helper()
	var kinds map[string][]string
	s.must(json.Unmarshal([]byte(s.penstock(cloudtest.Deployer, "gc", "--dry-run", "--kept", "--json")), &kinds))
	var all []string
	for kind, names := range kinds {
		for _, name := range names {
			all = append(all, kind+" "+name)
		}
	}
	slices.Sort(all)
	return all
}
