// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// binary is the provider and CLI, built once; terraform is the client.
var binary, terraform string

func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(workplacetest.Main(func() int { return setUp(m) }))
}

func setUp(m *testing.M) int {
	dir, err := os.MkdirTemp("", "penstock-acceptance")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// What a program that is killed leaves among the temporary files goes, too.
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
		if terraform, err = exec.LookPath("terraform"); err != nil {
			fmt.Fprintln(os.Stderr, "these tests need terraform: run them with make, which finds or installs it")
			return 1
		}
	}
	return cloudtest.Main(m)
}
