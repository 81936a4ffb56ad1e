// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package protocol is what the two processes of a local environment share: the client
// (package local), which is any process that uses the platform, and the supervisor
// (package supervisor), which runs the environment. They meet in three places:
//
//   - the environment's directory, with its records and its logs
//   - the locks in it, which say who lives and who may change what
//   - the supervisor's socket, with HTTP and JSON in both directions
//
// Supervisors outlive upgrades of the program, so that either side may be older than the
// other. The package starts nothing and changes no traffic; both sides run it.
package protocol
