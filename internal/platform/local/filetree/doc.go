// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package filetree makes the trees of files that commands of the local platform work in:
// copies of a directory, of an image, or of what a fleet has installed. It runs in both of
// the platform's processes: the client's makes the trees of bakes and fleets, the
// supervisor's those of instances.
package filetree
