// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"slices"
	"time"
)

// DefaultDriftEvery is how often a stage's infrastructure is checked for drift at most, in a
// pipeline that sets no other time.
const DefaultDriftEvery = time.Hour

// Drift is what a check has found out: how the infrastructure of a stage's persistent
// environment differs from what its module was applied as.
type Drift struct {
	Stage       string `json:"stage"`
	Build       string `json:"build"`       // that serves
	Environment string `json:"environment"` // ID
	// Basis is the digest of all that is recorded and that applies of the module change. If that
	// has changed, the drift is void: the module has been applied since.
	Basis   string         `json:"basis"`
	Changes []ModuleChange `json:"outside_changes,omitempty"` // of resources by somebody else, the gravest first; at most 200
	Total   int            `json:"resources_drifted"`         // also of those that are not listed
	Since   time.Time      `json:"since,omitzero"`            // when a check found these changes first; zero without any
	Unknown string         `json:"unknown,omitempty"`         // why it could not be checked; empty if it was
	Actor   string         `json:"actor"`
	At      time.Time      `json:"at"`
}

// Any reports whether something has drifted.
func (d Drift) Any() bool { return d.Total > 0 }

// New reports whether the check is the first that found these changes.
func (d Drift) New() bool { return d.Any() && d.Since.Equal(d.At) }

// Follow notes since when the drift has been as it is, if the check before it found the same.
func (d *Drift) Follow(last Drift) {
	if !d.Any() {
		return
	}
	d.Since = d.At
	same := last.Total == d.Total && slices.EqualFunc(last.Changes, d.Changes, func(a, b ModuleChange) bool { return a.Address == b.Address && a.Action == b.Action })
	if same && last.Basis == d.Basis {
		d.Since = last.Since
	}
}

// ChecksDrift returns how often the environments that the module makes are checked for drift;
// false if they are not.
func (m *Module) ChecksDrift() (every time.Duration, on bool) {
	if m == nil || !m.DetectDrift {
		return 0, false
	}
	if m.DriftEvery == 0 {
		return DefaultDriftEvery, true
	}
	return m.DriftEvery, true
}

// DriftBasis returns the Basis of a check that is made now. It is empty if there is nothing to
// check: without detect_drift, without an environment that a module made and that serves, and
// while a run or a change of its size works on that.
func DriftBasis(s *State, stage Stage) string {
	env, ok := s.RunEnvironment(stage.Name, ForStage)
	if _, on := s.Pipeline.Module.ChecksDrift(); !on || !ok || !stage.Persistent() || env.Module == nil || !env.Serves() || env.Fleet == "" || s.RunsNow(stage.Name) {
		return ""
	}
	basis := []any{env.ID, env.Fleet, s.Latest[stage.Name].ID}
	if env.IsModule() { // a change of its size is an apply
		if env.Instances == 0 {
			return ""
		}
		basis = append(basis, env.Instances)
	}
	return hashJSON(basis)
}

// DriftOf returns what is known of the drift of a stage; false if nothing is.
func DriftOf(s *State, stage Stage) (Drift, bool) {
	d, ok := s.Drifts[stage.Name]
	return d, ok && d.Basis == DriftBasis(s, stage)
}

// DriftDue reports whether a stage is to be checked for drift, and was not lately.
func DriftDue(s *State, stage Stage, now time.Time) bool {
	every, _ := s.Pipeline.Module.ChecksDrift()
	last, checked := s.Drifts[stage.Name]
	return DriftBasis(s, stage) != "" && (!checked || now.Sub(last.At) >= every)
}
