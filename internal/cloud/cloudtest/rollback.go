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

// rollback is a change of a stack that failed, and that CloudFormation has taken back, or a
// deletion that failed.
type rollback struct {
	stack  string // its ID
	status string
	events string // as XML, newest first
	n      int    // of events
}

// happens adds an event of one of the stack's resources.
func (b *rollback) happens(logical, physical, kind, status, reason string) {
	b.n++
	b.events = fmt.Sprintf("<member><StackId>%s</StackId><EventId>%s-%s-%d</EventId><StackName>%s</StackName><LogicalResourceId>%s</LogicalResourceId><PhysicalResourceId>%s</PhysicalResourceId><ResourceType>%s</ResourceType><Timestamp>%s</Timestamp><ResourceStatus>%s</ResourceStatus><ResourceStatusReason>%s</ResourceStatusReason></member>",
		b.stack, status, logical, b.n, stackName(b.stack), logical, physical, kind, time.Now().UTC().Format(time.RFC3339), status, escape(reason)) + b.events
}

// whole adds an event of the stack itself.
func (b *rollback) whole(status, reason string) {
	b.status = status
	b.happens(stackName(b.stack), b.stack, "AWS::CloudFormation::Stack", status, reason)
}

// stackName returns the name of a stack from its ID.
func stackName(id string) string {
	_, name, _ := strings.Cut(id, ":stack/")
	name, _, _ = strings.Cut(name, "/")
	return name
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
		done := rollback{stack: stack}
		done.whole(verb+"_IN_PROGRESS", "User Initiated")
		done.happens(name, "", resource.Type, verb+"_IN_PROGRESS", "")
		done.happens(name, "", resource.Type, verb+"_FAILED", reason)
		done.whole(back+"_IN_PROGRESS", "The following resource(s) failed to create: ["+name+"]. Rollback requested by user.")
		done.whole(back+"_COMPLETE", "")
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
