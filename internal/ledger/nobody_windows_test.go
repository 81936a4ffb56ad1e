// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

// Windows has no users to become.
const nobodyVariable = "LEDGER_TEST_NOBODY"

func openAsNobody(string) {}
