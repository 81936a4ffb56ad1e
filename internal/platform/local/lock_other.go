// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux && !darwin

package local

import (
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// tryLock fails on this system, where nothing can be started that a lock would be for.
func tryLock(string) (*os.File, error) { return nil, process.ErrUnsupported }

func locked(string) bool { return false }
