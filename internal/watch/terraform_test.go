// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"reflect"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// A source is read from the state of a module within a module, with null for what is not set.
func TestReadSource(t *testing.T) {
	state := func(attributes map[string]any) *tfjson.StateModule {
		r := &tfjson.StateResource{Address: "module.m.data.penstock_source.s", Mode: tfjson.DataResourceMode, Type: "penstock_source", AttributeValues: attributes}
		return &tfjson.StateModule{ChildModules: []*tfjson.StateModule{{Resources: []*tfjson.StateResource{r}}}}
	}
	s := &State{qualified: map[string]string{}}
	if err := s.read(state(map[string]any{
		"id": "c", "repository": "repo", "ref": nil, "directory": "services/shop", "include": []any{"/go.mod"}, "infrastructure": nil,
		"configuration": []any{}, "data": []any{"db/**", "*.sql"}, "ignore": []any{"*.md"},
		"components": map[string]any{"application": "a", "configuration": "c", "infrastructure": "i", "data": "d"},
		"revision":   map[string]any{"repository": "another"},
	})); err != nil {
		t.Fatal(err)
	}
	want := []Source{{
		Address: "module.m.data.penstock_source.s",
		Query: source.Query{Repository: "repo", Paths: pipeline.Paths{
			Directory: "services/shop", Include: []string{"/go.mod"}, Configuration: []string{}, Data: []string{"db/**", "*.sql"}, Ignore: []string{"*.md"},
		}},
		Components: pipeline.Components{Application: "a", Configuration: "c", Infrastructure: "i", Data: "d"},
	}}
	if !reflect.DeepEqual(s.Sources, want) {
		t.Errorf("read %+v, want %+v", s.Sources, want)
	}
	if err := s.read(state(map[string]any{"repository": "repo", "data": "db/**"})); pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Errorf("a state of another shape: %v", err)
	}
}
