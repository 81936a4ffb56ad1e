// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package shape puts values into the shape that programs read: JSON by the same tags that
// package encoding/json reads, with four more rules. A duration is a number of seconds, and
// the name of its field ends in _seconds. The name of a time ends in _at; one that is called
// "at" alone is created_at. A list is never null, and neither is a map. An empty field is
// left out if its tag says so, and only then. A tag shape names a field where programs read
// another name than the ledger has. Schema describes the shape of a type as a JSON Schema,
// from the same walk, so that both agree.
//
//	doc, err := shape.Marshal(metrics) // {"lead_time":{"count":3,"median_seconds":1.5,…}}
package shape

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marshal returns the JSON of a value.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := write(&b, reflect.ValueOf(v))
	return b.Bytes(), err
}

// field is a field of a struct as JSON has it.
type field struct {
	Name     string
	Type     reflect.Type
	Owner    reflect.Type // the struct that declares it
	Declared string       // its name there
	Optional bool         // it is left out if it has no value

	tag   string // its name before the rules for durations and times
	index []int
	omit  func(reflect.Value) bool
}

var (
	durationType   = reflect.TypeFor[time.Duration]()
	timeType       = reflect.TypeFor[time.Time]()
	marshalerType  = reflect.TypeFor[json.Marshaler]()
	textType       = reflect.TypeFor[encoding.TextMarshaler]()
	unit           = "_seconds"
	hasNothingInIt = []reflect.Kind{reflect.Slice, reflect.Map, reflect.String, reflect.Array}
)

// fields returns the fields of a struct, in order, with those of embedded structs in their
// place. A field nearer to the top hides a deeper one of the same name.
func fields(t reflect.Type) (all []field) {
	depth := map[string]int{}
	var walk func(t reflect.Type, index []int)
	walk = func(t reflect.Type, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			at := append(slices.Clone(index), i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
				walk(f.Type, at)
				continue
			}
			if !f.IsExported() || name == "-" {
				continue
			}
			if name == "" {
				name = f.Name
			}
			if had, ok := depth[name]; ok && had <= len(at) {
				continue
			}
			all = slices.DeleteFunc(all, func(g field) bool { return g.tag == name })
			depth[name] = len(at)
			g := field{Name: cmp.Or(f.Tag.Get("shape"), name), tag: name, Type: f.Type, Owner: t, Declared: f.Name, index: at, omit: func(reflect.Value) bool { return false }}
			switch options {
			case "omitempty":
				g.Optional, g.omit = true, isEmpty
			case "omitzero":
				g.Optional, g.omit = true, isZero
			}
			switch {
			case timed(f.Type):
				g.Name += unit
			case f.Type == timeType && g.Name == "at":
				g.Name = "created_at"
			case f.Type == timeType && !strings.HasSuffix(g.Name, "_at"):
				g.Name += "_at"
			}
			all = append(all, g)
		}
	}
	walk(t, nil)
	return all
}

// timed reports whether a type is a duration, or made of them.
func timed(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t == durationType
}

func isEmpty(v reflect.Value) bool {
	if slices.Contains(hasNothingInIt, v.Kind()) {
		return v.Len() == 0
	}
	return v.Kind() != reflect.Struct && v.IsZero()
}

func isZero(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && v.Kind() != reflect.Pointer {
		return z.IsZero()
	}
	return v.IsZero()
}

// itself reports whether a type has its own form in JSON.
func itself(t reflect.Type) bool {
	return t.Implements(marshalerType) || t.Implements(textType)
}

func write(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	switch t := v.Type(); {
	case t == durationType:
		b.WriteString(strconv.FormatFloat(v.Interface().(time.Duration).Seconds(), 'f', -1, 64))
		return nil
	case v.Kind() == reflect.Pointer, v.Kind() == reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		if !itself(t) || v.Kind() == reflect.Interface {
			return write(b, v.Elem())
		}
	case itself(t):
	case v.Kind() == reflect.Struct:
		return writeStruct(b, v)
	case v.Kind() == reflect.Map:
		return writeMap(b, v)
	case v.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8: // base64
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Array:
		return writeList(b, v)
	}
	return plain(b, v.Interface())
}

// plain writes a value as package encoding/json does.
func plain(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line break
	return nil
}

func writeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for _, f := range fields(v.Type()) {
		value := v.FieldByIndex(f.index)
		if f.omit(value) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		fmt.Fprintf(b, "%q:", f.Name)
		if err := write(b, value); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	b.WriteByte('}')
	return nil
}

func writeMap(b *bytes.Buffer, v reflect.Value) error {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := plain(b, key.String()); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := write(b, v.MapIndex(key)); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	b.WriteByte('}')
	return nil
}

func writeList(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(b, v.Index(i)); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	b.WriteByte(']')
	return nil
}
