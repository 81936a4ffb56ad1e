// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package cli

import (
	"context"
	"os"
)

// readQuietly does nothing: a program in the background is not stopped for reading here.
func readQuietly() func() { return func() {} }

// awaitForeground does not wait: what failed was not for the background.
func awaitForeground(context.Context, *os.File) {}
