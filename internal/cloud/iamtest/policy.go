// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package iamtest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Statement is a statement of a policy.
type Statement struct {
	Sid, Effect        string
	Actions, Resources []string
	Principals         map[string][]string       // by kind, as "AWS" and "Service"; nil in policies of identities
	Conditions         map[string]map[string]any // values by key, by operator
}

// Policy is the statements of one policy or of several.
type Policy []Statement

// ParsePolicy returns the statements of a policy's document. It panics on what this package
// can't judge: a policy that is read in part would be judged wrongly.
func ParsePolicy(document any) Policy {
	if text, ok := document.(string); ok { // as CloudFormation takes it, too
		document = nil
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			panic(fmt.Sprintf("a policy that is not JSON: %v: %s", err, text))
		}
	}
	list, ok := document.(map[string]any)["Statement"].([]any)
	if !ok {
		panic(fmt.Sprintf("a policy without statements: %v", document))
	}
	var p Policy
	for _, v := range list {
		m := v.(map[string]any)
		s := Statement{Effect: m["Effect"].(string), Actions: Strings(m["Action"])}
		s.Sid, _ = m["Sid"].(string)
		if r, ok := m["Resource"]; ok {
			s.Resources = Strings(r)
		}
		for key := range m {
			if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}, key) {
				panic(fmt.Sprintf("%s in statement %q is new to this package", key, s.Sid))
			}
		}
		switch principal := m["Principal"].(type) {
		case string:
			s.Principals = map[string][]string{"*": {principal}}
		case map[string]any:
			s.Principals = map[string][]string{}
			for kind, who := range principal {
				s.Principals[kind] = Strings(who)
			}
		}
		conditions, _ := m["Condition"].(map[string]any)
		for operator, keys := range conditions {
			if s.Conditions == nil {
				s.Conditions = map[string]map[string]any{}
			}
			s.Conditions[operator] = keys.(map[string]any)
			holds(operator, []string{""}, nil) // panics when it is new
		}
		p = append(p, s)
	}
	return p
}

// Strings returns one string or several as a list.
func Strings(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, e := range v {
			list = append(list, fmt.Sprint(e))
		}
		return list
	}
	return nil
}

// target is one resource of a request with the context that IAM sees there.
type target struct {
	action, arn string
	context     map[string][]string // by lower-case key
}

// find returns the first statement of an effect that applies to the target; nil for none.
func (p Policy) find(effect string, t target, who func(Statement) bool) *Statement {
	for i, s := range p {
		if s.Effect == effect && like(s.Actions, t.action, true) && (s.Resources == nil || like(s.Resources, t.arn, false)) && (who == nil || who(s)) && s.applies(t) {
			return &p[i]
		}
	}
	return nil
}

// applies evaluates the conditions: all operators and keys must hold.
func (s Statement) applies(t target) bool {
	for operator, keys := range s.Conditions {
		for key, wanted := range keys {
			if !holds(operator, Strings(wanted), t.context[strings.ToLower(key)]) {
				return false
			}
		}
	}
	return true
}

// holds evaluates an operator. A key that the request lacks fails each, but for Null, for
// those that end with IfExists, for negations, and for ForAllValues, which all of no values
// fulfil.
func holds(operator string, wanted, got []string) bool {
	if operator == "Null" {
		return (len(got) == 0) == (wanted[0] == "true")
	}
	quantifier, comparison, qualified := strings.Cut(operator, ":")
	if !qualified {
		quantifier, comparison = "", operator
	}
	comparison, optional := strings.CutSuffix(comparison, "IfExists")
	if optional && len(got) == 0 {
		return true
	}
	name, negated := comparison, false
	if before, after, ok := strings.Cut(comparison, "Not"); ok {
		name, negated = before+after, true
	}
	matches := func(v string) bool {
		switch name {
		case "StringEquals", "ArnEquals", "Bool":
			return slices.Contains(wanted, v) || name == "ArnEquals" && like(wanted, v, false)
		case "StringLike", "ArnLike":
			return like(wanted, v, false)
		}
		panic(fmt.Sprintf("the operator %s is new to this package", operator))
	}
	matches("")
	holdsFor := func(v string) bool { return matches(v) != negated }
	switch quantifier {
	case "ForAllValues":
		return !slices.ContainsFunc(got, func(v string) bool { return !holdsFor(v) })
	case "ForAnyValue":
		return slices.ContainsFunc(got, holdsFor)
	case "":
		if len(got) > 1 {
			panic(fmt.Sprintf("%s of the values %q", operator, got))
		}
		return len(got) == 1 && holdsFor(got[0]) || len(got) == 0 && negated
	}
	panic(fmt.Sprintf("the operator %s is new to this package", operator))
}

// patterns are compiled wildcards.
var patterns sync.Map

// like reports whether a value matches one of the patterns, where * stands for anything,
// slashes included, and ? for one character.
func like(list []string, value string, fold bool) bool {
	for _, p := range list {
		if p == "*" || p == value || fold && strings.EqualFold(p, value) {
			return true
		}
		if !strings.ContainsAny(p, "*?") {
			continue
		}
		text := regexp.QuoteMeta(p)
		if fold {
			text = "(?i)" + text
		}
		re, ok := patterns.Load(text)
		if !ok {
			re = regexp.MustCompile("(?s)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(text) + "$")
			patterns.Store(text, re)
		}
		if re.(*regexp.Regexp).MatchString(value) {
			return true
		}
	}
	return false
}
