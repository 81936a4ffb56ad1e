// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What botocore's model of a service says, as far as the tables have it. Package apitest
// describes the fields, which it reads by the same names.
type (
	model struct {
		Metadata struct {
			APIVersion, EndpointPrefix, SigningName, Protocol, TargetPrefix string
		}
		Operations map[string]struct {
			Name string
			HTTP struct{ Method, RequestURI string }
			// Input is missing where a request has no members.
			Input struct{ Shape string }
		}
		Shapes map[string]*shape
	}
	shape struct {
		Type      string             `json:"type"`
		Required  []string           `json:"required,omitempty"`
		Members   map[string]*member `json:"members,omitempty"`
		Payload   string             `json:"payload,omitempty"`
		Member    *member            `json:"member,omitempty"`
		Key       *member            `json:"key,omitempty"`
		Value     *member            `json:"value,omitempty"`
		Flattened bool               `json:"flattened,omitempty"`
		Union     bool               `json:"union,omitempty"`
		Enum      []string           `json:"enum,omitempty"`
		Pattern   string             `json:"pattern,omitempty"`
		Min       *json.Number       `json:"min,omitempty"`
		Max       *json.Number       `json:"max,omitempty"`
	}
	member struct {
		Shape        string `json:"shape"`
		Location     string `json:"location,omitempty"`
		LocationName string `json:"locationName,omitempty"`
		QueryName    string `json:"queryName,omitempty"`
		Flattened    bool   `json:"flattened,omitempty"`
	}
	operation struct {
		Input  string `json:"input,omitempty"`
		Method string `json:"method,omitempty"`
		URI    string `json:"uri,omitempty"`
	}
)

// table returns the table of a service, and the name by which requests are signed for it.
// It has a line for each operation and for each shape that requests have.
func table(version string, text []byte) (name string, _ []byte, _ error) {
	var m model
	if err := json.Unmarshal(text, &m); err != nil {
		return "", nil, err
	}
	operations, used := map[string]any{}, map[string]any{}
	for _, o := range m.Operations {
		entry := operation{Input: o.Input.Shape}
		if strings.HasPrefix(m.Metadata.Protocol, "rest-") {
			entry.Method, entry.URI = o.HTTP.Method, o.HTTP.RequestURI
		}
		operations[o.Name] = entry
		if err := m.use(o.Input.Shape, used); err != nil {
			return "", nil, err
		}
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, "{\n\"package\": \"botocore\",\n\"version\": %s,\n\"api\": %s,\n\"protocol\": %s,\n", quote(version), quote(m.Metadata.APIVersion), quote(m.Metadata.Protocol))
	entries(&w, "operations", operations)
	w.WriteString(",\n")
	entries(&w, "shapes", used)
	w.WriteString("\n}\n")
	return cmp.Or(m.Metadata.SigningName, m.Metadata.EndpointPrefix), w.Bytes(), nil
}

// use adds a shape, and what it is made of, to those that are used.
func (m *model) use(name string, used map[string]any) error {
	s := m.Shapes[name]
	if s == nil || used[name] != nil || s.plain() {
		return nil
	}
	used[name] = s
	if name == s.Type {
		return fmt.Errorf("the shape %s has the name of a type", name)
	}
	for field, of := range s.Members {
		if of.LocationName == field || m.Metadata.Protocol == "ec2" && strings.EqualFold(of.LocationName, field) {
			of.LocationName = "" // as the member's; EC2's requests have them with a capital
		}
	}
	parts := slices.AppendSeq([]*member{s.Member, s.Key, s.Value}, maps.Values(s.Members))
	for _, part := range parts {
		if part == nil {
			continue
		}
		of := m.Shapes[part.Shape]
		if of == nil {
			return fmt.Errorf("%s has parts of the shape %s, which is not there", name, part.Shape)
		}
		if err := m.use(part.Shape, used); err != nil {
			return err
		}
		if of.plain() {
			part.Shape = of.Type
		}
	}
	pattern, err := translate(s.Pattern)
	if err != nil {
		return fmt.Errorf("the pattern of %s: %w", name, err)
	}
	s.Pattern = pattern
	return nil
}

// plain reports whether a shape says no more than its type. It has no entry: what is of it
// names the type.
func (s *shape) plain() bool {
	switch s.Type {
	case "structure", "list", "map":
		return false
	}
	return len(s.Enum) == 0 && s.Pattern == "" && s.Min == nil && s.Max == nil
}

var (
	unicode   = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)
	surrogate = strings.NewReplacer(
		`\uD800\uDC00-\uDBFF\uDFFF`, `\x{10000}-\x{10FFFF}`,
		`\u10000-\u10FFFF`, `\x{10000}-\x{10FFFF}`, // as the models write it
		`\p{Print}`, `[[:print:]]`,
	)
	// around are what Go's expressions don't have: they look ahead.
	around = regexp.MustCompile(`\(\?[=!]`)
	// beyond is a number of repeats that Go's don't count to.
	beyond = regexp.MustCompile(`\{(\d+),\d{4,}\}`)
)

// translate returns a pattern as Go writes it: models have Java's. One that looks ahead is
// left out, as Go's can't.
func translate(pattern string) (string, error) {
	if around.MatchString(pattern) {
		return "", nil
	}
	pattern = beyond.ReplaceAllString(pattern, `{$1,}`)
	pattern = unicode.ReplaceAllString(surrogate.Replace(pattern), `\x{$1}`)
	_, err := regexp.Compile(pattern)
	return pattern, err
}

func entries(w *bytes.Buffer, name string, all map[string]any) {
	fmt.Fprintf(w, "%s: {\n", quote(name))
	names := slices.Sorted(maps.Keys(all))
	for i, name := range names {
		fmt.Fprintf(w, "%s: %s", quote(name), quote(all[name]))
		if i < len(names)-1 {
			w.WriteString(",")
		}
		w.WriteString("\n")
	}
	w.WriteString("}")
}

func quote(v any) string {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only plain values are given
	}
	return strings.TrimSuffix(w.String(), "\n")
}
