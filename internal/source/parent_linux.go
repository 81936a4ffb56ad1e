// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import "syscall"

// endWithParent has git end when this process is killed. A filter that git started
// ends by itself then, as nobody gives it anything to do.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
