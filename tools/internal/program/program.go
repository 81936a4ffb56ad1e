// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package program finds the programs that the make targets need. It installs
// nothing: that differs by program, and is left to its callers.
//
//	path, err := program.Find("TERRAFORM", check, "terraform", "tofu")
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Find returns the absolute path of the program that the variable names or, without
// it, of the first of names on PATH that check accepts; "" where there is none. A
// program that the variable names must do; one on PATH that does not is passed
// over, and said so on standard error.
func Find(variable string, check func(path string) error, names ...string) (string, error) {
	if chosen := os.Getenv(variable); chosen != "" {
		path, err := find(chosen, check)
		if err != nil {
			return "", fmt.Errorf("%s=%s: %w; set it to another program, or unset it", variable, chosen, err)
		}
		return path, nil
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			continue
		}
		path, err := find(name, check)
		if err == nil {
			return path, nil
		}
		fmt.Fprintf(os.Stderr, "%s on PATH is passed over: %v\n", name, err)
	}
	return "", nil
}

func find(name string, check func(string) error) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	return path, check(path)
}

// Main runs a helper program until it ends or is interrupted, prints the path that
// it returns to standard output, and ends the process.
func Main(name string, run func(ctx context.Context) (path string, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	path, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
