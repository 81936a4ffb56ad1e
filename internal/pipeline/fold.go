// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
)

// State is everything about a pipeline that the gates and the listings look at:
// the records of the current-state view, decoded. It holds retained builds only.
type State struct {
	Pipeline         Pipeline
	Stages           map[string]Stage           // by name
	ImageDefinitions map[string]ImageDefinition // by name
	Builds           map[string]Build           // by ID
	Latest           map[string]RunSummary      // a stage's latest run
	Results          map[string][]RunSummary    // by StageBuild, the latest last, without Made, Step, Committed, Order and Ready
	Current          map[string]Current         // by stage
	Decisions        map[string]Decision        // by StageBuild
	Promotions       map[string]Promotion       // by stage
	Overrides        map[string]Override        // by StageBuild
	Pauses           map[string]Pause           // by stage
	Retries          map[string]Retry           // by stage
	Raised           map[string]Raised          // by RaisedID
	Deliveries       map[string]Delivery        // by the target's key
	Images           map[string]Image           // by ID
	Environments     map[string]Environment     // by ID
	Plans            map[string]StagePlan       // by StageBuild
	Drifts           map[string]Drift           // by stage
	Creations        map[string]Creation        // by the ID of their keys
	Backups          map[string]Backup          // by Backup.ID
	Finishes         map[string]Finish          // by stage
	Channels         map[string]Channel         // by Channel.Key

	versions map[Key]int64
	newest   []string // IDs of Builds in order, where NewState made the state
	results  []string // IDs of the records in Results, by version
}

// NewState decodes the records of one pipeline's state. Without a pipeline record
// the state says so by an empty Pipeline.Name.
func NewState(records []Record) (*State, error) {
	decoded := make([]DecodedRecord, 0, len(records))
	for _, r := range records {
		d, err := r.Decode()
		if err != nil {
			return nil, err
		}
		decoded = append(decoded, d)
	}
	return StateOf(decoded), nil
}

// DecodedRecord is what a record says.
type DecodedRecord struct {
	version int64
	set     func(*State) // in a state where it is newer than all that it has
}

// Decode returns what a record of a state says. The error is CodeCorrupt.
func (r Record) Decode() (DecodedRecord, error) {
	var set func(*State)
	err := errors.New("unknown kind of record")
	if decode := kindsByName[r.Kind].decode; decode != nil {
		set, err = decode(r)
	}
	if err != nil {
		return DecodedRecord{}, Errorf(CodeCorrupt, "read ledger", "record %s %q: %w", r.Kind, r.ID, err)
	}
	return DecodedRecord{r.Version, set}, nil
}

// StateOf returns the state of the records of one pipeline, in any order. It sorts them.
func StateOf(records []DecodedRecord) *State {
	slices.SortFunc(records, func(a, b DecodedRecord) int { return cmp.Compare(a.version, b.version) })
	s := &State{versions: make(map[Key]int64, len(records))}
	for _, k := range kinds {
		if k.fresh != nil {
			k.fresh(s, len(records))
		}
	}
	for _, r := range records {
		r.set(s)
	}
	s.newest = newestFirst(s.Builds)
	return s
}

// With returns the state after the events that follow it. It shares with s what they leave
// unchanged, and s itself does not change.
func (s *State) With(events []Event) (*State, error) {
	records := make([][]Record, len(events))
	changed := []RecordKind{}
	for i, e := range events {
		var err error
		if records[i], err = e.Records(); err != nil {
			return nil, err
		}
		for _, r := range records[i] {
			changed = append(changed, r.Kind)
		}
		for _, key := range e.Facts.Gone {
			changed = append(changed, key.Kind)
		}
	}
	c := s.copy(changed...)
	c.versions = maps.Clone(s.versions)
	for i, e := range events {
		for _, r := range records[i] {
			if kindsByName[r.Kind].part == nil {
				continue // history
			}
			d, err := r.Decode()
			if err != nil {
				return nil, err
			}
			d.set(c)
		}
		for _, key := range e.Facts.Gone {
			if drop := kindsByName[key.Kind].drop; drop != nil {
				drop(c, key.ID)
			}
			delete(c.versions, key)
		}
	}
	if slices.Contains(changed, RecordBuild) {
		c.newest = newestFirst(c.Builds)
	}
	return c, nil
}

// copy returns a copy of the state in which records of some kinds can be set and dropped.
// It shares all others with s.
func (s *State) copy(changed ...RecordKind) *State {
	c := *s
	for _, k := range kinds {
		if k.own != nil && slices.Contains(changed, k.name) {
			k.own(&c)
		}
	}
	return &c
}

