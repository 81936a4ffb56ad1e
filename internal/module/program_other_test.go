// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package module

// playStranger has no lock to take.
func playStranger(string) { panic("only a test on Unix asks for it") }
