// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "strings"

// RunPrefix begins the IDs of runs.
const RunPrefix = "r-"

// OwnPrefix begins the IDs of self-service environments, and of their fleets: by it AWS tells
// what launchers may make from what stages run.
const OwnPrefix = "s-"

// FleetOf returns the ID of the fleet that a run brings up, where it needs a new one.
func FleetOf(run string) string { return "f-" + strings.TrimPrefix(run, RunPrefix) }

// RaisedOf returns the keys of what was raised about an environment.
func (s *State) RaisedOf(environment string) []Key {
	var keys []Key
	for id := range s.Raised {
		if strings.HasPrefix(id, environment+"/") {
			keys = append(keys, Key{Kind: RecordRaised, ID: id})
		}
	}
	return keys
}
