// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux && !darwin

package protocol

import (
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// TryLock fails on this system, where nothing can be started that a lock would be for.
func TryLock(string) (*os.File, error) { return nil, process.ErrUnsupported }

func Locked(string) bool { return false }
