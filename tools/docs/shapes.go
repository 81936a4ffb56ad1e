// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// shapesMarker is the line of a template that the shapes of the commands' JSON replace.
const shapesMarker = "<!-- The shapes that internal/cli/schemas.json has. -->\n"

// unit is the description of a duration, or the end of it.
const unit = "seconds"

// shapeFile has the JSON Schemas of what the commands print, by command, and of the objects in
// them.
type shapeFile struct {
	Commands map[string]shape `json:"commands"`
	Defs     map[string]shape `json:"$defs"`
}

// shape is the part of JSON Schema that the file has.
type shape struct {
	Ref         string   `json:"$ref"`
	Type        string   `json:"type"`
	Format      string   `json:"format"`
	Description string   `json:"description"`
	Items       *shape   `json:"items"`
	Values      values   `json:"additionalProperties"`
	Properties  fields   `json:"properties"`
	Required    []string `json:"required"`
	AnyOf       []shape  `json:"anyOf"` // null is the second one
}

// values is the shape of the values of a map; nil for an object that has no other fields than
// its own.
type values struct{ *shape }

// UnmarshalJSON implements json.Unmarshaler.
func (v *values) UnmarshalJSON(doc []byte) error {
	if string(doc) == "false" {
		return nil
	}
	v.shape = &shape{}
	return json.Unmarshal(doc, v.shape)
}

// fields are the fields of an object in the order of the file.
type fields []field

type field struct {
	name string
	shape
}

// UnmarshalJSON implements json.Unmarshaler.
func (all *fields) UnmarshalJSON(doc []byte) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return errors.Join(err, fmt.Errorf("fields are %.40s", doc))
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		f := field{name: name.(string)} // in an object
		if err := d.Decode(&f.shape); err != nil {
			return err
		}
		*all = append(*all, f)
	}
	return nil
}

// renderShapes returns a section for each shape, with a table of its fields. Commands that
// print the same have one section together.
func renderShapes(doc []byte) (string, error) {
	var file shapeFile
	if err := json.Unmarshal(doc, &file); err != nil {
		return "", err
	}
	together := map[string][]string{} // commands by what they print
	for _, command := range slices.Sorted(maps.Keys(file.Commands)) {
		s := file.Commands[command]
		key := file.kind(s) + " " + s.Ref
		if s.Items != nil {
			key += s.Items.Ref
		}
		together[key] = append(together[key], command)
	}
	var b strings.Builder
	for _, commands := range slices.SortedFunc(maps.Values(together), func(x, y []string) int { return strings.Compare(x[0], y[0]) }) {
		s := file.Commands[commands[0]]
		fmt.Fprintf(&b, "## %s\n\n", strings.Join(commands, ", "))
		t := table{file: file}
		t.add("", s, nil)
		kind := file.kind(s)
		if len(t.rows) == 0 {
			fmt.Fprintf(&b, "%s.\n\n", article(kind))
			continue
		}
		if s.Items != nil {
			fmt.Fprintf(&b, "%s, each with:\n\n", article(kind))
		}
		fmt.Fprintf(&b, "| field | type | meaning |\n| --- | --- | --- |\n%s\n\n", strings.Join(t.rows, "\n"))
	}
	return strings.TrimSpace(b.String()) + "\n", nil
}

func article(kind string) string {
	if strings.HasPrefix(kind, "object") {
		return "An " + kind
	}
	return "A " + kind
}

// table collects the rows of a table of fields.
type table struct {
	file shapeFile
	rows []string
}

// add adds the fields that a shape has, whose names begin with a prefix. Within lists the
// objects that it is in: one that is in itself is described once.
func (t *table) add(prefix string, s shape, within []string) {
	switch {
	case len(s.AnyOf) > 0:
		t.add(prefix, s.AnyOf[0], within)
	case s.Items != nil:
		if prefix != "" {
			prefix = strings.TrimSuffix(prefix, ".") + "[]."
		}
		t.add(prefix, *s.Items, within)
	case s.Values.shape != nil:
		t.add(prefix+"*.", *s.Values.shape, within)
	case s.Ref != "" && !slices.Contains(within, s.Ref):
		def := t.file.def(s)
		for _, f := range def.Properties {
			name := prefix + f.name
			if !slices.Contains(def.Required, f.name) {
				name += "?"
			}
			kind, text := t.file.kind(f.shape), meaning(f.shape)
			if of, ok := strings.CutSuffix(text, unit); ok { // the type says it
				kind, text = strings.Replace(kind, "number", "seconds", 1), strings.TrimSuffix(of, "; ")
			}
			t.rows = append(t.rows, fmt.Sprintf("| `%s` | %s | %s |", name, kind, escape(text)))
			t.add(prefix+f.name+".", f.shape, append(slices.Clone(within), s.Ref))
		}
	}
}

func (f shapeFile) def(s shape) shape { return f.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")] }

// kind says in words of what type a value is.
func (f shapeFile) kind(s shape) string {
	switch {
	case len(s.AnyOf) > 0:
		return f.kind(s.AnyOf[0]) + " or null"
	case s.Items != nil:
		return "list of " + plural(f.kind(*s.Items))
	case s.Values.shape != nil:
		return "object of " + plural(f.kind(*s.Values.shape))
	case s.Ref != "":
		return "object"
	case s.Format == "date-time":
		return "time"
	default:
		return s.Type
	}
}

func plural(kind string) string {
	first, rest, _ := strings.Cut(kind, " ")
	return strings.TrimSpace(first + "s " + rest)
}

// meaning is the description of a field. That of its values counts where it has none.
func meaning(s shape) string {
	switch {
	case s.Description != "":
		return s.Description
	case s.Items != nil:
		return meaning(*s.Items)
	case len(s.AnyOf) > 0:
		return meaning(s.AnyOf[0])
	}
	return ""
}

// escape keeps a text from being taken for Markdown, but for code between backquotes.
func escape(text string) string {
	parts := strings.Split(text, "`")
	for i := range parts {
		if parts[i] = strings.ReplaceAll(parts[i], "|", `\|`); i%2 == 0 {
			parts[i] = strings.NewReplacer("*", `\*`, "<", `\<`, "_", `\_`).Replace(parts[i])
		}
	}
	return strings.Join(parts, "`")
}

// templates copies the templates to the work directory, with the shapes in their place, and
// returns where they are.
func (g *generator) templates() (string, error) {
	doc, err := os.ReadFile(filepath.Join(g.root, "internal", "cli", "schemas.json"))
	if err != nil {
		return "", err
	}
	shapes, err := renderShapes(doc)
	if err != nil {
		return "", fmt.Errorf("schemas.json: %w", err)
	}
	to := filepath.Join(g.work, "templates")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(g.root, "tools", "templates"))); err != nil {
		return "", err
	}
	page := filepath.Join(to, "guides", "json.md.tmpl")
	text, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	before, after, found := strings.Cut(string(text), shapesMarker)
	if !found {
		return "", fmt.Errorf("%s lacks the line %q", page, shapesMarker)
	}
	return to, os.WriteFile(page, []byte(before+shapes+after), 0o644)
}
