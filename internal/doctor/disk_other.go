// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package doctor

// freeBytes is not known here.
func freeBytes(string) (int64, bool) { return 0, false }
