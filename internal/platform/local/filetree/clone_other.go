// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !darwin

package filetree

// clone leaves it to the copy to share blocks.
func clone(_, _ string) bool { return false }
