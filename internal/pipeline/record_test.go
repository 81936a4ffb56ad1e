// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"testing"
	"time"
)

// Facts and State have only records as fields, with these exceptions.
var (
	noRecords = []string{"Gone", "Ended"}
	noParts   = []string{"versions", "newest", "results"}
)

// A fact without an entry in kinds would be sealed and lost. If a state kept one without an
// entry, it would share it with the states before.
func TestEveryFieldIsInTheTable(t *testing.T) {
	missing := func(of any, apart []string, has func(k recordKind, field any) bool) []string {
		var names []string
		v := reflect.ValueOf(of).Elem()
		for i := range v.NumField() {
			field := v.Field(i)
			covered := slices.ContainsFunc(kinds, func(k recordKind) bool { return has(k, field.Addr().UnsafePointer()) })
			if name := v.Type().Field(i).Name; covered == slices.Contains(apart, name) {
				names = append(names, name)
			}
		}
		return names
	}
	var f Facts
	var s State
	is := func(field, address any) bool { return reflect.ValueOf(field).UnsafePointer() == address }
	if names := missing(&f, noRecords, func(k recordKind, field any) bool { return is(k.fact(&f), field) }); len(names) > 0 {
		t.Errorf("kinds has nothing for the facts %v (or has, and they are excepted)", names)
	}
	if names := missing(&s, noParts, func(k recordKind, field any) bool { return k.part != nil && is(k.part(&s), field) }); len(names) > 0 {
		t.Errorf("kinds has nothing for %v of a state (or has, and they are excepted)", names)
	}
	var parts []any
	for _, k := range kinds {
		if k.part == nil {
			continue
		}
		part := reflect.ValueOf(k.part(&s)).Pointer()
		if slices.Contains(parts, any(part)) {
			t.Errorf("%s is kept where another kind is", k.name)
		}
		parts = append(parts, part)
	}
}

// Each constant has one entry, and only runs are history.
func TestEveryKindIsInTheTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "record.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "RecordKind" {
				names = append(names, spec.Values[0].(*ast.BasicLit).Value)
			}
		}
		return true
	})
	var entries []string
	for _, k := range kinds {
		entries = append(entries, `"`+string(k.name)+`"`)
		if history := k.part == nil; history != (k.name == RecordRun) {
			t.Errorf("%s is history: %v", k.name, history)
		}
	}
	if !slices.Equal(entries, names) {
		t.Errorf("kinds has %s, and there are constants for %s", entries, names)
	}
}

// aRecordOf returns an event that writes a record of each kind that comes from a fact.
func aRecordOf(t *testing.T, k recordKind, seq int64) Event {
	t.Helper()
	e := Event{Pipeline: "shop", Kind: "test"}
	field := reflect.ValueOf(k.fact(&e.Facts)).Elem()
	field.Set(reflect.New(field.Type().Elem()))
	if e.Facts.Run != nil { // such as writes every record that a run can
		*e.Facts.Run = Run{ID: "r-1", Stage: "commit", Build: "b-1", Digest: "d-1", Status: RunPassed, Kind: KindStage}
	}
	if err := e.Seal(Event{Seq: seq - 1}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return e
}

// A later event never changes an earlier state, and a record that was added and removed
// leaves nothing behind.
func TestStatesShareNothingThatChanges(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.name), func(t *testing.T) {
			empty, _ := NewState(nil)
			first, second := aRecordOf(t, k, 1), aRecordOf(t, k, 2)
			records, err := first.Records()
			if err != nil {
				t.Fatal(err)
			}
			again, err := second.Records()
			if err != nil {
				t.Fatal(err)
			}
			kept := func(records []Record) *State {
				st, err := NewState(slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Kind == RecordRun }))
				if err != nil {
					t.Fatal(err)
				}
				return st
			}
			with := func(s *State, e Event) *State {
				next, err := s.With([]Event{e})
				if err != nil {
					t.Fatal(err)
				}
				return next
			}
			one := with(empty, first)
			two := with(one, second)
			gone := with(two, Event{Seq: 3, Facts: Facts{Gone: two.Keys()}})
			for name, is := range map[string]struct{ got, want *State }{
				"the first": {one, kept(records)}, "the second": {two, kept(again)},
				"the empty one": {empty, kept(nil)}, "the last": {gone, kept(nil)},
			} {
				if !reflect.DeepEqual(is.got, is.want) {
					t.Errorf("%s state is\n%+v\nwant\n%+v", name, is.got, is.want)
				}
			}
			if k.part != nil && len(one.Keys()) == 0 {
				t.Error("no state keeps it")
			}
		})
	}
}

// What is removed with a stage or a build is found by what its kind is about.
func TestKeysOf(t *testing.T) {
	story := []Facts{
		{Stage: &Stage{Name: "commit"}}, {Stage: &Stage{Name: "commit-2"}}, {Build: &Build{ID: "b-1"}},
		{Run: &Run{ID: "r-1", Stage: "commit", Build: "b-1", Digest: "d-1", Status: RunPassed, Kind: KindStage}},
		{Run: &Run{ID: "r-2", Stage: "commit-2", Build: "b-1", Digest: "b-2", Status: RunFailed, Kind: KindStage}},
		{Decision: &Decision{Stage: "commit", Build: "b-1"}}, {Decision: &Decision{Stage: "commit", Build: "b-12"}},
		{Override: &Override{Stage: "commit-2", Build: "b-1"}}, {Promotion: &Promotion{Stage: "commit", Build: "b-1"}},
	}
	st, _ := NewState(nil)
	var events []Event
	for i, f := range story {
		events = append(events, Event{Seq: int64(i + 1), Facts: f})
	}
	st, err := st.With(events)
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]struct{ got, want []Key }{
		"stage": {st.KeysOfStage("commit"), []Key{
			{RecordStage, "commit"}, {RecordLatest, "commit"}, {RecordCurrent, "commit"}, {RecordPromotion, "commit"}, {RecordPause, "commit"}, {RecordRetry, "commit"}, {RecordDrift, "commit"}, {RecordFinish, "commit"},
			{RecordDecision, "commit/b-1"}, {RecordDecision, "commit/b-12"}, {RecordResult, "commit/b-1/d-1"},
		}},
		"build": {st.KeysOfBuild("b-1"), []Key{
			{RecordBuild, "b-1"}, {RecordDecision, "commit/b-1"}, {RecordOverride, "commit-2/b-1"}, {RecordResult, "commit-2/b-1/b-2"}, {RecordResult, "commit/b-1/d-1"},
		}},
		"other build": {st.KeysOfBuild("b-2"), []Key{{RecordBuild, "b-2"}}},
	} {
		if !slices.Equal(is.got, is.want) {
			t.Errorf("of the %s: %v, want %v", name, is.got, is.want)
		}
	}
}
