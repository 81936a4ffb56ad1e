// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"strconv"
	"strings"
)

// In the log of a run, a step stands between two lines of these forms:
//
//	== step "unit tests": make test
//	== step "unit tests" passed in 1.2s
//
// All lines between them begin with a time, so nothing that a step prints can be
// taken for one of them.
const stepMark = "== step "

// StepHeader gives the beginning of the line that opens a step's part of a log.
func StepHeader(name string) string { return stepMark + strconv.Quote(name) + ": " }

// StepFooter gives the beginning of the line that closes a step's part of a log.
func StepFooter(name string) string { return stepMark + strconv.Quote(name) + " " }

// OpensStep reports whether line opens the part of the named step.
func OpensStep(line, name string) bool { return strings.HasPrefix(line, StepHeader(name)) }

// ClosesStep reports whether line closes the part of the named step.
func ClosesStep(line, name string) bool { return strings.HasPrefix(line, StepFooter(name)) }
