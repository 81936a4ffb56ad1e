// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// Exists reports whether the pipeline is defined.
func (s *State) Exists() bool { return s.Pipeline.Name != "" }

// FindBuildID returns the ID of the build that a person names by its number, if it is
// retained. It returns any other text unchanged.
func FindBuildID(s *State, name string) string {
	if n, ok := ParseBuildNumber(name); ok {
		for id, b := range s.Builds {
			if b.Number == n {
				return id
			}
		}
	}
	return name
}

// BuildsNewestFirst lists the retained builds, the newest first.
func (s *State) BuildsNewestFirst() []Build {
	return slices.Collect(s.NewestBuilds())
}

// NewestBuilds iterates over the retained builds, the newest first. For the first few of
// thousands, it is quicker than BuildsNewestFirst.
func (s *State) NewestBuilds() iter.Seq[Build] {
	ids := s.newest
	if len(ids) != len(s.Builds) { // a state that was built by hand
		ids = newestFirst(s.Builds)
	}
	return func(yield func(Build) bool) {
		for _, id := range ids {
			if !yield(s.Builds[id]) {
				return
			}
		}
	}
}

// StagesInOrder lists the stages so that each stands behind those it comes after,
// and otherwise by type and name.
func (s *State) StagesInOrder() []Stage {
	depth := map[string]int{}
	var measure func(name string, seen []string) int
	measure = func(name string, seen []string) int {
		if d, ok := depth[name]; ok {
			return d
		}
		stage, ok := s.Stages[name]
		if !ok || slices.Contains(seen, name) {
			return 0
		}
		d := 0
		for _, up := range stage.After {
			d = max(d, measure(up, append(seen, name))+1)
		}
		depth[name] = d
		return d
	}
	return slices.SortedFunc(maps.Values(s.Stages), func(a, b Stage) int {
		if d := measure(a.Name, nil) - measure(b.Name, nil); d != 0 {
			return d
		}
		if d := slices.Index(StageTypes, a.Type) - slices.Index(StageTypes, b.Type); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// Ancestors returns the names of every stage above the named one, directly or not,
// in no particular order. It ends on cycles.
func (s *State) Ancestors(after []string) []string {
	seen := map[string]bool{}
	var visit func([]string)
	visit = func(names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				visit(s.Stages[name].After)
			}
		}
	}
	visit(after)
	return slices.Sorted(maps.Keys(seen))
}

// RunsNow reports whether a run of the stage is under way.
func (s *State) RunsNow(stage string) bool { return s.Latest[stage].Status == RunRunning }

// RunEnvironment returns the living environment with the given purpose of a stage.
func (s *State) RunEnvironment(stage string, purpose EnvironmentPurpose) (Environment, bool) {
	for _, e := range s.Environments {
		if e.Stage == stage && e.Purpose == purpose {
			return e, true
		}
	}
	return Environment{}, false
}

// PersonEnvironment returns the self-service environment with the given name.
func (s *State) PersonEnvironment(name string) (Environment, bool) {
	for _, e := range s.Environments {
		if e.Purpose == ForPerson && e.Name == name {
			return e, true
		}
	}
	return Environment{}, false
}
