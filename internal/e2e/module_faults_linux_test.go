// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insteadConfig is a short pipeline whose production is a module: nothing else runs.
const insteadConfig = `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
data "penstock_source" "s" {
  repository = "../repo"
  ref        = "main"
  module     = ["env/**"]
}
resource "penstock_pipeline" "p" {
  name          = "p"
  force_destroy = true
  module        = { directory = "env", timeout = "TIMEOUT", terraform = abspath("../terraform") }
}
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = data.penstock_source.s.revision
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.p.name
  type     = "production"
  trigger  = "automatic"
  after    = [penstock_stage.commit.passed]
}
`

// newInsteadSite is a site of a module alone. In the module's text, CLOUD is its cloud. It has
// a valid endpoint besides.
func newInsteadSite(t *testing.T, timeout, module string) *site {
	t.Helper()
	s := newModuleSite(t, strings.ReplaceAll(insteadConfig, "TIMEOUT", timeout), "")
	s.must(os.WriteFile(filepath.Join(s.root, "terraform"), fmt.Appendf(nil, "#!/bin/sh\necho \"$@\" >> '%s'\nexec '%s' \"$@\"\n", s.callsFile(), terraform), 0o755))
	s.setInstead(module)
	return s
}

func (s *site) callsFile() string { return filepath.Join(s.root, "calls") }

// calls returns the calls of the modules' Terraform since the last time.
func (s *site) calls() string {
	s.t.Helper()
	text, err := os.ReadFile(s.callsFile())
	if !os.IsNotExist(err) {
		s.must(err, os.Remove(s.callsFile()))
	}
	return string(text)
}

func (s *site) setInstead(module string) {
	s.t.Helper()
	s.setModule(strings.ReplaceAll(module, "CLOUD", s.cloud()) + "\noutput \"endpoint\" { value = \"http://127.0.0.1:8080\" }\n")
}

// applyFails asserts that an apply fails, and that its error has the texts, however it is
// wrapped.
func (s *site) applyFails(texts ...string) {
	s.t.Helper()
	out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	if err == nil {
		s.t.Fatalf("the apply did not fail:\n%s", out)
	}
	s.says(out, texts...)
}

// says asserts that what Terraform printed has the texts, however it is wrapped.
func (s *site) says(out string, texts ...string) {
	s.t.Helper()
	plain := strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(out)), " ")
	for _, text := range texts {
		if !strings.Contains(plain, text) {
			s.t.Errorf("it lacks %q:\n%s", text, out)
		}
	}
}

// has asserts what is in the cloud.
func (s *site) has(when string, want ...string) {
	s.t.Helper()
	if have := s.names(filepath.Join(s.cloud(), "*")); strings.Join(have, " ") != strings.Join(want, " ") {
		s.t.Errorf("%s: the cloud has %q, want %q", when, have, want)
	}
}

// alone asserts that nothing runs on behalf of the site, once what is ending has ended.
func (s *site) alone() {
	s.t.Helper()
	s.await("end of the processes", func() bool { return len(s.processes()) == 0 })
}

// A module need not have our variables. Outputs of a wrong type are refused, one by one, by
// name; what they were made with stays, and the next build goes on with it.
func TestModuleOutputs(t *testing.T) {
	t.Parallel()
	const marker = `
resource "terraform_data" "marker" {
  provisioner "local-exec" { command = "touch 'CLOUD/marker'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm 'CLOUD/marker'"
  }
}
`
	s := newInsteadSite(t, "1m", marker)
	s.apply()
	s.has("a module without variables", "marker")
	if calls := s.calls(); !strings.Contains(calls, "apply -json") {
		t.Errorf("the calls of Terraform were\n%s", calls)
	}
	// Nothing is done for a module that is not due.
	if code, out := s.planned(); code != 0 {
		t.Errorf("a plan is not empty:\n%s", out)
	}
	s.apply()
	s.penstock("status")
	if calls := s.calls(); calls != "" {
		t.Errorf("while nothing was due, Terraform was called with\n%s", calls)
	}
	s.setInstead(marker + `output "env" { value = ["a"] }`)
	s.applyFails(`of stage "production": apply module "env": output "env" is a list, but must be a map of strings`, "Correct the output in the module")
	s.setInstead(marker + `output "instance" { value = { security_groups = ["sg-1"] } }`)
	s.applyFails(`output "instance" must be an object of security_group_ids`, "security_groups")
	s.setInstead(marker + `output "data" { value = "snapshot-1" }`)
	s.applyFails(`output "data" is a string, but must be an object`)
	s.setModule(`output "endpoint" { value = "shop.example.com" }`)
	s.applyFails(`output "endpoint" is "shop.example.com", but must be a URL with http or https`)
	s.has("wrong outputs", "marker")
	s.setInstead(marker + `output "env" { value = { A = 1 } }`)
	s.apply()
	s.destroy()
	s.has("a destroy")
	s.alone()
}

