// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command terraform prints the path of a terraform or tofu to test and develop
// with: the one that $TERRAFORM names, else one on PATH, else one in the cache
// directory, where it installs the latest Terraform 1.x the first time.
//
//	terraform -cache .cache
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hc-install/product"
	"github.com/hashicorp/hc-install/releases"

	"github.com/penstock-io/terraform-provider-penstock/tools/internal/program"
)

// supported are the versions that the provider works with.
var supported = version.MustConstraints(version.NewConstraint(">= 1.8.0, < 2.0.0"))

// remedy is what to do where nothing can be installed.
const remedy = "install Terraform (https://developer.hashicorp.com/terraform/install) or OpenTofu " +
	"(https://opentofu.org/docs/intro/install), or set TERRAFORM to the path of one"

func main() {
	cache := flag.String("cache", ".cache", "directory to install into")
	flag.Parse()
	program.Main("find terraform", func(ctx context.Context) (string, error) {
		path, err := program.Find("TERRAFORM", func(path string) error { return check(ctx, path) }, "terraform", "tofu")
		if err != nil || path != "" {
			return path, err
		}
		return installed(ctx, filepath.Join(*cache, "terraform"))
	})
}

// check reports whether the program is one of a supported version.
func check(ctx context.Context, path string) error {
	got, err := program.TerraformVersion(ctx, path)
	if err != nil {
		return err
	}
	if !supported.Check(got.Core()) {
		return fmt.Errorf("version %s is not %s", got, supported)
	}
	return nil
}

// installed returns the terraform in dir, and installs it if it is not there. A
// directory that is there is complete: it is moved to its place as the last step.
func installed(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, product.Terraform.BinaryName())
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "there is no terraform or tofu on PATH: installing the latest Terraform %s into %s\n", supported, dir)
	if err := install(ctx, dir); err != nil {
		return "", fmt.Errorf("install Terraform: %w\n%s", err, remedy)
	}
	return path, nil
}

func install(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "terraform-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	release := &releases.LatestVersion{
		Product:     product.Terraform,
		Constraints: supported,
		InstallDir:  fresh,
		Timeout:     10 * time.Minute,
	}
	if _, err := release.Install(ctx); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err // another process may have been first
	}
	return nil
}
