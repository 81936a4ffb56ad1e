// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package shape

import (
	"bytes"
	"fmt"
	"path"
	"reflect"
)

// Schemas collects the JSON Schemas of types, in the dialect of 2020-12.
type Schemas struct {
	// Describe returns the description of a field of a struct, which has a name in JSON;
	// empty for none.
	Describe func(owner reflect.Type, field, name string) string

	// Defs are the schemas of structs by name.
	Defs map[string]any
}

// Properties are the schemas of the fields of a struct. JSON has them in the order of the
// struct, which is the order in which a person reads them.
type Properties []Property

// Property is a field with its schema.
type Property struct {
	Name   string
	Schema map[string]any
}

// MarshalJSON implements json.Marshaler.
func (all Properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:", p.Name)
		if err := plain(&b, p.Schema); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Of returns the schema of a type. Structs are references to Defs, where they are collected.
func (s *Schemas) Of(t reflect.Type) map[string]any {
	switch {
	case t == durationType:
		return map[string]any{"type": "number", "description": "seconds"}
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case itself(t):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{s.Of(t.Elem()), map[string]any{"type": "null"}}}
	case reflect.Struct:
		return s.ofStruct(t)
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.Of(t.Elem())}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.Of(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	}
	panic(fmt.Sprintf("%s has no schema", t)) // a value of any type is no documented shape
}

func (s *Schemas) ofStruct(t reflect.Type) map[string]any {
	name := path.Base(t.PkgPath()) + "." + t.Name()
	ref := map[string]any{"$ref": "#/$defs/" + name}
	if _, ok := s.Defs[name]; ok {
		return ref
	}
	properties, required := Properties{}, []string{}
	def := map[string]any{"type": "object", "additionalProperties": false}
	s.Defs[name] = def
	for _, f := range fields(t) {
		ft := f.Type
		if f.Optional && ft.Kind() == reflect.Pointer {
			ft = ft.Elem() // nil is left out
		}
		property := s.Of(ft)
		if text := s.Describe(f.Owner, f.Declared, f.Name); text != "" {
			if said, ok := property["description"]; ok {
				text += "; " + said.(string)
			}
			property["description"] = text
		}
		properties = append(properties, Property{f.Name, property})
		if !f.Optional {
			required = append(required, f.Name)
		}
	}
	def["properties"], def["required"] = properties, required
	return ref
}
