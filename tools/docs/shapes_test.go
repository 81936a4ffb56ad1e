// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import "testing"

func TestRenderShapes(t *testing.T) {
	t.Parallel()
	got, err := renderShapes([]byte(`{
  "commands": {
    "pause": {"$ref": "#/$defs/x.Pause"}, "resume": {"$ref": "#/$defs/x.Pause"},
    "names": {"type": "array", "items": {"type": "string"}},
    "list": {"type": "array", "items": {"$ref": "#/$defs/x.Row"}}
  },
  "$defs": {
    "x.Pause": {"type": "object", "additionalProperties": false, "required": ["stage", "at"], "properties": {
      "stage": {"type": "string", "description": "the stage's name"}, "at": {"type": "string", "format": "date-time"},
      "actor": {"type": "string", "description": "a|b <c> a_b ` + "`x_y|z`" + `"}}},
    "x.Row": {"type": "object", "additionalProperties": false, "required": ["why"], "properties": {
      "zebra": {"type": "array", "items": {"$ref": "#/$defs/x.Pause"}, "description": "striped"},
      "by": {"type": "object", "additionalProperties": {"$ref": "#/$defs/x.Row"}},
      "why": {"anyOf": [{"type": "number", "description": "seconds"}, {"type": "null"}]}}}
  }
}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `## list

A list of objects, each with:

| field | type | meaning |
| --- | --- | --- |
| ` + "`zebra?`" + ` | list of objects | striped |
| ` + "`zebra[].stage`" + ` | string | the stage's name |
| ` + "`zebra[].at`" + ` | time |  |
| ` + "`zebra[].actor?`" + ` | string | a\|b \<c> a\_b ` + "`x_y\\|z`" + ` |
| ` + "`by?`" + ` | object of objects |  |
| ` + "`why`" + ` | seconds or null |  |

## names

A list of strings.

## pause, resume

| field | type | meaning |
| --- | --- | --- |
| ` + "`stage`" + ` | string | the stage's name |
| ` + "`at`" + ` | time |  |
| ` + "`actor?`" + ` | string | a\|b \<c> a\_b ` + "`x_y\\|z`" + ` |
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, err := renderShapes([]byte(`{"$defs": {"x": {"properties": []}}}`)); err == nil {
		t.Error("renders a file of another shape")
	}
}
