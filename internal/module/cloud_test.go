// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
)

// installCloud makes the provider of the tests known to Terraform, in a directory.
func installCloud(dir string) error {
	file := filepath.Join(dir, "terraformrc")
	text := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", dir)
	return errors.Join(moduletest.Install(dir), os.WriteFile(file, []byte(text), 0o600), os.Setenv("TF_CLI_CONFIG_FILE", file))
}

// databases is a module of databases in a cloud.
const databases = `
terraform {
  required_providers {
    cloud = { source = "acme/cloud" }
  }
}
variable "dir" { type = string }
variable "names" {
  type    = set(string)
  default = ["a"]
}
variable "engine" {
  type    = string
  default = "postgres"
}
variable "size" {
  type    = number
  default = 1
}
variable "password" {
  type      = string
  sensitive = true
  default   = "none"
}
provider "cloud" { dir = var.dir }
resource "cloud_database" "main" {
  for_each = var.names
  name     = each.key
  engine   = var.engine
  size     = var.size
  password = var.password
}
output "env" {
  sensitive = true
  value     = { PASSWORD = var.password }
}
output "data" { value = { ids = [for d in cloud_database.main : d.id] } }
`

// cloud returns a cloud, and the variables of a module for databases in it.
func (w *world) cloud(names ...string) (string, map[string]json.RawMessage) {
	w.Helper()
	dir := w.TempDir()
	return dir, map[string]json.RawMessage{"dir": raw(dir), "names": raw(names)}
}

// has checks which databases a cloud has.
func (w *world) has(dir string, names ...string) {
	w.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.db"))
	w.ok(err)
	for i, name := range found {
		found[i] = strings.TrimSuffix(filepath.Base(name), ".db")
	}
	if !slices.Equal(found, names) {
		w.Errorf("the cloud has %q, want %q", found, names)
	}
}

// behave writes a file that makes a cloud misbehave.
func (w *world) behave(dir, file, text string) {
	w.Helper()
	w.ok(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
}

// shortly waits until something holds.
func (w *world) shortly(what string, holds func() bool) {
	w.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			w.Fatal("no " + what)
		}
	}
}

var _ testing.TB = (*world)(nil)
