// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package iamtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// Stack is a template as CloudFormation would deploy it: its conditions are decided, and
// its functions evaluated. What exists has the name that AWS would return for it where
// policies use it, an ARN of roles, keys, tables, topics and buckets, else its logical ID,
// with the attribute behind it.
type Stack struct {
	Resources map[string]map[string]any // that exist, by logical ID
	Outputs   map[string]string

	raw   map[string]any
	given map[string]string
	names map[string]any // of parameters
}

// templates are parsed once.
var templates sync.Map

// Deploy evaluates a template. Given are parameters, among them AWS's own, and names of
// resources and of their attributes, as "Bucket" or "InstanceRole.Arn". It panics on what
// CloudFormation would refuse, and on what is new to this package.
func Deploy(template string, given map[string]string) *Stack {
	raw, ok := templates.Load(template)
	if !ok {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(template), &doc); err != nil {
			panic(fmt.Sprintf("parse the template: %v", err))
		}
		raw, _ = templates.LoadOrStore(template, plain(&doc))
	}
	s := &Stack{raw: raw.(map[string]any), given: given, Resources: map[string]map[string]any{}, Outputs: map[string]string{}}
	s.names = map[string]any{
		"AWS::StackName": "penstock", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::NoValue": nil,
	}
	for name := range s.names {
		if v, ok := given[name]; ok {
			s.names[name] = v
		}
	}
	for name, p := range s.section("Parameters") {
		value := p.(map[string]any)["Default"].(string)
		if v, ok := given[name]; ok {
			value = v
		}
		s.names[name] = value
		if p.(map[string]any)["Type"] == "CommaDelimitedList" {
			var list []any
			for v := range strings.SplitSeq(value, ",") {
				list = append(list, v)
			}
			s.names[name] = list
		}
	}
	for name, r := range s.section("Resources") {
		if resource := r.(map[string]any); s.exists(resource) {
			s.Resources[name] = s.value(resource).(map[string]any)
		}
	}
	for name, o := range s.section("Outputs") {
		if output := o.(map[string]any); s.exists(output) {
			s.Outputs[name] = s.value(output["Value"]).(string)
		}
	}
	return s
}

// Properties returns the properties of a resource, which must exist.
func (s *Stack) Properties(resource string) map[string]any {
	r, ok := s.Resources[resource]
	if !ok {
		panic("there is no resource " + resource)
	}
	return r["Properties"].(map[string]any)
}

// Roles returns the logical IDs of the stack's roles, sorted.
func (s *Stack) Roles() (names []string) {
	for name, r := range s.Resources {
		if r["Type"] == "AWS::IAM::Role" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Role returns a role of the stack: its own policies and the stack's that it has. It panics
// on a policy that AWS manages, as it can't judge what that allows: but for that of the SSM
// agent, which templates of before had.
func (s *Stack) Role(name string) Principal {
	properties := s.Properties(name)
	p := Principal{ARN: s.attribute(name + ".Arn").(string), Account: s.names["AWS::AccountId"].(string), Trust: ParsePolicy(properties["AssumeRolePolicyDocument"])}
	inline, _ := properties["Policies"].([]any)
	for _, v := range inline {
		p.Policies = append(p.Policies, ParsePolicy(v.(map[string]any)["PolicyDocument"])...)
	}
	managed, _ := properties["ManagedPolicyArns"].([]any)
	for _, policy := range managed {
		if _, name, byAWS := strings.Cut(policy.(string), ":aws:policy/"); !byAWS {
			p.Policies = append(p.Policies, ParsePolicy(s.Properties(policy.(string))["PolicyDocument"])...)
		} else if name != "AmazonSSMManagedInstanceCore" {
			panic("the policy " + name + " of AWS's is new to this package")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Resources)) { // those that name their roles themselves
		r := s.Resources[id]
		if r["Type"] == "AWS::IAM::ManagedPolicy" && slices.Contains(Strings(s.Properties(id)["Roles"]), name) {
			p.Policies = append(p.Policies, ParsePolicy(s.Properties(id)["PolicyDocument"])...)
		}
	}
	return p
}

func (s *Stack) section(name string) map[string]any { return s.raw[name].(map[string]any) }

func (s *Stack) exists(thing map[string]any) bool {
	name, ok := thing["Condition"].(string)
	return !ok || s.holds(map[string]any{"Condition": name})
}

// plain returns a node as plain values, with the short forms of functions written out.
func plain(n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.ScalarNode:
		v = n.Value
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			list = append(list, plain(c))
		}
		v = list
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				panic(fmt.Sprintf("line %d: %s is there twice", n.Line, key))
			}
			m[key] = plain(n.Content[i+1])
		}
		v = m
	default:
		panic(fmt.Sprintf("line %d: CloudFormation knows no aliases", n.Line))
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
func (s *Stack) value(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			if e = s.value(e); e != nil { // not AWS::NoValue
				list = append(list, e)
			}
		}
		return list
	case map[string]any:
		for name, argument := range v {
			if len(v) == 1 && (name == "Ref" || strings.HasPrefix(name, "Fn::")) {
				return s.function(name, argument)
			}
		}
		m := map[string]any{}
		for k, e := range v {
			if e = s.value(e); e != nil {
				m[k] = e
			}
		}
		return m
	default:
		return v
	}
}

