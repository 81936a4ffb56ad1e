// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
)

// decideFrozen keeps a paused stage where it is. What it runs is kept running.
func (s *State) decidePaused(stage Stage, m Move, f Pause, held string) Move {
	m.Status, m.WaitingFor = StatusWaiting, f.describe(stage)
	if stage.Pin != "" && stage.Pin != held {
		m.Candidate, m.Err = stage.Pin, s.RefusePaused(stage, fmt.Sprintf("move stage %q to build %s", stage.Name, stage.Pin))
		return m
	}
	if m.Candidate = held; held != "" {
		switch action, why := s.action(stage, held, held); action {
		case ActionRestore, ActionAdjust:
			m.Action, m.Why = action, why
		}
	}
	return m
}

// RefuseHeld refuses, with CodeRefused, what would move a paused stage.
func (s *State) RefusePaused(stage Stage, op string) error {
	f, ok := s.Pauses[stage.Name]
	if !ok {
		return nil
	}
	return Errorf(CodeRefused, op, "the stage waits for %s", f.since()).
		WithHint("Resume it with `penstock resume %s %s`.", stage.Pipeline, stage.Name)
}

// describe says what a paused stage waits for, with the command that ends it.
func (f Pause) describe(stage Stage) string {
	return fmt.Sprintf("%s; `penstock resume %s %s`", f.since(), stage.Pipeline, stage.Name)
}

// since says who paused a stage, since when, and why.
func (f Pause) since() string {
	text := fmt.Sprintf("a person to resume it: %s paused it at %s", f.Actor, Moment(f.At.UTC()))
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

// Retried says who asked for another run after the one that judged; empty for nobody.
func (s *State) Retried(stage Stage, judged RunSummary) string {
	r, ok := s.Retries[stage.Name]
	if !ok || r.Build != judged.Build || r.Run != judged.ID {
		return ""
	}
	return r.Actor + " asked for another run"
}
