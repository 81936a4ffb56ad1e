// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command serve makes the lab in a scratch directory, with environments that answer, shows it
// with the given penstock until it is interrupted, and removes it:
//
//	go run ./internal/lab/serve bin/penstock [flags of penstock serve]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func main() {
	process.Guard()
	supervisor.Main()
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: serve PENSTOCK [flags of penstock serve]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := show(ctx, os.Args[1], os.Args[2:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// show makes the lab, and serves it until ctx ends.
func show(ctx context.Context, penstock string, flags []string) (err error) {
	penstock, err = filepath.Abs(penstock)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "penstock-lab-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	l, err := lab.Open(ctx, lab.Options{Dir: dir, Real: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	fmt.Printf(`The lab is there after %.1f s: pipelines %s and %s. In another terminal:

  export PENSTOCK_DATA_DIR=%s
  penstock status %[2]s
  penstock status %[3]s
  penstock builds %[2]s
  penstock runs %[2]s
  penstock env list %[2]s
  penstock promote %[2]s production

End it with Ctrl-C, which removes it all.

`, time.Since(began).Seconds(), lab.Shop, lab.Wide, l.Dir)
	serve := exec.CommandContext(ctx, penstock, append([]string{"serve"}, flags...)...)
	serve.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+l.Dir)
	serve.Stdout, serve.Stderr = os.Stdout, os.Stderr
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	serve.WaitDelay = 10 * time.Second
	return serve.Run()
}
