// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package e2e_test drives the real binary with the real Terraform, as a user does:
// whole pipelines, processes killed at random, two applies at once, the examples,
// and the measurements that compare with other ways of doing the same.
package e2e_test
