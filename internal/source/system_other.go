// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package source

import (
	"context"
	"os"
	"os/exec"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func isolate(*exec.Cmd)  {}
func endGroup(*exec.Cmd) {}

// lockFile fails on this system, where no repository is fetched.
func lockFile(context.Context, string) (*os.File, error) { return nil, process.ErrUnsupported }

func setTime(path string, t time.Time) error { return os.Chtimes(path, t, t) }
