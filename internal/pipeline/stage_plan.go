// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// ModuleCounts counts what an apply of a module does to resources, as Terraform counts. A
// replacement is one that is added and one that is destroyed.
type ModuleCounts struct {
	Added     int `json:"resources_added"`     // by the module
	Changed   int `json:"resources_changed"`   // in place
	Destroyed int `json:"resources_destroyed"` // with those that are made again
}

// CountChanges counts changes.
func CountChanges(changes []ModuleChange) (n ModuleCounts) {
	for _, c := range changes {
		switch c.Action {
		case ModuleCreate:
			n.Added++
		case ModuleUpdate:
			n.Changed++
		case ModuleReplace:
			n.Added++
			n.Destroyed++
		case ModuleDestroy:
			n.Destroyed++
		}
	}
	return n
}

// None reports whether nothing is done.
func (n ModuleCounts) None() bool { return n == ModuleCounts{} }

// ModuleRun is the apply of a module by a run.
type ModuleRun struct {
	ModuleCounts
	Changes   []ModuleChange `json:"resource_changes,omitempty"` // of resources, the gravest first; at most 200
	StartedAt time.Time      `json:"started_at"`
	Duration  time.Duration  `json:"duration"`
	Failed    bool           `json:"unfinished,omitempty"`           // it failed or goes on, so that what it did is not known
	Log       *LogPart       `json:"log,omitempty" shape:"log_part"` // its part of the log of its run
}

// StagePlan is a stored plan: what the module of a build would do to the infrastructure of a
// stage's persistent environment. It is made before anybody approves the build for the stage.
type StagePlan struct {
	Stage       string `json:"stage"`
	Build       string `json:"build"`
	Environment string `json:"environment,omitempty"` // ID; empty while the stage has none
	Package     string `json:"package"`               // digest of the module that was planned
	Serving     string `json:"serving,omitempty"`     // the build that served; empty for none
	// Basis is the digest of all that is recorded and that the plan depends on. If that has
	// changed, the plan is out of date.
	Basis string `json:"basis"`
	ModuleCounts
	Changes []ModuleChange `json:"resource_changes,omitempty"` // of resources, the gravest first; at most 200
	Drift   []ModuleChange `json:"outside_changes,omitempty"`  // what somebody else had changed since the last apply; at most 200
	Unknown string         `json:"unknown,omitempty"`          // why it could not be planned; empty if it was
	Actor   string         `json:"actor"`
	At      time.Time      `json:"at"`
}

// Losing returns the changes by which data is lost.
func (p StagePlan) Losing() []ModuleChange {
	return slices.DeleteFunc(slices.Clone(p.Changes), func(c ModuleChange) bool { return !c.Stateful })
}

// listedChanges bounds the changes that a record lists. A record has room for that many; who
// reads more looks in the log.
const listedChanges = 200

// gravity is the order in which changes are listed.
var gravity = []ModuleAction{ModuleDestroy, ModuleReplace, ModuleUpdate, ModuleCreate}

// ListChanges returns the changes for a record: those of resources, those that lose data
// first, then by how grave they are and by address. It is at most 200.
func ListChanges(changes []ModuleChange) []ModuleChange {
	list := slices.DeleteFunc(slices.Clone(changes), func(c ModuleChange) bool { return !slices.Contains(gravity, c.Action) })
	slices.SortStableFunc(list, func(a, b ModuleChange) int {
		if a.Stateful != b.Stateful {
			if a.Stateful {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(slices.Index(gravity, a.Action), slices.Index(gravity, b.Action)), cmp.Compare(a.Address, b.Address))
	})
	return list[:min(len(list), listedChanges)]
}

// PlanBasis returns the Basis of a plan that is made now of a build in a stage's persistent
// environment. It is empty if there is nothing to plan: for a stage without such an
// environment, or with one at each of several targets, and a build without a module.
func PlanBasis(s *State, stage Stage, build string) string {
	m, of := s.Pipeline.Module, s.Builds[build].Module
	if m == nil || of == nil || !stage.Persistent() || stage.Spread() {
		return ""
	}
	env, _ := s.RunEnvironment(stage.Name, ForStage)
	spec := stage.EnvironmentFor(s.Pipeline)
	return hashJSON(struct {
		Package, Environment, Fleet, InstanceType string
		Variables                                 map[string]json.RawMessage
		Secrets                                   int64
		Instances                                 int
		Stateful                                  []string
	}{of.Digest, env.ID, env.Fleet, spec.InstanceType, m.VariablesOf(spec), spec.VariablesVersion, stage.Instances(s.Pipeline), m.Stateful})
}

// PlanOf returns the stored plan of a build in a stage's environment, and whether it is still
// what would be planned now. There may be none.
func PlanOf(s *State, stage Stage, build string) (p StagePlan, current, stored bool) {
	p, stored = s.Plans[StageBuild(stage.Name, build)]
	return p, stored && p.Basis == PlanBasis(s, stage, build), stored
}

// Releases returns the stages whose persistent environments a build reaches next when it goes
// through a stage: the stage itself if it has one, else the nearest below it, in order. One with
// several targets is returned as it is at each.
func Releases(s *State, stage Stage) []Stage {
	if stage.Persistent() {
		return stage.AtPlaces()
	}
	var found []Stage
	reached, seen := []string{stage.Name}, map[string]bool{stage.Name: true}
	for len(reached) > 0 {
		name := reached[0]
		reached = reached[1:]
		for _, below := range s.StagesInOrder() {
			if seen[below.Name] || !slices.Contains(below.After, name) {
				continue
			}
			seen[below.Name] = true
			if below.Persistent() {
				found = append(found, below.AtPlaces()...)
			} else {
				reached = append(reached, below.Name)
			}
		}
	}
	return found
}
