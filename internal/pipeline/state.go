// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// State is everything about a pipeline that the gates and the listings look at:
// the records of the current-state view, decoded. It holds retained builds only.
type State struct {
	Pipeline         Pipeline
	Stages           map[string]Stage           // by name
	ImageDefinitions map[string]ImageDefinition // by name
	Builds           map[string]Build           // by ID
	Latest           map[string]RunSummary      // a stage's latest run
	Results          map[string][]RunSummary    // by StageBuild, the latest last, without Made, Committed, Order and Ready
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
	Creations        map[string]Creation        // by the ID of their keys

	versions map[Key]int64
	newest   []string // IDs of Builds in order, where NewState made the state
	results  []Key    // of Verdicts, by version
}

// NewState decodes the records of one pipeline's state. Without a pipeline record
// the state says so by an empty Pipeline.Name.
func NewState(records []Record) (*State, error) {
	var d StateDecoder
	for _, r := range records {
		d.Add(r)
	}
	return d.State()
}

// StateDecoder makes a state of records that are still being read: it decodes verdicts,
// which nearly all records of a large pipeline are, while its caller reads on. The zero
// value has no records yet.
type StateDecoder struct {
	parts   []*statePart // the last one is still filled
	decoded sync.WaitGroup
}

// statePart is so many records that decoding them is worth a goroutine.
type statePart struct {
	records []Record
	puts    []put
	err     error
}

const statePartSize = 256

// put is a decoded record: in sets it in a state, where it is newer than all that the state has.
type put struct {
	version int64
	in      func(*State)
}

// Add takes a record, in any order.
func (d *StateDecoder) Add(r Record) {
	n := len(d.parts)
	if n == 0 || len(d.parts[n-1].records) == statePartSize {
		d.parts = append(d.parts, &statePart{records: make([]Record, 0, statePartSize)})
		n++
	}
	part := d.parts[n-1]
	if part.records = append(part.records, r); len(part.records) == statePartSize {
		d.decoded.Go(part.decode)
	}
}

func (p *statePart) decode() {
	p.puts = make([]put, 0, len(p.records))
	for _, r := range p.records {
		put, err := decode(r)
		if err != nil {
			p.err = err
			return
		}
		p.puts = append(p.puts, put)
	}
}

// State gives the state of the records that were added, as NewState does.
func (d *StateDecoder) State() (*State, error) {
	if n := len(d.parts); n > 0 && len(d.parts[n-1].records) < statePartSize {
		d.parts[n-1].decode()
	}
	d.decoded.Wait()
	puts := make([]put, 0, len(d.parts)*statePartSize)
	for _, p := range d.parts {
		if p.err != nil {
			return nil, p.err
		}
		puts = append(puts, p.puts...)
	}
	slices.SortFunc(puts, func(a, b put) int { return cmp.Compare(a.version, b.version) })
	s := &State{
		Stages: map[string]Stage{}, ImageDefinitions: map[string]ImageDefinition{}, Builds: map[string]Build{},
		Latest: map[string]RunSummary{}, Results: make(map[string][]RunSummary, len(puts)), Current: map[string]Current{},
		Decisions: map[string]Decision{}, Promotions: map[string]Promotion{},
		Overrides: map[string]Override{}, Pauses: map[string]Pause{}, Retries: map[string]Retry{},
		Raised: map[string]Raised{}, Deliveries: map[string]Delivery{},
		Images: map[string]Image{}, Environments: map[string]Environment{}, Creations: map[string]Creation{},
		versions: make(map[Key]int64, len(puts)),
	}
	for _, p := range puts {
		p.in(s)
	}
	s.newest = newestFirst(s.Builds)
	return s, nil
}

