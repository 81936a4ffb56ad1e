// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readQuietly makes a read of the terminal fail that is made in the background, as by
// `penstock serve &`; it would stop the program. The returned function takes that back.
func readQuietly() func() {
	signal.Ignore(syscall.SIGTTIN)
	return func() { signal.Reset(syscall.SIGTTIN) }
}

// awaitForeground waits until the program has the terminal, or there is none any more.
func awaitForeground(ctx context.Context, terminal *os.File) {
	tick := time.NewTicker(foregroundEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP); err != nil || group == unix.Getpgrp() {
			return
		}
	}
}