func (s *Stack) function(name string, argument any) any {
	switch name {
	case "Ref":
		return s.reference(argument.(string))
	case "Fn::GetAtt":
		return s.attribute(argument.(string))
	case "Fn::GetAZs":
		return []any{"a", "b", "c"}
	case "Fn::Sub":
		return s.substitute(argument)
	}
	list := argument.([]any)
	switch name {
	case "Fn::If":
		if s.holds(map[string]any{"Condition": list[0]}) {
			return s.value(list[1])
		}
		return s.value(list[2])
	case "Fn::Join":
		return strings.Join(Strings(s.value(list[1])), list[0].(string))
	case "Fn::Split":
		return anys(strings.Split(s.value(list[1]).(string), list[0].(string)))
	case "Fn::Select":
		var i int
		_, _ = fmt.Sscan(list[0].(string), &i)
		return s.value(list[1]).([]any)[i]
	}
	panic(fmt.Sprintf("the function %s is new to this package", name))
}

func anys(list []string) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}

// reference returns a parameter, or the name of a resource, which must exist.
func (s *Stack) reference(name string) any {
	if p, ok := s.names[name]; ok {
		return p
	}
	resource := s.existing(name)
	if v, ok := s.given[name]; ok {
		return v
	}
	if resource["Type"] == "AWS::SNS::Topic" {
		return s.arn("sns", "penstock-"+name)
	}
	return name
}

// attribute returns what AWS calls an attribute of a resource, which must exist.
func (s *Stack) attribute(path string) any {
	name, attribute, _ := strings.Cut(path, ".")
	resource := s.existing(name)
	if v, ok := s.given[path]; ok {
		return v
	}
	switch resource["Type"].(string) + "." + attribute {
	case "AWS::IAM::Role.Arn":
		path, _ := s.value(resource["Properties"].(map[string]any)["Path"]).(string)
		return fmt.Sprintf("arn:%s:iam::%s:role%s%s-%s", s.names["AWS::Partition"], s.names["AWS::AccountId"], cmp.Or(path, "/"), s.names["AWS::StackName"], name)
	case "AWS::S3::Bucket.Arn":
		return fmt.Sprintf("arn:%s:s3:::%s", s.names["AWS::Partition"], s.reference(name))
	case "AWS::KMS::Key.Arn":
		return s.arn("kms", "key/"+name)
	case "AWS::DynamoDB::Table.StreamArn":
		return s.arn("dynamodb", fmt.Sprintf("table/%s/stream/1", s.reference(name)))
	}
	return path
}

func (s *Stack) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", s.names["AWS::Partition"], service, s.names["AWS::Region"], s.names["AWS::AccountId"], resource)
}

func (s *Stack) existing(name string) map[string]any {
	r, ok := s.section("Resources")[name].(map[string]any)
	if !ok || !s.exists(r) {
		panic(fmt.Sprintf("a reference to %s, which does not exist", name))
	}
	return r
}

func (s *Stack) substitute(argument any) string {
	values := map[string]any{}
	text, ok := argument.(string)
	if !ok {
		text = argument.([]any)[0].(string)
		maps.Copy(values, s.value(argument.([]any)[1]).(map[string]any))
	}
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			return text
		}
		name, after, _ := strings.Cut(rest, "}")
		value, ok := values[name]
		switch {
		case ok:
		case strings.Contains(name, "."):
			value = s.attribute(name)
		default:
			value = s.reference(name)
		}
		text = before + value.(string) + after
	}
}

// holds decides a condition.
func (s *Stack) holds(condition any) bool {
	for operator, argument := range condition.(map[string]any) {
		if operator == "Condition" {
			return s.holds(s.section("Conditions")[argument.(string)])
		}
		list := argument.([]any)
		switch operator {
		case "Fn::Equals":
			return s.value(list[0]) == s.value(list[1])
		case "Fn::Not":
			return !s.holds(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(v any) bool { return !s.holds(v) })
		case "Fn::Or":
			return slices.ContainsFunc(list, s.holds)
		}
	}
	panic(fmt.Sprintf("the condition %v is new to this package", condition))
}