// With gives the state after the events that follow it. It shares with s what they leave
// as it was, and s stays as it is.
func (s *State) With(events []Event) (*State, error) {
	c := *s
	c.Stages, c.ImageDefinitions, c.Builds, c.Latest = maps.Clone(s.Stages), maps.Clone(s.ImageDefinitions), maps.Clone(s.Builds), maps.Clone(s.Latest)
	c.Results, c.Current, c.Decisions, c.Promotions = maps.Clone(s.Results), maps.Clone(s.Current), maps.Clone(s.Decisions), maps.Clone(s.Promotions)
	c.Overrides, c.Pauses, c.Retries, c.Raised = maps.Clone(s.Overrides), maps.Clone(s.Pauses), maps.Clone(s.Retries), maps.Clone(s.Raised)
	c.Deliveries, c.Images, c.Environments = maps.Clone(s.Deliveries), maps.Clone(s.Images), maps.Clone(s.Environments)
	c.Creations = maps.Clone(s.Creations)
	c.versions, c.results = maps.Clone(s.versions), slices.Clone(s.results)
	ordered := true
	for _, e := range events {
		records, err := e.Records()
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if r.Kind == RecordRun {
				continue
			}
			put, err := decode(r)
			if err != nil {
				return nil, err
			}
			put.in(&c)
		}
		for _, key := range e.Facts.Gone {
			c.drop(key)
		}
		ordered = ordered && e.Facts.Build == nil && !slices.ContainsFunc(e.Facts.Gone, func(k Key) bool { return k.Kind == RecordBuild })
	}
	if !ordered {
		c.newest = newestFirst(c.Builds)
	}
	return &c, nil
}

// decode gives what a record says. The error is CodeCorrupt.
func decode(r Record) (p put, err error) {
	switch r.Kind {
	case RecordPipeline:
		p, err = decodeAs(r, func(s *State, v Pipeline) { s.Pipeline = v })
	case RecordStage:
		p, err = decodeAs(r, func(s *State, v Stage) { s.Stages[r.ID] = v })
	case RecordImageDefinition:
		p, err = decodeAs(r, func(s *State, v ImageDefinition) { s.ImageDefinitions[r.ID] = v })
	case RecordBuild:
		p, err = decodeAs(r, func(s *State, v Build) { s.Builds[r.ID] = v })
	case RecordLatest:
		p, err = decodeAs(r, func(s *State, v RunSummary) { s.Latest[r.ID] = v }, func(v RunSummary) error { return checkRunID(v.ID) })
	case RecordResult:
		p, err = decodeResult(r)
	case RecordCurrent:
		p, err = decodeAs(r, func(s *State, v Current) { s.Current[r.ID] = v })
	case RecordDecision:
		p, err = decodeAs(r, func(s *State, v Decision) { s.Decisions[r.ID] = v })
	case RecordPromotion:
		p, err = decodeAs(r, func(s *State, v Promotion) { s.Promotions[r.ID] = v })
	case RecordOverride:
		p, err = decodeAs(r, func(s *State, v Override) { s.Overrides[r.ID] = v })
	case RecordPause:
		p, err = decodeAs(r, func(s *State, v Pause) { s.Pauses[r.ID] = v })
	case RecordRetry:
		p, err = decodeAs(r, func(s *State, v Retry) { s.Retries[r.ID] = v })
	case RecordRaised:
		p, err = decodeAs(r, func(s *State, v Raised) { s.Raised[r.ID] = v })
	case RecordDelivery:
		p, err = decodeAs(r, func(s *State, v Delivery) { s.Deliveries[r.ID] = v })
	case RecordImage:
		p, err = decodeAs(r, func(s *State, v Image) { s.Images[r.ID] = v })
	case RecordEnvironment:
		p, err = decodeAs(r, func(s *State, v Environment) { s.Environments[r.ID] = v })
	case RecordCreation:
		p, err = decodeAs(r, func(s *State, v Creation) { s.Creations[r.ID] = v })
	default:
		err = fmt.Errorf("unknown kind of record")
	}
	if err != nil {
		return put{}, Errorf(CodeCorrupt, "read ledger", "record %s %q: %w", r.Kind, r.ID, err)
	}
	return p, nil
}

func decodeAs[T any](r Record, set func(*State, T), checks ...func(T) error) (put, error) {
	var v T
	if err := json.Unmarshal(r.Doc, &v); err != nil {
		return put{}, err
	}
	for _, check := range checks {
		if err := check(v); err != nil {
			return put{}, err
		}
	}
	return put{r.Version, func(s *State) {
		set(s, v)
		s.versions[r.Key] = r.Version
	}}, nil
}

func decodeResult(r Record) (put, error) {
	var doc resultDoc
	if err := json.Unmarshal(r.Doc, &doc); err != nil {
		return put{}, err
	}
	v, err := doc.summary(r.Key)
	id, only := StageBuild(v.Stage, v.Build), []RunSummary{v}
	return put{r.Version, func(s *State) {
		s.dropResult(r.Key)
		if others := s.Results[id]; len(others) > 0 {
			s.Results[id] = append(slices.Clip(others), only...)
		} else {
			s.Results[id] = only
		}
		s.results = append(s.results, r.Key)
		s.versions[r.Key] = r.Version
	}}, err
}

