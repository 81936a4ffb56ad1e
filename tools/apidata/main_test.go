// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// A model becomes a table of what requests are made of, the same each time.
func TestTable(t *testing.T) {
	const model = `{
		"metadata": {"apiVersion": "2020-01-01", "endpointPrefix": "here", "signingName": "there", "protocol": "rest-json"},
		"operations": {
			"Make": {"name": "Make", "http": {"method": "PUT", "requestUri": "/things/{Name}"}, "input": {"shape": "MakeInput"}, "output": {"shape": "Answer"}, "documentation": "Makes."},
			"Look": {"name": "Look", "http": {"method": "GET", "requestUri": "/"}}
		},
		"shapes": {
			"MakeInput": {"type": "structure", "required": ["Name"], "members": {
				"Name": {"shape": "Name", "location": "uri", "locationName": "Name", "documentation": "Its name."}, "Note": {"shape": "String"}, "Parts": {"shape": "Parts", "locationName": "parts"}}},
			"Name": {"type": "string", "min": 1, "max": 64, "pattern": "[\\u0020-\\uD7FF]{1,2000}"},
			"Ahead": {"type": "string", "min": 1, "pattern": "^(?!aws).*"},
			"String": {"type": "string", "sensitive": true},
			"Parts": {"type": "list", "member": {"shape": "Ahead"}, "max": 2},
			"Answer": {"type": "structure", "members": {"Id": {"shape": "Name"}}}
		}}`
	name, first, err := table("1.2.3", []byte(model))
	if err != nil || name != "there" {
		t.Fatal(name, err)
	}
	for range 10 {
		if _, again, err := table("1.2.3", []byte(model)); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("a second table differs, %v:\n%s\n%s", err, first, again)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(first, &got); err != nil {
		t.Fatalf("%v:\n%s", err, first)
	}
	want := map[string]any{
		"package": "botocore", "version": "1.2.3", "api": "2020-01-01", "protocol": "rest-json",
		"operations": map[string]any{"Make": map[string]any{"input": "MakeInput", "method": "PUT", "uri": "/things/{Name}"}, "Look": map[string]any{"method": "GET", "uri": "/"}},
		"shapes": map[string]any{
			"MakeInput": map[string]any{"type": "structure", "required": []any{"Name"}, "members": map[string]any{
				"Name": map[string]any{"shape": "Name", "location": "uri"}, "Note": map[string]any{"shape": "string"}, "Parts": map[string]any{"shape": "Parts", "locationName": "parts"}}},
			"Name":  map[string]any{"type": "string", "min": 1.0, "max": 64.0, "pattern": `[\x{0020}-\x{D7FF}]{1,}`},
			"Ahead": map[string]any{"type": "string", "min": 1.0},
			"Parts": map[string]any{"type": "list", "member": map[string]any{"shape": "Ahead"}, "max": 2.0},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for what, wrong := range map[string]string{
		"a pattern that is none":     `{"operations": {"A": {"name": "A", "input": {"shape": "S"}}}, "shapes": {"S": {"type": "string", "pattern": "("}}}`,
		"a part that is not there":   `{"operations": {"A": {"name": "A", "input": {"shape": "S"}}}, "shapes": {"S": {"type": "list", "member": {"shape": "T"}}}}`,
		"a shape with a type's name": `{"operations": {"A": {"name": "A", "input": {"shape": "list"}}}, "shapes": {"list": {"type": "list", "member": {"shape": "list"}}}}`,
	} {
		if _, _, err := table("1", []byte(wrong)); err == nil {
			t.Error(what, "is taken")
		}
	}
}

// The tables are of the botocore that the simulator is installed with.
func TestPinned(t *testing.T) {
	text, err := os.ReadFile("../../internal/cloud/apitest/testdata/sts.json")
	if err != nil {
		t.Fatal(err)
	}
	var of struct{ Version string }
	if err := json.Unmarshal(text, &of); err != nil {
		t.Fatal(err)
	}
	installs, err := os.ReadFile("../moto/main.go")
	if err != nil || !bytes.Contains(installs, []byte(`"botocore==`+of.Version+`"`)) {
		t.Errorf("tools/moto does not install botocore %s, of which the tables are (%v): run make api-data", of.Version, err)
	}
}
