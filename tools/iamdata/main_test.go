// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// A package of one service becomes a table of its actions and resources, the same each
// time, and without the licence there is none.
func TestTable(t *testing.T) {
	files := map[string][]byte{
		"package.json": []byte(`{"name": "p", "version": "1", "license": "MIT", "updatedAt": "2026-09-26T04:46:59Z"}`),
		"LICENSE.txt":  []byte("MIT License\n"),
		"data/resourceTypes/x.json": []byte(`{"thing": {"key": "thing", "arn": "arn:${Partition}:x:::thing/${Id}", "conditionKeys": ["x:Owner"]},
			"other": {"key": "other", "arn": "arn:${Partition}:x:::other/${Id}"}}`),
		"data/actions/x.json": []byte(`{"copy": {"name": "Copy", "conditionKeys": ["x:Region", "aws:TagKeys"], "dependentActions": ["y:Look"],
			"resourceTypes": [{"name": "thing", "required": true, "conditionKeys": ["x:Owner"], "dependentActions": ["y:Look", "iam:PassRole"]}]}, "list": {"name": "List"}}`),
	}
	first, err := table(files, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if again, err := table(files, []string{"x"}); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("a second table differs, %v:\n%s\n%s", err, first, again)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(first, &got); err != nil {
		t.Fatalf("%v:\n%s", err, first)
	}
	want := map[string]any{
		"package": "p", "version": "1", "date": "2026-09-26", "license": "MIT License\n",
		"keys": []any{[]any{}, []any{"x:Owner"}, []any{"aws:TagKeys", "x:Region"}},
		"resources": map[string]any{
			"x:thing": map[string]any{"arn": "arn:${Partition}:x:::thing/${Id}", "keys": 1.0}, "x:other": map[string]any{"arn": "arn:${Partition}:x:::other/${Id}", "keys": 0.0},
		},
		"actions": map[string]any{
			"x:List": map[string]any{},
			"x:Copy": map[string]any{"keys": 2.0, "dependent": []any{"iam:PassRole", "y:Look"}, "resources": map[string]any{"thing": map[string]any{"keys": 1.0, "required": true}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	delete(files, "LICENSE.txt")
	if _, err := table(files, []string{"x"}); err == nil {
		t.Error("a package without its licence is taken")
	}
	if _, err := table(files, []string{"nowhere"}); err == nil {
		t.Error("a service that the package lacks is taken")
	}
}
