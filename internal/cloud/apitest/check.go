// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package apitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Invalid is the error of a request that AWS refuses for its form.
type Invalid struct {
	Service, Operation string
	Faults             []Fault // in the order of their paths
}

// Fault is a part of a request that its service does not take.
type Fault struct {
	Path  string // of the member, as in "targets.1.member.key"
	Value string // of the member; "null" where it has none
	Wants string // what the service wants, as it says it
	Kind  Kind
}

// Kind is what is wrong with a part of a request.
type Kind int

// What is wrong with a part of a request.
const (
	Unfit   Kind = iota // it has not the form, the length or the range
	Missing             // it must be there
	Unknown             // the service does not know it
)

// Error says it as AWS's services do.
func (e *Invalid) Error() string {
	var b strings.Builder
	plural := ""
	if len(e.Faults) > 1 {
		plural = "s"
	}
	fmt.Fprintf(&b, "%d validation error%s detected: ", len(e.Faults), plural)
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString("; ")
		}
		value := f.Value
		if f.Kind != Missing {
			value = "'" + value + "'"
		}
		fmt.Fprintf(&b, "Value %s at '%s' failed to satisfy constraint: %s", value, f.Path, f.Wants)
	}
	return b.String()
}

// Check returns an *Invalid for a request that its service would refuse before it looks at
// what the request names. The service is the one that the request is signed for, the action
// what it asks for; services that are called by method and path know it from these. Another
// error means that the request is none that AWS has.
func Check(r *http.Request, body []byte, service, action string) error {
	m, err := load(service)
	if err != nil {
		return err
	}
	name, input, err := m.read(r, body, action)
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	return m.judge(service, name, input)
}

// CheckJSON returns an *Invalid for parameters of an operation that are written as JSON with
// the names of the API, as targets of schedules are, whatever the service's own protocol is.
func CheckJSON(service, action string, text []byte) error {
	m, err := load(service)
	if err != nil {
		return err
	}
	o, known := m.Operations[action]
	if !known {
		return fmt.Errorf("%s: AWS has no operation %s", service, action)
	}
	input, err := m.json(o.Input, text, func(name string, _ member) string { return name })
	if err != nil {
		return fmt.Errorf("%s: %s: %w", service, action, err)
	}
	return m.judge(service, action, input)
}

func (m *model) judge(service, name string, input any) error {
	j := judge{model: m}
	if of := m.Operations[name].Input; of != "" {
		j.value(of, input, "")
	}
	if len(j.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(j.faults, func(a, b Fault) int { return strings.Compare(a.Path, b.Path) })
	return &Invalid{Service: service, Operation: name, Faults: j.faults}
}

// judge collects what is wrong with a request.
type judge struct {
	*model
	faults []Fault
}

func (j *judge) fault(kind Kind, path string, value any, wants string, args ...any) {
	shown := "null"
	if kind != Missing {
		shown = fmt.Sprintf("%.300v", value)
	}
	j.faults = append(j.faults, Fault{Path: path, Value: shown, Wants: fmt.Sprintf(wants, args...), Kind: kind})
}

// below returns the path of a member.
func below(path, name string) string {
	name = strings.ToLower(name[:1]) + name[1:]
	if path == "" {
		return name
	}
	return path + "." + name
}

// value judges a value of a shape.
func (j *judge) value(of string, v any, path string) {
	s := j.shape(of)
	switch s.Type {
	case "structure":
		j.structure(s, v, path)
	case "list":
		list, ok := v.([]any)
		if !ok {
			j.fault(Unfit, path, v, "Member must be a list")
			return
		}
		j.length(s, len(list), path, v)
		for i, item := range list {
			j.value(s.Member.Shape, item, fmt.Sprintf("%s.%d.member", path, i+1))
		}
	case "map":
		entries, ok := v.(map[string]any)
		if !ok {
			j.fault(Unfit, path, v, "Member must be a map")
			return
		}
		j.length(s, len(entries), path, v)
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			j.value(s.Key.Shape, text(key), path+".key")
			j.value(s.Value.Shape, entries[key], path+"."+key+".member")
		}
	default:
		j.scalar(s, v, path)
	}
}

