// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package acceptance goes through a running shop the way customers do. It knows
// only the shop's address, $PENSTOCK_ENDPOINT, and nothing of its code:
//
//	PENSTOCK_ENDPOINT=http://127.0.0.1:8080 make acceptance
package acceptance
