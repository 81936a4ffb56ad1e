// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// infrastructure is a module in whose cloud, a directory, each environment has a network, a
// database in it, and a schema that each build makes anew.
const infrastructure = `
variable "penstock" {
  type = object({ environment = string, build = string })
}
variable "cloud" { type = string }
resource "terraform_data" "network" {
  input = "${var.cloud}/${var.penstock.environment}.network"
  provisioner "local-exec" { command = "sleep 0.1; touch '${self.input}'" }
  provisioner "local-exec" {
    when    = destroy
    command = "sleep 0.1; rm -f '${self.input}'"
  }
}
resource "terraform_data" "database" {
  triggers_replace = [terraform_data.network.id]
  input            = "${var.cloud}/${var.penstock.environment}.database"
  provisioner "local-exec" { command = "sleep 0.1; touch '${self.input}'" }
  provisioner "local-exec" {
    when    = destroy
    command = "sleep 0.1; rm -f '${self.input}'"
  }
}
resource "terraform_data" "schema" {
  triggers_replace = [terraform_data.database.id, var.penstock.build]
  input            = "${var.cloud}/${var.penstock.environment}.schema"
  provisioner "local-exec" { command = "echo '${var.penstock.build}' > '${self.input}'" }
  provisioner "local-exec" {
    when    = destroy
    command = "rm -f '${self.input}'"
  }
}
output "env" { value = { SCHEMA = terraform_data.schema.output } }
`

// moduleConfig is faultConfig with a module, in the directory "env" of the repository. Its
// acceptance finds the schema of its own build.
func moduleConfig() string {
	return strings.NewReplacer(
		`  infrastructure = ["image/**"]`, "  infrastructure = [\"image/**\"]\n  module         = [\"env/**\"]",
		"  scale = { instances = 2 }\n", "  scale = { instances = 2 }\n  module = { directory = \"env\", variables = { cloud = abspath(\"../cloud\") } }\n",
		`[{ name = "answers", http = { path = "/" } }]`, `[{ name = "answers", http = { path = "/" } }, { name = "schema", command = "grep -q \"$PENSTOCK_BUILD\" \"$SCHEMA\"" }]`,
	).Replace(faultConfig())
}

// newModuleSite is a site whose service has a module.
func newModuleSite(t testing.TB, config, module string) *site {
	t.Helper()
	s := newSite(t, config)
	s.must(os.Mkdir(filepath.Join(s.repo, "env"), 0o755), os.Mkdir(s.cloud(), 0o755))
	s.setModule(module)
	return s
}

// cloud is where modules make what environments need.
func (s *site) cloud() string { return filepath.Join(s.root, "cloud") }

// setModule changes the module in the repository.
func (s *site) setModule(text string) {
	s.t.Helper()
	s.write(filepath.Join(s.repo, "env", "main.tf"), text)
	s.run(s.repo, "git", "add", "-A")
	s.run(s.repo, "git", "commit", "-q", "-m", "module")
}

// checkModules asserts that modules have made what production needs for the build that it
// runs, and that nothing else of theirs exists. Where lost is set, a Terraform was killed: what
// it was making at that moment nobody knows of, and it is removed here.
func (s *site) checkModules(when string, lost bool) {
	s.t.Helper()
	var envs []struct{ ID, Build, Name string }
	s.must(json.Unmarshal([]byte(s.penstock("env", "list", "--all", "--json")), &envs))
	if len(envs) != 1 || envs[0].Name != "production" {
		s.t.Fatalf("%s: environments %+v, want production's", when, envs)
	}
	id := envs[0].ID
	want := []string{id + ".database", id + ".network", id + ".schema"}
	have := s.names(filepath.Join(s.cloud(), "*"))
	if lost {
		have = slices.DeleteFunc(have, func(name string) bool {
			unknown := !slices.Contains(want, name)
			if unknown {
				s.t.Logf("%s: %s was lost", when, name)
				s.must(os.Remove(filepath.Join(s.cloud(), name)))
			}
			return unknown
		})
	}
	if !slices.Equal(have, want) {
		s.t.Fatalf("%s: the cloud has %q, want %q", when, have, want)
	}
	schema, err := os.ReadFile(filepath.Join(s.cloud(), id+".schema"))
	s.must(err)
	if got := strings.TrimSpace(string(schema)); got != envs[0].Build {
		s.t.Fatalf("%s: production has the schema of build %q, want %q", when, got, envs[0].Build)
	}
	if left := s.names(filepath.Join(s.work(), filepath.Base(s.dir)+"-*", "modules", "*")); !slices.Equal(left, []string{id}) {
		s.t.Fatalf("%s: the modules' work directories are %q, want %q", when, left, id)
	}
	if displaced := s.names(filepath.Join(s.work(), "*", "modules", "*", "displaced-*")); len(displaced) > 0 {
		s.t.Fatalf("%s: states were put aside: %q", when, displaced)
	}
	if left := s.names(filepath.Join(s.dir, ".penstock", "modules", "*", "*")); !slices.Equal(left, []string{id}) {
		s.t.Fatalf("%s: the modules' states are %q, want %q", when, left, id)
	}
	if left := s.names(filepath.Join(s.dir, ".penstock", "modules", "*", "*", "packages", "*")); len(left) != 1 {
		s.t.Fatalf("%s: production's packages are %q, want one", when, left)
	}
}

// names returns the names of the files that match a pattern, sorted, without those that are
// hidden.
func (s *site) names(pattern string) []string {
	s.t.Helper()
	found, err := filepath.Glob(pattern)
	s.must(err)
	var names []string
	for _, path := range found {
		if name := filepath.Base(path); !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestKilledAtRandomWithModule does as TestKilledAtRandom where a module makes what
// environments need, and kills its Terraform, too.
func TestKilledAtRandomWithModule(t *testing.T) {
	s := newModuleSite(t, moduleConfig(), infrastructure)
	s.killAtRandom(kills(6), []string{"terraform", "provider", "supervisor", "module", "guard of the module", "all"}, func(when, version string) {
		t.Helper()
		s.checkWhole(when, version)
		s.checkModules(when, strings.Contains(when, "of module") || strings.Contains(when, "of all"))
	})
	if left := s.names(filepath.Join(s.cloud(), "*")); len(left) > 0 {
		t.Errorf("after the destroy, the cloud has %q", left)
	}
}

// TestTwoAppliesAtOnceWithModule does so where a module makes what environments need: each of
// them is made once.
func TestTwoAppliesAtOnceWithModule(t *testing.T) {
	s := newModuleSite(t, strings.Replace(moduleConfig(), `provider "penstock" {}`, `provider "penstock" { data_dir = "../data" }`, 1), infrastructure)
	s.applyTwice("--data-dir", filepath.Join(s.root, "data"))
	if have := s.names(filepath.Join(s.cloud(), "*")); len(have) != 3 {
		t.Errorf("the cloud has %q, want what production needs", have)
	}
	s.destroy()
	if have := s.names(filepath.Join(s.cloud(), "*")); len(have) > 0 {
		t.Errorf("after the destroy, the cloud has %q", have)
	}
}
