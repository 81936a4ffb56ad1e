// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
)

// deployed is the template as CloudFormation would deploy it with some parameters: its
// conditions are decided, and its functions evaluated. A reference to a resource
// becomes its logical ID, and an attribute of it the ID and the attribute.
type deployed struct {
	t          testing.TB
	raw        map[string]any
	parameters map[string]any
	resources  map[string]map[string]any
	outputs    map[string]string
}

func deploy(t testing.TB, given map[string]string) *deployed {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(bootstrap.Template()), &doc); err != nil {
		t.Fatal(err)
	}
	d := &deployed{t: t, raw: plainOf(t, &doc).(map[string]any), resources: map[string]map[string]any{}, outputs: map[string]string{}}
	d.parameters = map[string]any{"AWS::StackName": "penstock", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::NoValue": nil}
	for name, p := range d.section("Parameters") {
		value := p.(map[string]any)["Default"].(string)
		if v, ok := given[name]; ok {
			value = v
		}
		d.parameters[name] = value
		if p.(map[string]any)["Type"] == "CommaDelimitedList" {
			var list []any
			for v := range strings.SplitSeq(value, ",") {
				list = append(list, v)
			}
			d.parameters[name] = list
		}
	}
	for name, r := range d.section("Resources") {
		if resource := r.(map[string]any); d.exists(resource) {
			d.resources[name] = d.value(resource).(map[string]any)
		}
	}
	for name, o := range d.section("Outputs") {
		if output := o.(map[string]any); d.exists(output) {
			d.outputs[name] = d.value(output["Value"]).(string)
		}
	}
	return d
}

func (d *deployed) section(name string) map[string]any { return d.raw[name].(map[string]any) }

func (d *deployed) exists(thing map[string]any) bool {
	name, ok := thing["Condition"].(string)
	return !ok || d.holds(map[string]any{"Condition": name})
}

// properties returns the properties of a resource that exists.
func (d *deployed) properties(resource string) map[string]any {
	d.t.Helper()
	r, ok := d.resources[resource]
	if !ok {
		d.t.Fatalf("there is no resource %s", resource)
	}
	return r["Properties"].(map[string]any)
}

// plainOf returns a node as plain values, with the short forms of functions written out.
func plainOf(t testing.TB, n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.DocumentNode:
		return plainOf(t, n.Content[0])
	case yaml.ScalarNode:
		v = n.Value
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			list = append(list, plainOf(t, c))
		}
		v = list
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				t.Fatalf("line %d: %s is there twice", n.Line, key)
			}
			m[key] = plainOf(t, n.Content[i+1])
		}
		v = m
	default:
		t.Fatalf("line %d: CloudFormation knows no aliases", n.Line)
	}
	switch tag := strings.TrimPrefix(n.Tag, "!"); {
	case strings.HasPrefix(n.Tag, "!!"):
		return v
	case tag == "Ref":
		return map[string]any{"Ref": v}
	default:
		return map[string]any{"Fn::" + tag: v}
	}
}

// value evaluates the functions in a value.
func (d *deployed) value(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			if e = d.value(e); e != nil { // not AWS::NoValue
				list = append(list, e)
			}
		}
		return list
	case map[string]any:
		for name, argument := range v {
			if len(v) == 1 && (name == "Ref" || strings.HasPrefix(name, "Fn::")) {
				return d.function(name, argument)
			}
		}
		m := map[string]any{}
		for k, e := range v {
			m[k] = d.value(e)
		}
		return m
	default:
		return v
	}
}

func (d *deployed) function(name string, argument any) any {
	switch name {
	case "Ref":
		return d.reference(argument.(string))
	case "Fn::GetAtt":
		d.reference(strings.Split(argument.(string), ".")[0])
		return argument
	case "Fn::GetAZs":
		return []any{"a", "b", "c"}
	case "Fn::Sub":
		return d.substitute(argument)
	}
	list := argument.([]any)
	switch name {
	case "Fn::If":
		if d.holds(map[string]any{"Condition": list[0]}) {
			return d.value(list[1])
		}
		return d.value(list[2])
	case "Fn::Join":
		return strings.Join(stringsOf(d.value(list[1])), list[0].(string))
	case "Fn::Select":
		var i int
		_, _ = fmt.Sscan(list[0].(string), &i)
		return d.value(list[1]).([]any)[i]
	}
	d.t.Fatalf("the function %s is new to this test", name)
	return nil
}

// reference returns a parameter, or the ID of a resource, which must exist.
func (d *deployed) reference(name string) any {
	if p, ok := d.parameters[name]; ok {
		return p
	}
	r, ok := d.section("Resources")[name].(map[string]any)
	if !ok || !d.exists(r) {
		d.t.Fatalf("a reference to %s, which does not exist", name)
	}
	return name
}

func (d *deployed) substitute(argument any) string {
	values := map[string]any{}
	text, ok := argument.(string)
	if !ok {
		text = argument.([]any)[0].(string)
		maps.Copy(values, d.value(argument.([]any)[1]).(map[string]any))
	}
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			return text
		}
		name, after, _ := strings.Cut(rest, "}")
		value, ok := values[name]
		if !ok {
			value = name
			if d.reference(strings.Split(name, ".")[0]); !strings.Contains(name, ".") {
				value = d.reference(name)
			}
		}
		text = before + value.(string) + after
	}
}

// holds decides a condition.
func (d *deployed) holds(condition any) bool {
	for operator, argument := range condition.(map[string]any) {
		if operator == "Condition" {
			return d.holds(d.section("Conditions")[argument.(string)])
		}
		list := argument.([]any)
		switch operator {
		case "Fn::Equals":
			return d.value(list[0]) == d.value(list[1])
		case "Fn::Not":
			return !d.holds(list[0])
		case "Fn::And":
			return d.holds(list[0]) && d.holds(list[1])
		case "Fn::Or":
			return d.holds(list[0]) || d.holds(list[1])
		}
	}
	d.t.Fatalf("the condition %v is new to this test", condition)
	return false
}

// stringsOf returns one string or several as a list.
func stringsOf(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var list []string
	for _, e := range v.([]any) {
		list = append(list, e.(string))
	}
	return list
}