// A module that hangs ends with its time-out, and takes what it waits for along.
func TestModuleHangs(t *testing.T) {
	t.Parallel()
	const hangs = `
resource "terraform_data" "ready" {
  input = "CLOUD/ready"
  provisioner "local-exec" { command = "touch '${self.input}'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm '${self.input}'"
  }
}
resource "terraform_data" "migration" {
  triggers_replace = [terraform_data.ready.id]
  provisioner "local-exec" { command = "COMMAND" }
}
`
	s := newInsteadSite(t, "4s", strings.ReplaceAll(hangs, "COMMAND", "echo waiting for the database; sleep 3600; echo never"))
	s.applyFails(`of stage "production": apply module "env": it did not end within 4s; it was creating terraform_data.migration for`, "Find out why it hangs, or raise the module's time-out")
	s.alone()
	s.has("a new environment that was not made")
	s.setInstead(strings.ReplaceAll(hangs, "COMMAND", "true"))
	s.apply()
	s.has("a module that does not hang", "ready")
	s.destroy()
	s.has("a destroy")
	s.alone()
}

// A module that fails half way leaves what it has made known: it is removed or, where that
// fails, too, listed with the reason. The next apply goes on, and a destroy removes all.
func TestModuleFailsHalfWay(t *testing.T) {
	t.Parallel()
	s := newInsteadSite(t, "1m", `
resource "terraform_data" "network" {
  provisioner "local-exec" { command = "touch 'CLOUD/network'" }
  provisioner "local-exec" {
    when    = destroy
    command = "test ! -e 'CLOUD/protected' || { echo the network is protected; exit 5; }; rm 'CLOUD/network'"
  }
}
resource "terraform_data" "database" {
  triggers_replace = [terraform_data.network.id]
  provisioner "local-exec" { command = "test ! -e 'CLOUD/full' || { echo no room for a database; exit 4; }; touch 'CLOUD/database'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm -f 'CLOUD/database'"
  }
}
`)
	obstacle := func(name string) string { return filepath.Join(s.cloud(), name) }
	failure := []string{`of stage "production": apply module "env": terraform_data.database (env/main.tf, line 11)`, "no room for a database"}
	s.write(obstacle("full"), "")
	s.applyFails(failure...)
	s.has("a new environment that failed", "full")

	s.write(obstacle("protected"), "")
	s.applyFails(append(failure, "terraform_data.network", "the network is protected")...)
	s.has("what can't be removed", "full", "network", "protected")
	var envs []struct{ ID, Name, Status, Reason string }
	s.must(json.Unmarshal([]byte(s.penstock("env", "list", "--all", "--json")), &envs))
	if len(envs) != 1 || envs[0].Status != "ending" || !strings.Contains(envs[0].Reason, "the network is protected") {
		t.Errorf("the environments are %+v", envs)
	}
	if out, err := s.try(s.dir, binary, "gc", "--yes"); err == nil || !strings.Contains(out, "the network is protected") {
		t.Errorf("gc says: %v\n%s", err, out)
	}
	s.must(os.Remove(obstacle("full")), os.Remove(obstacle("protected")))
	s.apply()
	s.has("the next apply", "database", "network")

	// What serves is left as it is by a build that fails.
	s.write(obstacle("full"), "")
	text, err := os.ReadFile(filepath.Join(s.repo, "env", "main.tf"))
	s.must(err)
	s.setModule(strings.ReplaceAll(string(text), "[terraform_data.network.id]", `[terraform_data.network.id, "2"]`))
	s.applyFails("no room for a database")
	if got := s.names(filepath.Join(s.work(), "*", "modules", "*")); len(got) != 1 {
		t.Errorf("the modules' work directories are %q", got)
	}
	s.must(os.Remove(obstacle("full")))
	s.apply()
	s.has("another build", "database", "network")
	s.destroy()
	s.has("a destroy")
	s.alone()
}

// What a module prints is cut in the log of its run, and takes no memory. Terraform needs
// minutes for that, so it is a part of `make soak`.
func TestModulePrintsMuch(t *testing.T) {
	if os.Getenv("PENSTOCK_SOAK") == "" {
		t.Skip("takes minutes: `make soak` runs it")
	}
	t.Parallel()
	const size = 64 << 20
	s := newInsteadSite(t, "1h", fmt.Sprintf(`
resource "terraform_data" "noise" {
  provisioner "local-exec" { command = "yes $(head -c 4000 /dev/zero | tr '\\000' x) | head -c %d; touch 'CLOUD/made'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm 'CLOUD/made'"
  }
}
`, size))
	var out strings.Builder
	cmd := s.interruptible(&out)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	memory := int64(0)
	for running := true; running; {
		select {
		case err := <-ended:
			if running = false; err != nil {
				t.Fatalf("the apply: %v\n%s", err, out.String())
			}
		case <-tick.C:
			memory = max(memory, s.providerMemory())
		}
	}
	s.has("a module that prints much", "made")
	logs, err := filepath.Glob(filepath.Join(s.dir, ".penstock", "logs", "p", "*.log"))
	s.must(err)
	longest := int64(0)
	for _, name := range logs {
		info, err := os.Stat(name)
		s.must(err)
		longest = max(longest, info.Size())
	}
	t.Logf("the provider took up to %d MiB, and the log has %d MiB", memory>>20, longest>>20)
	if memory == 0 || memory > 200<<20 {
		t.Errorf("the provider took up to %d MiB", memory>>20)
	}
	if longest > 20<<20 {
		t.Errorf("the log has %d MiB", longest>>20)
	}
	if text := s.penstock("logs", "p", "production"); !strings.Contains(text, "terraform_data.noise: created") {
		t.Errorf("the log does not say how the module ended:\n%s", text[max(0, len(text)-2000):])
	}
	s.destroy()
	s.has("a destroy")
	s.alone()
}

