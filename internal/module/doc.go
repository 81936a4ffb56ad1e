// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package module makes the infrastructure of environments with Terraform or OpenTofu: it
// implements the port Modules of package pipeline.
package module
