// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux && !darwin

package process

import (
	"context"
	"strconv"
)

// Guard does nothing on this system, where no command can be started.
func Guard() {}

// Start fails with ErrUnsupported on this system.
func Start(context.Context, Spec) (*Process, error) { return nil, ErrUnsupported }

// Detach fails with ErrUnsupported on this system.
func Detach([]string, string, []string, string) (int, error) { return 0, ErrUnsupported }

// startedAt takes every process for alive, as this system has no record of who
// was started; it is only asked about this very process.
func startedAt(pid int) (string, bool) { return strconv.Itoa(pid), true }

// scope is unknown on this system, so that no process is taken for dead.
func scope() string { return "" }
