// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package apitest checks requests to AWS as its services do before they look at anything
// else: that a request has what it must have and nothing that the service does not know,
// and that each value has the form, the length and the range that AWS's own model of the
// service says. It knows what requests look like, and nothing of what they do.
//
//	err := apitest.Check(request, body, "ssm", "SendCommand")
//
// The models are botocore's, the newest that AWS publishes: tools/apidata takes from them
// what concerns requests. They are in the tree, and are not read from the botocore of who
// runs the tests, so that the same requests pass everywhere and a new model comes as a
// change that is reviewed. They have every operation of a service, so that a call that is
// new to Penstock needs no new table.
package apitest

import (
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
)

// models are the tables that tools/apidata writes: `make api-data`. Each is of one service,
// by the name with which requests to it are signed.
//
//go:embed testdata/*.json
var models embed.FS

// model is what AWS says of the requests of a service. The names are botocore's.
type model struct {
	Package, Version string
	API              string // version of the service's API
	Protocol         string
	Operations       map[string]operation
	Shapes           map[string]*shape
}

type operation struct {
	Input       string // shape of its request; "" where it has no members
	Method, URI string // of services that are called by these
}

// shape is the form of a value.
type shape struct {
	Type      string // "structure", "list", "map", "string", "integer" and so on
	Required  []string
	Members   map[string]member // of a structure
	Payload   string            // the member that is the body
	Member    *member           // of a list
	Key       *member           // of a map
	Value     *member
	Flattened bool // a list is not wrapped in an element of its own
	Union     bool // one of the members is set
	Enum      []string
	Pattern   string
	Min, Max  *float64 // of a number itself; of the length of the rest
}

// member is a shape in a place of another one.
type member struct {
	Shape        string // its name; that of a type, where there is no more to say
	Location     string // "uri", "querystring", "header", "headers"; "" is the body
	LocationName string // "" is the member's own name
	QueryName    string
	Flattened    bool
}

var loaded struct {
	sync.Mutex
	models map[string]*model
}

// load returns the model of a service.
func load(service string) (*model, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if m := loaded.models[service]; m != nil {
		return m, nil
	}
	text, err := models.ReadFile("testdata/" + service + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no model of the service %s: add it to tools/apidata, and run make api-data", service)
	}
	m := &model{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("read the model of %s: %w", service, err)
	}
	if loaded.models == nil {
		loaded.models = map[string]*model{}
	}
	loaded.models[service] = m
	return m, nil
}

// shape returns a shape by its name: a type where it has no entry.
func (m *model) shape(name string) *shape {
	if s := m.Shapes[name]; s != nil {
		return s
	}
	return &shape{Type: name}
}

func (s *shape) requires(name string) bool { return slices.Contains(s.Required, name) }

var patterns sync.Map // compiled, by their text

// fits reports whether the whole of a text has a pattern's form, as the services have it.
func fits(pattern, text string) bool {
	compiled, ok := patterns.Load(pattern)
	if !ok {
		compiled, _ = patterns.LoadOrStore(pattern, regexp.MustCompile("^(?:"+pattern+")$"))
	}
	return compiled.(*regexp.Regexp).MatchString(text)
}
