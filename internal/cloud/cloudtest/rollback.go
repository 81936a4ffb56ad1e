// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// rollback is a change of a stack that failed, and that CloudFormation has taken back.
type rollback struct {
	status string
	events string // as XML, newest first
}

// FailResource makes a resource of the stacks that are made or changed from now on fail, for
// a reason; an empty one ends that. CloudFormation then takes the change back.
func (c *Cloud) FailResource(resource, reason string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.spoiled[resource] = reason; reason == "" {
		delete(a.spoiled, resource)
	}
}

var stackStatus = regexp.MustCompile(`<StackStatus>[^<]*</StackStatus>`)

// spoils returns the answer of a change that fails, and that is taken back; nil for one that
// does not. Nothing of it is there afterwards: resources that the template retains are no
// exception, as none was made before the one that fails.
func (a *account) spoils(r *request, stack, template string, exists bool) *answer {
	var of struct {
		Resources map[string]struct {
			Type string `yaml:"Type"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(template), &of); err != nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, reason := range a.spoiled {
		resource, there := of.Resources[name]
		if !there {
			continue
		}
		verb, back := "CREATE", "ROLLBACK"
		if exists {
			verb, back = "UPDATE", "UPDATE_ROLLBACK"
		}
		_, short, _ := strings.Cut(stack, ":stack/")
		short, _, _ = strings.Cut(short, "/")
		var events []string
		happens := func(logical, physical, kind, status, reason string) {
			events = append(events, fmt.Sprintf("<member><StackId>%s</StackId><EventId>%s-%d</EventId><StackName>%s</StackName><LogicalResourceId>%s</LogicalResourceId><PhysicalResourceId>%s</PhysicalResourceId><ResourceType>%s</ResourceType><Timestamp>%s</Timestamp><ResourceStatus>%s</ResourceStatus><ResourceStatusReason>%s</ResourceStatusReason></member>",
				stack, back, len(events), short, logical, physical, kind, time.Now().UTC().Format(time.RFC3339), status, escape(reason)))
		}
		const whole = "AWS::CloudFormation::Stack"
		happens(short, stack, whole, verb+"_IN_PROGRESS", "User Initiated")
		happens(name, "", resource.Type, verb+"_IN_PROGRESS", "")
		happens(name, "", resource.Type, verb+"_FAILED", reason)
		happens(short, stack, whole, back+"_IN_PROGRESS", "The following resource(s) failed to create: ["+name+"]. Rollback requested by user.")
		happens(short, stack, whole, back+"_COMPLETE", "")
		done := rollback{status: back + "_COMPLETE"}
		for _, e := range events {
			done.events = e + done.events
		}
		a.rolledBack[stack] = done
		got := xml(http.StatusOK, `<ExecuteChangeSetResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><ExecuteChangeSetResult/></ExecuteChangeSetResponse>`)
		return &got
	}
	delete(a.rolledBack, stack)
	return nil
}

// rolled returns what became of a stack, by its ID or its name; nil for nothing bad.
func (a *account) rolled(stack string) *rollback {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, done := range a.rolledBack {
		if id == stack || strings.Contains(id, ":stack/"+stack+"/") {
			return &done
		}
	}
	return nil
}

// describeStackEvents shows what happened to a stack that was rolled back.
func (a *account) describeStackEvents(r *request) answer {
	done := a.rolled(r.form.Get("StackName"))
	if done == nil {
		return a.server.forward(r)
	}
	return xml(http.StatusOK, `<DescribeStackEventsResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStackEventsResult><StackEvents>`+done.events+"</StackEvents></DescribeStackEventsResult></DescribeStackEventsResponse>")
}

// deleteStack forgets what became of a stack. It asks twice where moto stumbles over the
// order in which it deletes the parts of a network: then moto forgets what it left.
func (a *account) deleteStack(r *request) answer {
	got := a.server.forward(r)
	if got.status == http.StatusBadRequest && strings.Contains(string(got.body), "DependencyViolation") {
		got = a.server.forward(r)
	}
	if got.status == http.StatusOK {
		a.mu.Lock()
		defer a.mu.Unlock()
		for id := range a.rolledBack {
			if name := r.form.Get("StackName"); id == name || strings.Contains(id, ":stack/"+name+"/") {
				delete(a.rolledBack, id)
			}
		}
	}
	return got
}
