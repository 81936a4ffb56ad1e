// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix && !linux

package source

import "syscall"

// endWithParent does nothing on this system. A git whose parent was killed goes on
// to its end; the cache is made so that it does no harm.
func endWithParent(*syscall.SysProcAttr) {}
