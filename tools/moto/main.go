// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command moto prints the path of a moto_server, the AWS that the tests talk to:
// the one that $MOTO_SERVER names, else one on PATH, else one in the cache
// directory, where it makes a Python environment for it the first time.
//
//	moto -cache .cache
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/tools/internal/program"
)

// The releases that the tests were written against. Moto takes any botocore; the tables of
// AWS's requests are made of this one.
const (
	release = "moto[server]==5.2.1"
	models  = "botocore==1.43.11"
)

const remedy = "install it with pip install '" + release + "' '" + models + "', or set MOTO_SERVER to the path of a moto_server"

func main() {
	cache := flag.String("cache", ".cache", "directory to install into")
	flag.Parse()
	program.Main("find moto_server", func(ctx context.Context) (string, error) {
		path, err := program.Find("MOTO_SERVER", func(path string) error { return check(ctx, path) }, "moto_server")
		if err != nil || path != "" {
			return path, err
		}
		return installed(ctx, filepath.Join(*cache, "moto"))
	})
}

// check reports whether the program runs: a script may be there whose Python is not.
func check(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, "--help").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, out)
	}
	return nil
}

// installed returns the moto_server in dir, and installs it if it is not there. A
// Python environment can't be moved, so a file that is written last says that the
// one in dir is complete, and of which release.
func installed(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path, complete := filepath.Join(dir, "bin", "moto_server"), filepath.Join(dir, "complete")
	if got, err := os.ReadFile(complete); err == nil && string(got) == release+" "+models {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "there is no moto_server on PATH: installing %s into %s\n", release, dir)
	if err := install(ctx, dir); err != nil {
		return "", fmt.Errorf("install %s: %w\n%s", release, err, remedy)
	}
	return path, os.WriteFile(complete, []byte(release+" "+models), 0o644)
}

func install(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", dir},
		{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", release, models},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // standard output is for the path
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(args[0]), err)
		}
	}
	return nil
}
