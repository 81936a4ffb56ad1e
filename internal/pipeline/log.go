// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "strconv"

// In the log of a run, a step stands between two lines of these forms:
//
//	== step "unit tests": make test
//	== step "unit tests" passed in 1.2s
//
// They are for people. The run's record says where a step's part of the log is.
//
// A hook of the service does likewise, with its own word.
const (
	stepMark = "== step "
	hookMark = "== hook "
)

// StepHeader returns the beginning of the line that opens a step's part of a log.
func StepHeader(name string) string { return stepMark + strconv.Quote(name) + ": " }

// StepFooter returns the beginning of the line that closes a step's part of a log.
func StepFooter(name string) string { return stepMark + strconv.Quote(name) + " " }

// HookHeader returns the beginning of the line that opens a hook's part of a log.
func HookHeader(name string) string { return hookMark + strconv.Quote(name) + ": " }

// HookFooter returns the beginning of the line that closes a hook's part of a log.
func HookFooter(name string) string { return hookMark + strconv.Quote(name) + " " }

// LogPart is part of the log of a run, in bytes from the log's beginning.
type LogPart struct {
	From int64 `json:"from" shape:"from_byte"`       // its first byte, from 0
	To   int64 `json:"to,omitempty" shape:"to_byte"` // behind its last byte; 0: it goes to the log's end
}

// StepUnderWay is a step that has begun and has no result yet.
type StepUnderWay struct {
	Name string `json:"name"`
	From int64  `json:"from" shape:"from_byte"` // where its part of the log begins, in bytes
}

// LogParts returns where the parts of the steps with a name are in the log of the run, in
// their order: none for a step that has not begun.
func (r Run) LogParts(step string) []LogPart {
	var parts []LogPart
	for _, s := range r.Steps {
		if s.Name == step && s.Log != nil {
			parts = append(parts, *s.Log)
		}
	}
	if u := r.UnderWay; u != nil && u.Name == step {
		parts = append(parts, LogPart{From: u.From})
	}
	return parts
}
