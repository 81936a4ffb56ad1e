// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import "strings"

// UploaderOf is for tests of the package alone.
var UploaderOf = uploaderOf

// Grow makes the template larger than a request takes.
func (s *Stack) Grow() { s.template += "\n# " + strings.Repeat("x", maxBody) + "\n" }
