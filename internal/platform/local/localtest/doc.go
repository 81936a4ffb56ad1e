// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package localtest is what tests of the local platform share: a Bed with one environment
// of the test service, which asserts at its end that no process and no file is left. Only
// tests import it, those of both of the platform's processes.
package localtest
