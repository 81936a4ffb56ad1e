// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

func TestChain(t *testing.T) {
	s := Tell(t).Route().Through("x")
	prev := ""
	for i, e := range s.Events {
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
		last := s.Events[len(s.Events)-1]
		tamper(&last)
		if err := last.Check(int64(len(s.Events)), s.Events[len(s.Events)-2].Hash); CodeOf(err) != CodeCorrupt {
			t.Errorf("a changed %s was not found: %v", name, err)
		}
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
		s := A(kind)
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

// FuzzState decodes foreign records: whatever they contain, it ends with a state or an error,
// and deciding on the state ends too.
func FuzzState(f *testing.F) {
	for _, r := range Tell(f).Route().Through("x").Rows {
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
		gate.Now(st).Moves()
		gate.Plan(gate.At(st, 1), gate.Desired{})
	})
}
