// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package iamtest judges requests to AWS as IAM does, for tests: by the policies of who
// makes them, those of what they are made to, and AWS's own table of which resources and
// condition keys an action knows. It knows neither services nor requests: package cloudtest
// says what a request names, and package bootstrap has the roles.
//
//	stack := iamtest.Deploy(bootstrap.Template(), nil)
//	deployer := stack.Role("DeployerRole")
//	err := deployer.May(iamtest.Request{Action: "ec2:StopInstances", Resources: []iamtest.Resource{
//		{ARN: "arn:aws:ec2:eu-west-1:123456789012:instance/i-1", Tags: map[string]string{"penstock:stack": "penstock"}},
//	}})
//
// Of IAM it has what Penstock's policies use: identity policies, permissions boundaries,
// policies of resources and of keys, trust, refusals, several accounts. It has no session
// policies, no service or resource control policies and no policy variables.
package iamtest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// data is AWS's Service Authorization Reference of the services that Penstock calls, as
// tools/iamdata writes it: `make iam-data`.
//
//go:embed testdata/iam.json
var data []byte

// table is what AWS says of its actions.
type table struct {
	Package, Version, Date string
	License                string
	Resources              map[string]*resourceType // by service and name, as in "ec2:image"
	Actions                map[string]*actionEntry  // by name, as in "ec2:CopyImage"
	Keys                   [][]string               // sets of condition keys, by the number that entries have
}

type resourceType struct {
	ARN  string // with variables, as in ${Region}
	Keys int

	pattern *regexp.Regexp
}

type actionEntry struct {
	Keys      int
	Resources map[string]struct { // by type, without the service
		Required bool
		Keys     int
	}
	Dependent []string
}

var variable = regexp.MustCompile(`\\\$\\\{[^}]*\\\}`)

// reference returns the table.
var reference = sync.OnceValue(func() *table {
	var t table
	if err := json.Unmarshal(data, &t); err != nil {
		panic(fmt.Sprintf("read the table of IAM: %v", err))
	}
	for _, r := range t.Resources {
		r.pattern = regexp.MustCompile("^" + variable.ReplaceAllString(regexp.QuoteMeta(r.ARN), ".*") + "$")
	}
	return &t
})

// Origin says which version of which package the table comes from.
func Origin() string {
	t := reference()
	return fmt.Sprintf("%s %s (%s)", t.Package, t.Version, t.Date)
}

// Known reports whether AWS has an action.
func Known(action string) bool { return reference().Actions[action] != nil }

// typeOf returns the type of a resource among those that the action knows; "" for none.
// Where several fit, as loadbalancer and loadbalancer/app/, it is the narrowest.
func (t *table) typeOf(action, arn string) string {
	service, _, _ := strings.Cut(action, ":")
	found, length := "", 0
	try := func(name string) {
		if r := t.Resources[service+":"+name]; r != nil && len(r.ARN) > length && r.pattern.MatchString(arn) {
			found, length = name, len(r.ARN)
		}
	}
	for name := range t.Actions[action].Resources {
		try(name)
	}
	if t.classic(action) {
		for name := range t.Resources {
			if name, own := strings.CutPrefix(name, service+":"); own {
				try(name)
			}
		}
	}
	return found
}

// classic reports whether the table has an action of Elastic Load Balancing as classic load
// balancers know it. AWS has a page for these and another for what came after them, with
// one prefix, and the package has one entry for what is on both: the first, which knows
// nothing of listeners and target groups.
func (t *table) classic(action string) bool {
	_, has := t.Actions[action].Resources["loadbalancer"]
	return has && strings.HasPrefix(action, "elasticloadbalancing:")
}

// lacking returns a type of resources that the action requires and that is not among those
// that were named; "" for none. Of types that are variants of one, as listener/app and
// listener/net are, any will do.
func (t *table) lacking(action string, named []string) string {
	kind := func(name string) string { before, _, _ := strings.Cut(name, "/"); return before }
	for name, r := range t.Actions[action].Resources {
		if r.Required && !t.classic(action) && !slices.ContainsFunc(named, func(n string) bool { return kind(n) == kind(name) }) {
			return name
		}
	}
	return ""
}

// supports reports whether a condition key is in the context of an action on a resource of
// a type, which is "" where the action is on none. Keys that the action lists for the type
// are all that count of it; where it lists none, those of the type do.
func (t *table) supports(action, of, key string) bool {
	if global(key) {
		return true
	}
	entry := t.Actions[action]
	sets := [][]string{t.Keys[entry.Keys]}
	if of != "" {
		own := entry.Resources[of].Keys
		if own == 0 {
			service, _, _ := strings.Cut(action, ":")
			own = t.Resources[service+":"+of].Keys
		}
		sets = append(sets, t.Keys[own])
	}
	for _, set := range sets {
		for _, known := range set {
			prefix, _, open := strings.Cut(known, "${")
			if strings.EqualFold(known, key) || open && len(key) >= len(prefix) && strings.EqualFold(prefix, key[:len(prefix)]) {
				return true
			}
		}
	}
	return false
}

// global reports whether a key is in every context: one of AWS's own, but for tags, which
// an action must support.
func global(key string) bool {
	k := strings.ToLower(key)
	return strings.HasPrefix(k, "aws:") && !strings.HasPrefix(k, "aws:requesttag/") && !strings.HasPrefix(k, "aws:resourcetag/") && k != "aws:tagkeys"
}

// Takes reports whether an action is on resources: one that is not is on all of them.
func Takes(action string) bool {
	entry := reference().Actions[action]
	return entry != nil && len(entry.Resources) > 0
}