func (j *judge) structure(s *shape, v any, path string) {
	fields, ok := v.(map[string]any)
	if !ok {
		j.fault(Unfit, path, v, "Member must be a structure")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Members)) {
		field, set := fields[name]
		switch {
		case set:
			j.value(s.Members[name].Shape, field, below(path, name))
		case s.requires(name):
			j.fault(Missing, below(path, name), nil, "Member must not be null")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if _, known := s.Members[name]; !known {
			j.fault(Unknown, below(path, name), fields[name], "Member must be one that the operation has")
		}
	}
	if s.Union && len(fields) != 1 {
		j.fault(Unfit, path, v, "Member must have exactly one member set")
	}
}

func (j *judge) length(s *shape, n int, path string, v any) {
	if s.Min != nil && float64(n) < *s.Min {
		j.fault(Unfit, path, v, "Member must have length greater than or equal to %v", *s.Min)
	}
	if s.Max != nil && float64(n) > *s.Max {
		j.fault(Unfit, path, v, "Member must have length less than or equal to %v", *s.Max)
	}
}

// scalar judges a value that has no parts. Those of the protocols that write everything as
// text are read as their type says.
func (j *judge) scalar(s *shape, v any, path string) {
	written, isText := v.(text)
	switch s.Type {
	case "string", "character":
		if said, ok := v.(string); ok && !isText {
			written, isText = text(said), true
		}
		if !isText {
			j.fault(Unfit, path, v, "Member must be a string")
			return
		}
		j.text(s, string(written), path)
	case "blob":
		said := fmt.Sprint(v)
		if raw, err := base64.StdEncoding.DecodeString(said); err == nil {
			said = string(raw)
		}
		j.length(s, len(said), path, v)
	case "boolean":
		if _, ok := v.(bool); !ok && written != "true" && written != "false" {
			j.fault(Unfit, path, v, "Member must be a boolean")
		}
	case "timestamp":
		if !moment(v) {
			j.fault(Unfit, path, v, "Member must be a timestamp")
		}
	case "integer", "long", "short", "float", "double":
		j.number(s, v, path)
	default:
		panic(fmt.Sprintf("the type %s is new to this package", s.Type))
	}
}

func (j *judge) text(s *shape, v, path string) {
	j.length(s, utf8.RuneCountInString(v), path, v)
	if s.Pattern != "" && !fits(s.Pattern, v) {
		j.fault(Unfit, path, v, "Member must satisfy regular expression pattern: %s", s.Pattern)
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		j.fault(Unfit, path, v, "Member must satisfy enum value set: [%s]", strings.Join(s.Enum, ", "))
	}
}

func (j *judge) number(s *shape, v any, path string) {
	said, isText := v.(text)
	if n, ok := v.(json.Number); ok && !isText {
		said, isText = text(n), true
	}
	n, err := strconv.ParseFloat(string(said), 64)
	whole := s.Type != "float" && s.Type != "double"
	switch {
	case !isText || err != nil || whole && n != float64(int64(n)):
		j.fault(Unfit, path, v, "Member must be a number of the type %s", s.Type)
	case s.Min != nil && n < *s.Min:
		j.fault(Unfit, path, v, "Member must have value greater than or equal to %v", *s.Min)
	case s.Max != nil && n > *s.Max:
		j.fault(Unfit, path, v, "Member must have value less than or equal to %v", *s.Max)
	}
}

// moment reports whether a value is a time, as one of the protocols writes it.
func moment(v any) bool {
	said := fmt.Sprint(v)
	if _, err := strconv.ParseFloat(said, 64); err == nil {
		return true
	}
	if _, err := http.ParseTime(said); err == nil {
		return true
	}
	_, err := time.Parse(time.RFC3339, said)
	return err == nil
}
