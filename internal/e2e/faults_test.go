// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// faultConfig is a short pipeline whose every apply bakes, builds, launches and
// deploys: production follows by itself.
func faultConfig() string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(`
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "s" {
  repository     = "../repo"
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" {
  name = "p"
  keep = 3
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec SELF e2e-service"
    migrate      = "date > \"$PENSTOCK_DATA/migrated\""
    health_check = { path = "/", interval = "50ms" }
  }
  scale = { instances = 2 }
}
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.p.name
  name     = "base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
  steps    = [{ name = "stamp", command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp" }]
}
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.p.name
  type       = "commit"
  source     = data.penstock_source.s.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "build", command = "tar -czf dist.tar.gz version" }]
  artifact   = "dist.tar.gz"
}
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.p.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "answers", http = { path = "/" } }]
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.p.name
  type     = "production"
  trigger  = "automatic"
  after    = [penstock_stage.acceptance.passed]
}
output "production" { value = penstock_stage.production.endpoint }
`, "SELF", self)
}

// kills is how often a test kills: PENSTOCK_SOAK times, or as often as is usual.
func kills(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("PENSTOCK_SOAK")); err == nil {
		return n
	}
	if testing.Short() {
		return min(usual, 5)
	}
	return usual
}

// TestKilledAtRandom ends Terraform, the provider or a supervisor with SIGKILL at
// a random instant of an apply, then applies again: everything converges, and
// nothing is left over. PENSTOCK_SOAK sets the number of kills.
func TestKilledAtRandom(t *testing.T) {
	s := newSite(t, faultConfig())
	s.killAtRandom(kills(12), []string{"terraform", "provider", "supervisor"}, s.checkWhole)
}

