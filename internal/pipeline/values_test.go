// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChain(t *testing.T) {
	s := tell(t).route().through("x")
	prev := ""
	for i, e := range s.events {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var stored Event
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		if err := stored.Check(int64(i+1), prev); err != nil {
			t.Fatalf("event %d as it is read back: %v", i+1, err)
		}
		prev = e.Hash
	}
	for name, tamper := range map[string]func(e *Event){
		"actor": func(e *Event) { e.Actor = "mallory" },
		"fact":  func(e *Event) { run := *e.Facts.Run; run.Status = RunPassed + "!"; e.Facts.Run = &run },
		"time":  func(e *Event) { e.Time = e.Time.Add(time.Second) },
		"order": func(e *Event) { e.Seq++ },
		"prev":  func(e *Event) { e.Prev = "" },
	} {
		last := s.events[len(s.events)-1]
		tamper(&last)
		if err := last.Check(int64(len(s.events)), s.events[len(s.events)-2].Hash); CodeOf(err) != CodeCorrupt {
			t.Errorf("a changed %s was not found: %v", name, err)
		}
	}
}

func TestSealNeverGoesBackInTime(t *testing.T) {
	last := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	e := Event{Facts: Facts{Build: &Build{ID: "b-1"}}}
	if err := e.Seal(7, "p", last.Add(-time.Hour), last); err != nil {
		t.Fatal(err)
	}
	if !e.Time.Equal(last) || e.Facts.Build.Order != 7 {
		t.Errorf("time %s, order %d", e.Time, e.Facts.Build.Order)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	secret := Secrets{"TOKEN": "hunter2"}
	data, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(data), fmt.Sprint(Command{Line: "x", Secrets: secret})}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		shown = append(shown, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, secret["TOKEN"]))
	}
	for _, s := range shown {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("the secret shows in %s", s)
		}
	}
	if secret["TOKEN"].Reveal() != "hunter2" {
		t.Error("the command does not get it")
	}
}

func TestErrorCodes(t *testing.T) {
	inner := Errorf(CodeRefused, "enter", "no").WithHint("approve it")
	err := fmt.Errorf("outer: %w", &Error{Code: CodeConflict, Op: "move", Err: inner})
	if CodeOf(err) != CodeConflict || HintOf(err) != "approve it" || CodeOf(nil) != "" || CodeOf(errors.New("x")) != CodeInternal {
		t.Errorf("code %s, hint %q", CodeOf(err), HintOf(err))
	}
	if got := err.Error(); got != "outer: move: enter: no" {
		t.Errorf("text %q", got)
	}
}

func TestDefaultsByType(t *testing.T) {
	type want struct {
		name           string
		trigger        Trigger
		env, keep      bool
		instances      int
		approval, bake bool
	}
	p := Pipeline{Scale: Scale{Instances: 4}}
	for kind, w := range map[StageType]want{
		TypeBootstrap:     {"bootstrap", TriggerAutomatic, false, false, 0, false, false},
		TypeCommit:        {"commit", TriggerAutomatic, false, false, 0, false, false},
		TypeAcceptance:    {"acceptance", TriggerAutomatic, true, false, 1, false, true},
		TypeExploratory:   {"exploratory", TriggerAutomatic, false, false, 0, true, false},
		TypeCapacity:      {"capacity", TriggerAutomatic, true, false, 4, false, false},
		TypePreProduction: {"pre-production", TriggerAutomatic, true, false, 4, false, false},
		TypeProduction:    {"production", TriggerManual, true, true, 4, false, false},
		TypeCustom:        {"custom", TriggerAutomatic, false, false, 0, false, false},
	} {
		s := a(kind)
		got := want{s.Name, s.Trigger, s.Env != nil, s.Persistent(), s.Instances(p), s.Approval, s.Bake}
		if !reflect.DeepEqual(got, w) {
			t.Errorf("%s: %+v, want %+v", kind, got, w)
		}
	}
	no := false
	if s := (Stage{Type: TypeExploratory}).WithDefaults(&no, &no); s.Approval || s.Bake {
		t.Error("a choice was overridden")
	}
}

// FuzzState decodes foreign records: whatever they hold, it ends with a state or
// an error, and deciding on the state ends too.
func FuzzState(f *testing.F) {
	for _, r := range tell(f).route().through("x").rows {
		f.Add(string(r.Kind), r.ID, []byte(r.Doc))
	}
	f.Add("stage", "x", []byte(`{"after":["x"],"name":"x","environment":{}}`))
	f.Add("nonsense", "", []byte(`{}`))
	f.Fuzz(func(t *testing.T, kind, id string, doc []byte) {
		st, err := NewState([]Record{{Key: Key{RecordKind(kind), id}, Version: 1, Doc: doc}})
		if err != nil {
			if CodeOf(err) != CodeCorrupt {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, s := range st.StagesInOrder() {
			Decide(st, s)
		}
	})
}

// The ID of a run names a directory that is removed, so one that leads elsewhere is
// refused wherever it comes in.
func TestRunID(t *testing.T) {
	for id, ok := range map[string]bool{
		"r-0mjuoi2swe4dc": true, "r-1": true, "": false, "r-": false, "1": false, "r-../x": false, "r-a/../../x": false,
		"../../home": false, "r-A": false, "r-.": false, "r-a\n": false, `r-a\b`: false, "r-" + strings.Repeat("a", 64): false,
	} {
		run := Run{ID: id, Pipeline: "shop", Stage: "commit", Kind: KindStage, Status: RunRunning}
		e := Event{Pipeline: "shop", Kind: RunStarted, Facts: Facts{Run: &run}}
		if err := e.Seal(1, "", time.Now(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		rows, err := e.Records()
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewState(slices.DeleteFunc(rows, func(r Record) bool { return r.Kind == RecordRun }))
		for what, err := range map[string]error{"an event": e.Check(1, ""), "a state": err} {
			if (err == nil) != ok || err != nil && (CodeOf(err) != CodeCorrupt || HintOf(err) == "") {
				t.Errorf("%s with run %q: %v", what, id, err)
			}
		}
	}
}
