// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// request is what IAM decides on. A key of the context has several values where AWS
// says so, as dynamodb:LeadingKeys has one for each item.
type request struct {
	action   string
	resource string
	context  map[string][]string
}

type statement struct {
	sid, effect        string
	actions, resources []string
	conditions         map[string]any // values by key, by operator
}

// policy evaluates as IAM does within one account: what a statement denies is denied,
// else what a statement allows is allowed, else it is denied.
type policy []statement

func statements(t testing.TB, document any) policy {
	t.Helper()
	var p policy
	for _, v := range at(document, "Statement").([]any) {
		m := v.(map[string]any)
		s := statement{effect: m["Effect"].(string), actions: stringsOf(m["Action"])}
		s.sid, _ = m["Sid"].(string)
		s.conditions, _ = m["Condition"].(map[string]any)
		if r, ok := m["Resource"]; ok {
			s.resources = stringsOf(r)
		}
		for key := range m {
			if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}, key) {
				t.Fatalf("%s in statement %s is new to this test", key, s.sid)
			}
		}
		p = append(p, s)
	}
	return p
}

// policyOf returns all that a role's own policies and the stack's say.
func (d *deployed) policyOf(role string) policy {
	var p policy
	properties := d.properties(role)
	inline, _ := properties["Policies"].([]any)
	for _, v := range inline {
		p = append(p, statements(d.t, at(v, "PolicyDocument"))...)
	}
	managed, _ := properties["ManagedPolicyArns"].([]any)
	for _, name := range managed {
		if !strings.HasPrefix(name.(string), "arn:aws:iam::aws:") {
			p = append(p, statements(d.t, d.properties(name.(string))["PolicyDocument"])...)
		}
	}
	for _, r := range d.resources { // those that name their roles themselves
		if attached, ok := at(r, "Properties", "Roles").([]any); ok && r["Type"] == "AWS::IAM::ManagedPolicy" && slices.Contains(stringsOf(attached), role) {
			p = append(p, statements(d.t, at(r, "Properties", "PolicyDocument"))...)
		}
	}
	return p
}

func (p policy) denies(t testing.TB, r request) bool { return p.any(t, "Deny", r) }

func (p policy) allows(t testing.TB, r request) bool { return !p.denies(t, r) && p.any(t, "Allow", r) }

func (p policy) any(t testing.TB, effect string, r request) bool {
	return slices.ContainsFunc(p, func(s statement) bool {
		return s.effect == effect && like(s.actions, r.action) && like(s.resources, r.resource) && s.applies(t, r)
	})
}

// like reports whether a value matches one of the patterns, where * stands for
// anything, slashes included.
func like(patterns []string, value string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(strings.NewReplacer("[", `\[`, `\`, `\\`).Replace(flat(p)), flat(value))
		return ok && err == nil
	})
}

// applies evaluates the conditions: all operators and keys must hold.
func (s statement) applies(t testing.TB, r request) bool {
	for operator, v := range s.conditions {
		for key, wanted := range v.(map[string]any) {
			if !holds(t, operator, stringsOf(wanted), r.context[key]) {
				return false
			}
		}
	}
	return true
}

// holds evaluates an operator. A key that the request lacks fails each, but for Null,
// and for ForAllValues, which all of no values fulfil.
func holds(t testing.TB, operator string, wanted, got []string) bool {
	matches := func(v string) bool { return slices.Contains(wanted, v) }
	if strings.HasSuffix(operator, "StringLike") {
		matches = func(v string) bool { return like(wanted, v) }
	}
	switch operator {
	case "Null":
		return (len(got) == 0) == (wanted[0] == "true")
	case "ForAllValues:StringLike":
		return !slices.ContainsFunc(got, func(v string) bool { return !matches(v) })
	case "ForAnyValue:StringLike":
		return slices.ContainsFunc(got, matches)
	case "StringEquals", "StringLike", "Bool":
		if len(got) > 1 {
			t.Fatalf("%s of several values", operator)
		}
		return len(got) == 1 && matches(got[0])
	}
	t.Fatalf("the operator %s is new to this test", operator)
	return false
}

// The evaluator is itself code that can be wrong.
func TestEvaluator(t *testing.T) {
	for name, tt := range map[string]struct {
		operator    string
		wanted, got []string
		want        bool
	}{
		"equal":                     {"StringEquals", []string{"a", "b"}, []string{"b"}, true},
		"equal, of a missing key":   {"StringEquals", []string{"a"}, nil, false},
		"equal knows no wildcards":  {"StringEquals", []string{"a*"}, []string{"ab"}, false},
		"like":                      {"StringLike", []string{"decisions#*"}, []string{"decisions#a/b"}, true},
		"like, from the beginning":  {"StringLike", []string{"decisions#*"}, []string{"x-decisions#a"}, false},
		"all":                       {"ForAllValues:StringLike", []string{"a*"}, []string{"a1", "a2"}, true},
		"all, but one":              {"ForAllValues:StringLike", []string{"a*"}, []string{"a1", "b"}, false},
		"all of none":               {"ForAllValues:StringLike", []string{"a*"}, nil, true},
		"any":                       {"ForAnyValue:StringLike", []string{"a*"}, []string{"b", "a1"}, true},
		"any of none":               {"ForAnyValue:StringLike", []string{"a*"}, nil, false},
		"null, and it is there":     {"Null", []string{"false"}, []string{"x"}, true},
		"null, and it is not there": {"Null", []string{"false"}, nil, false},
		"must be missing":           {"Null", []string{"true"}, nil, true},
	} {
		if got := holds(t, tt.operator, tt.wanted, tt.got); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	p := policy{{effect: "Allow", actions: []string{"s3:*"}, resources: []string{"*"}}, {effect: "Deny", actions: []string{"s3:Delete*"}, resources: []string{"b/*"}}}
	for action, want := range map[string]bool{"s3:GetObject": true, "s3:DeleteObject": false, "ec2:RunInstances": false} {
		if p.allows(t, request{action: action, resource: "b/c/d"}) != want {
			t.Errorf("%s is allowed: %v", action, !want)
		}
	}
}
