// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package module

import (
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func tryLock(*os.File) (bool, error) { return false, process.ErrUnsupported }

func lockHolder(string) int { return 0 }

func leadsSession(int) bool { return false }

func interrupt(int) {}

func syncDir(string) error { return nil }

func freeSpace(string) (int64, bool) { return 0, false }
