// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package supervisor

// listening is not known on this system.
func listening(int) []int { return nil }
