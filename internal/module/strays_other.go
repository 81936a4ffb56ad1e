// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package module

// endPlugins does nothing where the system does not tell what processes are for.
func endPlugins(string) {}
