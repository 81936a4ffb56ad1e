// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package apitest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Services that are called by a method and a path: S3 and Route 53 with XML, EventBridge Scheduler with
// JSON.

// rest returns what a request asks for, and its parameters.
func (m *model) rest(r *http.Request, body []byte) (name string, input any, err error) {
	labels, best := map[string]string{}, -1
	for candidate, o := range m.Operations {
		got, literals := route(o, r)
		if got == nil {
			continue
		}
		need, met := m.needs(o, r)
		if rank := 2*literals + need; met && (rank > best || rank == best && candidate > name) {
			name, labels, best = candidate, got, rank
		}
	}
	if best < 0 {
		return "", nil, fmt.Errorf("AWS has no operation %s %s", r.Method, r.URL.RequestURI())
	}
	o := m.Operations[name]
	s := m.shape(o.Input)
	fields := map[string]any{}
	_, literal := pathOf(o)
	query := r.URL.Query()
	known := map[string]bool{"x-id": true}
	for member, of := range s.Members {
		wire := located(member, of)
		switch of.Location {
		case "uri":
			fields[member] = text(labels[wire])
		case "querystring":
			known[wire] = true
			if values, set := query[wire]; set {
				fields[member] = m.texts(of.Shape, values)
			}
		case "header":
			if value := r.Header.Values(wire); len(value) > 0 {
				fields[member] = m.texts(of.Shape, value)
			}
		}
	}
	for name, values := range query {
		if _, fixed := literal[name]; !fixed && !known[name] && !strings.HasPrefix(name, "X-Amz-") {
			fields[name] = text(values[0])
		}
	}
	return name, fields, m.body(o.Input, fields, body)
}

// texts returns the values of a parameter outside the body.
func (m *model) texts(of string, values []string) any {
	if m.shape(of).Type != "list" {
		return text(values[0])
	}
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = text(v)
	}
	return list
}

// pathOf returns the parts of an operation's path, and what its query always says.
func pathOf(o operation) (parts []string, literal url.Values) {
	path, query, _ := strings.Cut(o.URI, "?")
	literal, _ = url.ParseQuery(query)
	return strings.Split(strings.Trim(path, "/"), "/"), literal
}

// route returns the labels of a request's path, when it is one of the operation, and how
// much of its query the operation asks for; nil when it is not.
func route(o operation, r *http.Request) (labels map[string]string, literals int) {
	parts, literal := pathOf(o)
	if o.Method != r.Method {
		return nil, 0
	}
	for name, values := range literal {
		if got, set := r.URL.Query()[name]; !set || values[0] != "" && got[0] != values[0] {
			return nil, 0
		}
	}
	labels = map[string]string{}
	rest := strings.Trim(r.URL.Path, "/")
	for _, part := range parts {
		label, isLabel := strings.CutPrefix(part, "{")
		label = strings.TrimSuffix(label, "}")
		greedy := strings.HasSuffix(label, "+")
		var got string
		if got = rest; greedy {
			rest = ""
		} else {
			got, rest, _ = strings.Cut(rest, "/")
		}
		switch {
		case !isLabel && got != part, isLabel && got == "":
			return nil, 0
		case isLabel:
			labels[strings.TrimSuffix(label, "+")] = got
		}
	}
	if rest != "" {
		return nil, 0
	}
	return labels, len(literal)
}

// needs counts what an operation requires outside the path and the body, and reports
// whether the request has it: several operations have one path.
func (m *model) needs(o operation, r *http.Request) (n int, met bool) {
	s := m.shape(o.Input)
	for _, name := range s.Required {
		of := s.Members[name]
		switch wire := located(name, of); of.Location {
		case "querystring":
			if !r.URL.Query().Has(wire) {
				return 0, false
			}
			n++
		case "header":
			if r.Header.Get(wire) == "" {
				return 0, false
			}
			n++
		}
	}
	return n, true
}

// body reads the members that are in the body.
func (m *model) body(of string, fields map[string]any, body []byte) error {
	s := m.shape(of)
	if s.Payload != "" {
		of := s.Members[s.Payload]
		switch {
		case len(body) == 0:
		case m.shape(of.Shape).Type != "structure":
			fields[s.Payload] = text(body)
		default:
			root, err := parse(body)
			if err != nil {
				return err
			}
			fields[s.Payload] = m.element(of.Shape, root)
		}
		return nil
	}
	if len(body) == 0 {
		return nil
	}
	v, err := m.said(of, body)
	if err != nil {
		return err
	}
	said, ok := v.(map[string]any)
	if !ok {
		return errors.New("the body is no object")
	}
	for name, field := range said {
		if s.Members[name].Location != "" { // it is known elsewhere, not here
			name = "body." + name
		}
		fields[name] = field
	}
	return nil
}

// said reads a body that has members itself: of XML its one element has them.
func (m *model) said(of string, body []byte) (any, error) {
	if m.Protocol == "rest-json" {
		return m.json(of, body, located)
	}
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	return m.element(of, root), nil
}

// node is an element of XML.
type node struct {
	name string
	text strings.Builder
	kids []*node
}

func parse(body []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	root := &node{}
	open := []*node{root}
	for {
		token, err := d.Token()
		if err == io.EOF && len(root.kids) == 1 {
			return root.kids[0], nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the XML of the body: %w", err)
		}
		last := open[len(open)-1]
		switch t := token.(type) {
		case xml.StartElement:
			kid := &node{name: t.Name.Local}
			last.kids = append(last.kids, kid)
			open = append(open, kid)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			last.text.Write(t)
		}
	}
}

// element reads an element of XML.
func (m *model) element(of string, n *node) any {
	s := m.shape(of)
	switch s.Type {
	case "structure":
		fields := map[string]any{}
		for _, kid := range n.kids {
			name, part, known := s.named(kid.name)
			switch in := m.shape(part.Shape); {
			case !known:
				fields[kid.name] = text(kid.text.String())
			case in.Type == "list" && (in.Flattened || part.Flattened):
				list, _ := fields[name].([]any)
				fields[name] = append(list, m.element(in.Member.Shape, kid))
			default:
				fields[name] = m.element(part.Shape, kid)
			}
		}
		return fields
	case "list":
		list := []any{}
		for _, kid := range n.kids {
			list = append(list, m.element(s.Member.Shape, kid))
		}
		return list
	}
	return text(n.text.String())
}

// named returns the member that an element of XML is of.
func (s *shape) named(wire string) (string, member, bool) {
	for name, of := range s.Members {
		if located(name, of) == wire {
			return name, of, true
		}
	}
	return "", member{}, false
}