// providerMemory returns the most memory that the site's provider has held so far; 0 if none
// runs.
func (s *site) providerMemory() int64 {
	s.t.Helper()
	for pid, line := range s.processes() {
		if !isVictim("provider", line) {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0 // it has just ended
		}
		for line := range strings.Lines(string(status)) {
			var kib int64
			if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
				return kib << 10
			}
		}
	}
	return 0
}

// mountSmall mounts a disk of 32 MiB until the test ends. Users who are not root need sudo for it
// without a password, as on the machines of CI. There, a disk that can't be had is a failure.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	options := fmt.Sprintf("size=32m,mode=700,uid=%d,gid=%d", os.Getuid(), os.Getgid())
	said := ""
	for _, as := range [][]string{nil, {"sudo", "-n"}} {
		run := func(args ...string) error {
			args = append(slices.Clone(as), args...)
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%s: %w %s", strings.Join(args, " "), err, out)
			}
			return err
		}
		err := run("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
		if err == nil {
			t.Cleanup(func() {
				if err := run("umount", "--lazy", dir); err != nil {
					t.Error(err)
				}
			})
			return
		}
		said += "\n" + err.Error()
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no small disk can be had:%s", said)
	}
	t.Skipf("no small disk can be had:%s", said)
}

// A disk that gets full ends the module's apply while there is room for its state. What was
// made is known, and the next apply goes on, once there is room.
func TestModuleFillsDisk(t *testing.T) {
	t.Parallel()
	s := newInsteadSite(t, "1h", "")
	s.must(os.Mkdir(s.work(), 0o700))
	mountSmall(t, s.work())
	fill := filepath.Join(s.work(), "fill")
	s.setInstead(strings.ReplaceAll(`
resource "terraform_data" "first" {
  provisioner "local-exec" { command = "touch 'CLOUD/first'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm 'CLOUD/first'"
  }
}
resource "terraform_data" "second" {
  triggers_replace = [terraform_data.first.id]
  provisioner "local-exec" { command = "test -e 'CLOUD/room' || { dd if=/dev/zero of='FILL' bs=64k; sleep 3600; }" }
}
`, "FILL", fill))
	s.applyFails(`of stage "production": apply module`, "is full: it has", "Free space on the disk, and try again")
	s.must(os.Remove(fill))
	s.write(filepath.Join(s.cloud(), "room"), "")
	s.apply()
	s.has("the next apply", "first", "room")
	s.destroy()
	s.has("a destroy", "room")
	s.alone()
}

// interruptible begins an apply as a person does in a terminal: Ctrl-C is for all of its
// process group.
func (s *site) interruptible(out *strings.Builder) *exec.Cmd {
	s.t.Helper()
	cmd := s.command(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, &syscall.SysProcAttr{Setpgid: true}
	s.must(cmd.Start())
	return cmd
}

func (s *site) interrupt(cmd *exec.Cmd) {
	s.t.Helper()
	s.must(syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
}

// Ctrl-C once, in the middle of a module's apply, stops it cleanly; twice, Terraform ends at
// once, and the module's Terraform still writes down what it has made. Either way the next
// apply goes on with what there is.
func TestModuleInterrupted(t *testing.T) {
	t.Parallel()
	const slow = `
resource "terraform_data" "first" {
  provisioner "local-exec" { command = "touch 'CLOUD/first'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm 'CLOUD/first'"
  }
}
resource "terraform_data" "second" {
  triggers_replace = [terraform_data.first.id, "BUILD"]
  provisioner "local-exec" { command = "test -e 'CLOUD/quick' || { touch 'CLOUD/slow'; sleep 3600; }; touch 'CLOUD/second'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm 'CLOUD/second'"
  }
}
`
	for name, times := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newInsteadSite(t, "1h", slow)
			var out strings.Builder
			cmd := s.interruptible(&out)
			s.await("creation", func() bool { _, err := os.Stat(filepath.Join(s.cloud(), "slow")); return err == nil })
			for range times {
				s.interrupt(cmd)
			}
			if err := cmd.Wait(); err == nil {
				t.Errorf("the apply did not fail:\n%s", out.String())
			}
			s.alone()
			if times == 1 {
				s.says(out.String(), `creating terraform_data.second for`)
				s.has("one Ctrl-C", "slow")
			}
			s.must(os.Remove(filepath.Join(s.cloud(), "slow")))
			s.write(filepath.Join(s.cloud(), "quick"), "")
			s.apply()
			s.has("the next apply", "first", "quick", "second")
			s.destroy()
			s.has("a destroy", "quick")
			s.alone()
		})
	}
}