// drop takes a record out of the state.
func (s *State) drop(key Key) {
	switch key.Kind {
	case RecordPipeline:
		s.Pipeline = Pipeline{}
	case RecordStage:
		delete(s.Stages, key.ID)
	case RecordImageDefinition:
		delete(s.ImageDefinitions, key.ID)
	case RecordBuild:
		delete(s.Builds, key.ID)
	case RecordLatest:
		delete(s.Latest, key.ID)
	case RecordResult:
		s.dropResult(key)
	case RecordCurrent:
		delete(s.Current, key.ID)
	case RecordDecision:
		delete(s.Decisions, key.ID)
	case RecordPromotion:
		delete(s.Promotions, key.ID)
	case RecordOverride:
		delete(s.Overrides, key.ID)
	case RecordPause:
		delete(s.Pauses, key.ID)
	case RecordRetry:
		delete(s.Retries, key.ID)
	case RecordRaised:
		delete(s.Raised, key.ID)
	case RecordDelivery:
		delete(s.Deliveries, key.ID)
	case RecordImage:
		delete(s.Images, key.ID)
	case RecordEnvironment:
		delete(s.Environments, key.ID)
	case RecordCreation:
		delete(s.Creations, key.ID)
	}
	delete(s.versions, key)
}

// dropVerdict takes a verdict out of the state, without a change to a slice that another
// state may have, too.
func (s *State) dropResult(key Key) {
	if s.versions[key] == 0 {
		return
	}
	cut := strings.LastIndex(key.ID, "/")
	id, digest := key.ID[:cut], key.ID[cut+1:]
	left := slices.DeleteFunc(slices.Clone(s.Results[id]), func(v RunSummary) bool { return v.Digest == digest })
	if s.Results[id] = left; len(left) == 0 {
		delete(s.Results, id)
	}
	if s.results = slices.DeleteFunc(s.results, func(k Key) bool { return k == key }); len(s.results) == 0 {
		s.results = nil
	}
}

// Exists reports whether the pipeline is defined.
func (s *State) Exists() bool { return s.Pipeline.Name != "" }

// Version gives the version of a record for use in Batch.Expect: zero for one
// that does not exist.
func (s *State) Version(kind RecordKind, id string) int64 { return s.versions[Key{kind, id}] }

// Keys lists the keys of all records of the state.
func (s *State) Keys() []Key {
	return slices.SortedFunc(maps.Keys(s.versions), func(a, b Key) int {
		return strings.Compare(string(a.Kind)+a.ID, string(b.Kind)+b.ID)
	})
}

// Clone copies the state so that a caller can lay planned definitions over it.
func (s *State) Clone() *State {
	c := *s
	c.Stages, c.ImageDefinitions, c.Environments = maps.Clone(s.Stages), maps.Clone(s.ImageDefinitions), maps.Clone(s.Environments)
	return &c
}

// BuildsNewestFirst lists the retained builds, the newest first.
func (s *State) BuildsNewestFirst() []Build {
	return slices.Collect(s.NewestBuilds())
}

// NewestBuilds goes through the retained builds, the newest first. Where the first few will
// do, it is quicker than BuildsNewestFirst of thousands.
func (s *State) NewestBuilds() iter.Seq[Build] {
	ids := s.newest
	if len(ids) != len(s.Builds) { // a state that was put together by hand
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

func newestFirst(builds map[string]Build) []string {
	return slices.SortedFunc(maps.Keys(builds), func(a, b string) int {
		return cmp.Or(cmp.Compare(builds[b].Order, builds[a].Order), strings.Compare(a, b))
	})
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

// Ancestors gives the names of every stage above the named one, directly or not,
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

// RunEnvironment gives the living environment with the given purpose of a stage.
func (s *State) RunEnvironment(stage string, purpose EnvironmentPurpose) (Environment, bool) {
	for _, e := range s.Environments {
		if e.Stage == stage && e.Purpose == purpose {
			return e, true
		}
	}
	return Environment{}, false
}

// PersonEnvironment gives the self-service environment with the given name.
func (s *State) PersonEnvironment(name string) (Environment, bool) {
	for _, e := range s.Environments {
		if e.Purpose == ForPerson && e.Name == name {
			return e, true
		}
	}
	return Environment{}, false
}
