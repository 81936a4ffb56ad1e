// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process