// Clone copies the state, so that a caller can lay planned definitions, and what a platform
// says of environments, over it. The copy owns only Pipeline, Stages, ImageDefinitions and
// Environments.
func (s *State) Clone() *State {
	return s.copy(RecordStage, RecordImageDefinition, RecordEnvironment)
}

// AsOf returns the state without what was recorded after an event. A decision may have been
// made before the event and have entered the history later, so the decision's own time
// counts.
func (s *State) AsOf(e Event) *State {
	then := s.copy(RecordResult, RecordDecision, RecordOverride)
	for _, id := range slices.Backward(s.results) {
		if s.versions[Key{RecordResult, id}] <= e.Seq {
			break // as are all before it
		}
		cutResult(then, id)
	}
	maps.DeleteFunc(then.Decisions, func(_ string, d Decision) bool { return d.At.After(e.Time) })
	if d := e.Facts.Decision; d != nil {
		then.Decisions[StageBuild(d.Stage, d.Build)] = *d
	}
	maps.DeleteFunc(then.Overrides, func(id string, _ Override) bool { return s.versions[Key{RecordOverride, id}] > e.Seq })
	return then
}

// ownResults returns a copy of a state that has results of its own. The slices in them are
// shared, and are only replaced as a whole.
func ownResults(s *State) {
	s.Results, s.results = maps.Clone(s.Results), slices.Clone(s.results)
}

func decodeResult(r Record) (func(*State), error) {
	var doc resultDoc
	if err := json.Unmarshal(r.Doc, &doc); err != nil {
		return nil, err
	}
	v, err := doc.summary(r.ID)
	of, only := StageBuild(v.Stage, v.Build), []RunSummary{v}
	return func(s *State) {
		dropResult(s, r.ID)
		if others := s.Results[of]; len(others) > 0 {
			s.Results[of] = append(slices.Clip(others), only...)
		} else {
			s.Results[of] = only
		}
		s.results = append(s.results, r.ID)
		s.versions[r.Key] = r.Version
	}, err
}

// dropResult removes the result whose record has the given ID.
func dropResult(s *State, id string) {
	if s.versions[Key{RecordResult, id}] == 0 {
		return
	}
	cutResult(s, id)
	if s.results = slices.DeleteFunc(s.results, func(other string) bool { return other == id }); len(s.results) == 0 {
		s.results = nil
	}
}

// cutResult removes a result from Results, and changes no slice that another state may share.
func cutResult(s *State, id string) {
	cut := strings.LastIndex(id, "/")
	of, digest := id[:cut], id[cut+1:]
	left := slices.DeleteFunc(slices.Clone(s.Results[of]), func(v RunSummary) bool { return v.Digest == digest })
	if s.Results[of] = left; len(left) == 0 {
		delete(s.Results, of)
	}
}

func newestFirst(builds map[string]Build) []string {
	return slices.SortedFunc(maps.Keys(builds), func(a, b string) int {
		return cmp.Or(cmp.Compare(builds[b].Order, builds[a].Order), strings.Compare(a, b))
	})
}

// Version returns the version of a record for use in Batch.Expect; zero for a record that
// does not exist.
func (s *State) Version(kind RecordKind, id string) int64 { return s.versions[Key{kind, id}] }

// Keys lists the keys of all records of the state.
func (s *State) Keys() []Key {
	return slices.SortedFunc(maps.Keys(s.versions), func(a, b Key) int {
		return strings.Compare(string(a.Kind)+a.ID, string(b.Kind)+b.ID)
	})
}

// KeysOfStage lists the keys of what is recorded of a stage: all existing records of the
// stage with one build, and the possible records of the stage itself, existing or not, as one
// may be written while the stage is removed.
func (s *State) KeysOfStage(stage string) []Key {
	var keys []Key
	for _, k := range kinds {
		if k.about == aStage {
			keys = append(keys, Key{k.name, stage})
		}
	}
	return append(keys, keysOfRuns(s, func(id string) bool { return strings.HasPrefix(id, stage+"/") })...)
}

// KeysOfBuild lists the keys of the build's record, and of all records of it at stages.
func (s *State) KeysOfBuild(build string) []Key {
	return append([]Key{{RecordBuild, build}}, keysOfRuns(s, func(id string) bool {
		_, rest, _ := strings.Cut(id, "/")
		return rest == build || strings.HasPrefix(rest, build+"/")
	})...)
}

// keysOfRuns lists the keys of the records about a build at a stage that match.
func keysOfRuns(s *State, match func(id string) bool) []Key {
	return slices.DeleteFunc(s.Keys(), func(k Key) bool { return kindsByName[k.Kind].about != aStageAndBuild || !match(k.ID) })
}
