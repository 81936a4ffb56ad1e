// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package artifact

import (
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// tryLock fails on this system, where no stage runs that could leave an artifact.
func tryLock(*os.File) (bool, error) { return false, process.ErrUnsupported }

// syncDir does nothing where directories can't be synced.
func syncDir(string) error { return nil }
