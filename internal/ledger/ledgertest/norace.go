// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !race

package ledgertest

const raceDetector = false
