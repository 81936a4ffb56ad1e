// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package shape

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

type inner struct {
	Name  string `json:"name"`
	Limit time.Duration
	Deep  string `json:"deep"`
}

type secret string

func (secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

type word string

type outer struct {
	inner
	Name    string                 `json:"name"` // hides inner's
	Took    time.Duration          `json:"took"`
	Wait    time.Duration          `json:"wait,omitempty"`
	Each    []time.Duration        `json:"each,omitempty"`
	Maybe   *time.Duration         `json:"maybe"`
	At      time.Time              `json:"at,omitzero"`
	List    []string               `json:"list"`
	None    []string               `json:"none,omitempty"`
	Map     map[word]time.Duration `json:"map"`
	Next    *outer                 `json:"next,omitempty"`
	Secret  secret                 `json:"secret"`
	Text    string                 `json:"text,omitempty"`
	Hidden  int                    `json:"-"`
	private int
}

func TestMarshal(t *testing.T) {
	d := 90 * time.Second
	v := outer{
		inner: inner{Name: "hidden", Limit: time.Hour, Deep: "d"}, Name: "n", Took: 1500 * time.Millisecond, Each: []time.Duration{time.Minute}, Maybe: &d,
		At: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), Map: map[word]time.Duration{"b": 2, "a": time.Second}, Next: &outer{}, Secret: "s", Text: "<&\u202e", Hidden: 1, private: 2,
	}
	doc, err := Marshal([]outer{v})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"Limit_seconds":3600,"deep":"d","name":"n","took_seconds":1.5,"each_seconds":[60],"maybe_seconds":90,"created_at":"2026-11-29T12:00:00Z","list":[],` +
		`"map":{"a":1,"b":0.000000002},"next":{"Limit_seconds":0,"deep":"","name":"","took_seconds":0,"maybe_seconds":null,"list":[],"map":{},"secret":"***"},"secret":"***","text":"<&` + "\u202e" + `"}]`
	if string(doc) != want {
		t.Errorf("%s\nwant %s", doc, want)
	}
}

// Without durations and with nothing missing, the JSON is that of package encoding/json.
func TestAsJSON(t *testing.T) {
	type all struct {
		inner struct{}        //nolint:unused // json leaves it out, and so must we
		A     any             `json:"a"`
		B     bool            `json:"b"`
		F     float64         `json:"f"`
		I     int8            `json:"i"`
		R     json.RawMessage `json:"r"`
		T     time.Time       `json:"t_at"`
		Bytes []byte          `json:"bytes"`
		P     *int            `json:"p"`
	}
	n := 3
	v := all{A: map[string]any{"x": []any{1, "two", nil}}, B: true, F: 1.5e-9, I: -1, R: json.RawMessage(`{"y":1}`), Bytes: []byte("hi"), P: &n}
	got, err := Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := json.Marshal(v); string(got) != string(want) {
		t.Errorf("%s\nwant %s", got, want)
	}
	if _, err := Marshal(struct{ F func() }{func() {}}); err == nil {
		t.Error("a function has JSON")
	}
}

func TestSchema(t *testing.T) {
	s := Schemas{Defs: map[string]any{}, Describe: func(_ reflect.Type, field, _ string) string { return map[string]string{"Took": "how long"}[field] }}
	if got := s.Of(reflect.TypeFor[[]outer]()); !reflect.DeepEqual(got, map[string]any{"type": "array", "items": map[string]any{"$ref": "#/$defs/shape.outer"}}) {
		t.Errorf("got %v", got)
	}
	def := s.Defs["shape.outer"].(map[string]any)
	properties, order := map[string]any{}, []string{}
	for _, p := range def["properties"].(Properties) {
		properties[p.Name], order = p.Schema, append(order, p.Name)
	}
	if want := []string{"Limit_seconds", "deep", "name", "took_seconds", "wait_seconds"}; len(order) < 5 || !reflect.DeepEqual(order[:5], want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
	if doc, err := json.Marshal(def["properties"].(Properties)[:2]); err != nil || string(doc) != `{"Limit_seconds":{"description":"seconds","type":"number"},"deep":{"type":"string"}}` {
		t.Errorf("in JSON: %s, %v", doc, err)
	}
	for name, want := range map[string]any{
		"took_seconds": map[string]any{"type": "number", "description": "how long; seconds"}, "created_at": map[string]any{"type": "string", "format": "date-time"},
		"next": map[string]any{"$ref": "#/$defs/shape.outer"}, "secret": map[string]any{"type": "string"},
		"maybe_seconds": map[string]any{"anyOf": []any{map[string]any{"type": "number", "description": "seconds"}, map[string]any{"type": "null"}}},
	} {
		if !reflect.DeepEqual(properties[name], want) {
			t.Errorf("%s is %v, want %v", name, properties[name], want)
		}
	}
	if want := []string{"Limit_seconds", "deep", "name", "took_seconds", "maybe_seconds", "list", "map", "secret"}; !reflect.DeepEqual(def["required"], want) {
		t.Errorf("required are %v, want %v", def["required"], want)
	}
}
