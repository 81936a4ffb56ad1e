// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Requests become values, whatever the protocol: a structure is a map by the names of its
// members, a list is a slice. What a structure has and its shape does not know stays in it,
// under the name that the request gives it.

// text is a value that is written as text: its type is known from the shape.
type text string

// read returns what a request asks for, and its parameters.
func (m *model) read(r *http.Request, body []byte, action string) (operation string, input any, err error) {
	if strings.HasPrefix(m.Protocol, "rest-") {
		return m.rest(r, body)
	}
	o, known := m.Operations[action]
	if !known {
		return "", nil, fmt.Errorf("AWS has no operation %s", action)
	}
	switch m.Protocol {
	case "json":
		input, err = m.json(o.Input, body, located)
	case "smithy-rpc-v2-cbor":
		var v cbor.Value = cbor.Map{}
		if len(body) > 0 {
			v, err = cbor.Decode(body)
		}
		input = plain(v)
	case "query", "ec2":
		var form url.Values
		if form, err = url.ParseQuery(string(body)); err == nil {
			if version := form.Get("Version"); version != m.API {
				err = fmt.Errorf("the request is of version %q of the API, not of %s", version, m.API)
			}
			form.Del("Action")
			form.Del("Version")
			input = m.form(o.Input, tree(form))
		}
	default:
		err = fmt.Errorf("the protocol %s is new to this package", m.Protocol)
	}
	return action, input, err
}

// located is the name that a member has in JSON and XML.
func located(name string, of member) string {
	if of.LocationName != "" {
		return of.LocationName
	}
	return name
}

// json reads JSON. Names of members are those that named returns.
func (m *model) json(of string, body []byte, named func(string, member) string) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return m.rename(of, v, named), nil
}

// rename gives members of JSON the names of the model, and leaves out what is null.
func (m *model) rename(of string, v any, named func(string, member) string) any {
	s := m.shape(of)
	switch v := v.(type) {
	case []any:
		if s.Type == "list" {
			for i := range v {
				v[i] = m.rename(s.Member.Shape, v[i], named)
			}
		}
		return v
	case map[string]any:
		fields := map[string]any{}
		for name, field := range v {
			if field == nil {
				continue
			}
			switch s.Type {
			case "map":
				field = m.rename(s.Value.Shape, field, named)
			case "structure":
				for own, of := range s.Members {
					if named(own, of) == name {
						name, field = own, m.rename(of.Shape, field, named)
						break
					}
				}
			}
			fields[name] = field
		}
		return fields
	}
	return v
}

// plain returns a value of CBOR as JSON has it.
func plain(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		fields := map[string]any{}
		for name, field := range v {
			if _, null := field.(*cbor.Nil); !null {
				fields[name] = plain(field)
			}
		}
		return fields
	case cbor.List:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case cbor.String:
		return string(v)
	case cbor.Bool:
		return bool(v)
	case *cbor.Tag: // a time
		return plain(v.Value)
	case cbor.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case cbor.NegInt:
		return json.Number("-" + strconv.FormatUint(uint64(v), 10))
	case cbor.Float32:
		return json.Number(strconv.FormatFloat(float64(v), 'g', -1, 32))
	case cbor.Float64:
		return json.Number(strconv.FormatFloat(float64(v), 'g', -1, 64))
	}
	return v
}

// branch is a part of a form, whose names are paths: Tags.member.1.Key.
type branch struct {
	value *string
	kids  map[string]*branch
}

func tree(form url.Values) *branch {
	root := &branch{kids: map[string]*branch{}}
	for path, values := range form {
		b := root
		for _, name := range strings.Split(path, ".") {
			next := b.kids[name]
			if next == nil {
				next = &branch{kids: map[string]*branch{}}
				b.kids[name] = next
			}
			b = next
		}
		b.value = &values[0]
	}
	return root
}

// form reads a branch of a form.
func (m *model) form(of string, b *branch) any {
	s := m.shape(of)
	switch s.Type {
	case "structure":
		fields, known := map[string]any{}, map[string]bool{}
		for name, part := range s.Members {
			wire := m.queryName(name, part)
			if kid := b.kids[wire]; kid != nil {
				fields[name], known[wire] = m.form(part.Shape, kid), true
			}
		}
		for name, kid := range b.kids {
			if !known[name] {
				fields[name] = kid.anything()
			}
		}
		return fields
	case "list":
		if m.Protocol != "ec2" && !s.Flattened {
			wrapper := "member"
			if s.Member.LocationName != "" {
				wrapper = s.Member.LocationName
			}
			if b.kids[wrapper] == nil && len(b.kids) > 0 {
				return b.anything()
			}
			if b = b.kids[wrapper]; b == nil {
				return []any{}
			}
		}
		list := []any{}
		for n := 1; b.kids[strconv.Itoa(n)] != nil; n++ {
			list = append(list, m.form(s.Member.Shape, b.kids[strconv.Itoa(n)]))
		}
		if len(list) < len(b.kids) { // it is not numbered from 1
			return b.anything()
		}
		return list
	case "map":
		entries := map[string]any{}
		if b = b.kids["entry"]; b == nil {
			return entries
		}
		for n := 1; b.kids[strconv.Itoa(n)] != nil; n++ {
			entry := b.kids[strconv.Itoa(n)]
			key, value := entry.kids[located("key", *s.Key)], entry.kids[located("value", *s.Value)]
			if key != nil && key.value != nil && value != nil {
				entries[*key.value] = m.form(s.Value.Shape, value)
			}
		}
		return entries
	}
	return b.anything()
}

// queryName is the name that a member has in a form.
func (m *model) queryName(name string, of member) string {
	switch {
	case m.Protocol != "ec2":
		return located(name, of)
	case of.QueryName != "":
		return of.QueryName
	case of.LocationName != "":
		return strings.ToUpper(of.LocationName[:1]) + of.LocationName[1:]
	}
	return name
}

// anything returns a branch that no shape describes.
func (b *branch) anything() any {
	if b.value != nil {
		return text(*b.value)
	}
	fields := map[string]any{}
	for name, kid := range b.kids {
		fields[name] = kid.anything()
	}
	return fields
}