// killAtRandom applies one commit after the other. Of each first apply, a victim is killed. The
// second one is to reach what check asserts.
func (s *site) killAtRandom(kills int, victims []string, check func(when, version string)) {
	t := s.t
	s.apply()
	s.commit("2")
	began := time.Now()
	s.apply()
	usual := time.Since(began)
	seed := uint64(time.Now().UnixNano())
	t.Logf("an apply takes %s; seed %d", usual.Round(time.Millisecond), seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range kills {
		version := fmt.Sprint(i + 3)
		s.commit(version)
		if i%5 == 0 {
			s.write(filepath.Join(s.repo, "image/rootfs/etc/motd"), version)
			s.commit(version + " with another base")
			version += " with another base"
		}
		victim := victims[i%len(victims)]
		at := time.Duration(random.Int64N(int64(usual)))
		when := fmt.Sprintf("kill %d of %s after %s", i, victim, at)
		said := s.applyAndKill(victim, at)
		if s.restored() {
			t.Logf("%s: the state file was empty", when)
		}
		out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
		if err != nil {
			t.Fatalf("%s: the next apply: %v\n%s\nthe killed one had said:\n%s", when, err, out, said)
		}
		if strings.Contains(out, "No changes") { // it was killed when all was done but the collection of garbage
			s.penstock("gc", "--yes")
		}
		check(when, version)
	}
	s.destroy()
	if left := s.left(); fmt.Sprint(left) != onlyArchives { // Terraform ended the provider, which took long to close
		t.Logf("destroy left %v", left)
		s.penstock("gc", "--yes")
	}
	if left := s.left(); fmt.Sprint(left) != onlyArchives {
		t.Errorf("destroy left %v", left)
	}
}

// isVictim reports whether a process, by its command line, is of a kind. "module" is the
// Terraform of a module, and "all" is all that an apply has started.
func isVictim(kind, line string) bool {
	guard := strings.Contains(line, " __guard ")
	switch kind {
	case "supervisor":
		return strings.Contains(line, "__supervise")
	case "provider":
		return strings.Contains(line, "terraform-provider-penstock") && !strings.Contains(line, " __")
	case "module":
		return strings.HasPrefix(line, terraform) && strings.Contains(line, " -json ")
	case "guard of the module":
		return guard && strings.Contains(line, " -json ")
	case "all":
		return !strings.Contains(line, "__supervise") && !strings.Contains(line, serviceArg)
	}
	return false
}

// applyAndKill begins an apply, kills the victim some time after, and waits for
// the apply's end. Where there is no such victim, it is the Terraform that applies.
func (s *site) applyAndKill(victim string, after time.Duration) string {
	s.t.Helper()
	var said strings.Builder
	cmd := s.command(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 10 * time.Second
	s.must(cmd.Start())
	time.Sleep(after)
	pids := []int{}
	for pid, line := range s.processes() {
		if isVictim(victim, line) {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		pids = append(pids, cmd.Process.Pid)
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill() // it may have ended just now
		}
	}
	_ = cmd.Wait()
	return said.String()
}

// restored puts Terraform's own backup in the place of a state file that Terraform was killed
// in the middle of writing: it empties a local one before it writes it. It reports whether it
// had to.
func (s *site) restored() bool {
	s.t.Helper()
	file := filepath.Join(s.dir, "terraform.tfstate")
	state, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) || json.Valid(state) {
		return false
	}
	backup, errBackup := os.ReadFile(file + ".backup")
	s.must(err, errBackup, os.WriteFile(file, backup, 0o600))
	return true
}

// importAll takes all that faultConfig defines into the state that doesn't have it.
func (s *site) importAll() {
	s.t.Helper()
	has, _ := s.try(s.dir, terraform, "state", "list") // it fails where there is no state
	for _, r := range [][2]string{
		{"penstock_pipeline.p", "p"}, {"penstock_baked_image.base", "p/base"}, {"penstock_stage.commit", "p/commit"},
		{"penstock_stage.acceptance", "p/acceptance"}, {"penstock_stage.production", "p/production"},
	} {
		if !strings.Contains(has, r[0]) {
			s.run(s.dir, terraform, "import", "-no-color", "-input=false", r[0], r[1])
		}
	}
}

// checkApplied asserts that the last apply reached what the configuration says, and that
// the ledger is whole and names all that there is.
func (s *site) checkApplied(when, version string) {
	s.t.Helper()
	if code, out := s.planned(); code != 0 {
		s.t.Fatalf("%s: a plan after the next apply is not empty:\n%s", when, out)
	}
	if got := s.answer(s.output("production")); got != version {
		s.t.Fatalf("%s: production answers %q, want %q", when, got, version)
	}
	s.penstock("ledger", "verify")
	if g := s.garbage(); len(g) > 0 {
		s.t.Fatalf("%s: left over: %v", when, g)
	}
}

// checkWhole asserts that the last apply reached what the configuration says, and
// that nothing else exists.
func (s *site) checkWhole(when, version string) {
	s.t.Helper()
	s.checkApplied(when, version)
	supervisors, instances, others := 0, 0, []string{}
	deadline := time.Now().Add(20 * time.Second) // an orphaned provider cleans up for some seconds
	for {
		supervisors, instances, others = 0, 0, others[:0]
		for _, line := range s.processes() {
			switch {
			case strings.Contains(line, "__supervise"):
				supervisors++
			case strings.HasSuffix(line, serviceArg) && !strings.Contains(line, "__guard"):
				instances++
			case strings.Contains(line, "__guard"):
			default:
				others = append(others, line)
			}
		}
		if supervisors == 1 && instances == 2 && len(others) == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if supervisors != 1 || instances != 2 || len(others) > 0 {
		s.t.Fatalf("%s: %d supervisors, %d instances, and %v; want 1, 2 and nothing", when, supervisors, instances, others)
	}
	if held := s.leases(); len(held) > 0 {
		s.t.Fatalf("%s: leases are held: %+v", when, held)
	}
	if left, _ := filepath.Glob(filepath.Join(s.work(), "*", "runs", "*")); len(left) > 0 {
		s.t.Fatalf("%s: work directories are left: %v", when, left)
	}
	if envs, _ := os.ReadDir(filepath.Join(s.dir, ".penstock", "environments")); len(envs) != 1 {
		s.t.Fatalf("%s: environments %v, want one", when, envs)
	}
}

// leases are those that anybody still holds.
func (s *site) leases() []pipeline.Lease {
	s.t.Helper()
	l, err := ledger.Open(s.t.Context(), filepath.Join(s.dir, ".penstock", "ledger.db"), ledger.Options{})
	s.must(err)
	held, err := l.Leases(s.t.Context())
	s.must(err, l.Close())
	return held
}

// TestTwoAppliesAtOnce applies one configuration from two copies of the state:
// each stage runs once, and both end well.
func TestTwoAppliesAtOnce(t *testing.T) {
	s := newSite(t, strings.Replace(faultConfig(), `provider "penstock" {}`, `provider "penstock" { data_dir = "../data" }`, 1))
	s.applyTwice("--data-dir", filepath.Join(s.root, "data"))
	s.destroy()
}

// TestTwoAppliesAtOnceOnAWS does so where the ledger and the platform are AWS's.
func TestTwoAppliesAtOnceOnAWS(t *testing.T) {
	s, c := newAWSSite(t, awsFaultConfig())
	s.applyTwice("--stack", "penstock", "--region", cloudtest.Region)
	if running := c.Running(); len(running) != 2 {
		t.Errorf("%d instances run, want production's 2", len(running))
	}
	s.destroy()
	s.wantNothingOnAWS(c)
}

// applyTwice applies a commit from two copies of the state at once. place says where the
// ledger is.
func (s *site) applyTwice(place ...string) {
	t := s.t
	t.Helper()
	s.apply()
	copyOf := filepath.Join(s.root, "deploy2")
	s.run(s.root, "cp", "-a", s.dir, copyOf)
	s.commit("2")
	type result struct {
		out string
		err error
	}
	results := make(chan result, 2)
	for _, dir := range []string{s.dir, copyOf} {
		go func() {
			out, err := s.try(dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
			results <- result{out, err}
		}()
	}
	for range 2 {
		if r := <-results; r.err != nil {
			t.Errorf("apply: %v\n%s", r.err, r.out)
		}
	}
	for _, stage := range []string{"commit", "acceptance", "production"} {
		out := s.run(s.root, binary, append(place, "runs", "p", "--stage", stage, "--json")...)
		if n := strings.Count(out, `"status": "passed"`); n != 2 {
			t.Errorf("stage %s has %d passed runs, want one for each of two builds:\n%s", stage, n, out)
		}
	}
	for _, dir := range []string{s.dir, copyOf} {
		if out, err := s.try(dir, terraform, "plan", "-detailed-exitcode", "-no-color", "-input=false"); err != nil {
			t.Errorf("plan in %s is not empty: %v\n%s", filepath.Base(dir), err, out)
		}
	}
}
