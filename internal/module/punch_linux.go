// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch gives the disk space of a part of a file back, if it can.
func punch(file *os.File, from, size int64) {
	_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, size)
}
