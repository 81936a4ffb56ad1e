// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	stackID        = regexp.MustCompile(`<StackId>([^<]+)</StackId>`)
	parameterValue = regexp.MustCompile(`(<ParameterValue>)([^<]*)(</ParameterValue>)`)
	pythonList     = strings.NewReplacer("['", "", "', '", ",", "']", "", "[&#39;", "", "&#39;, &#39;", ",", "&#39;]", "")
	projectOutput  = regexp.MustCompile(`<OutputKey>\w*Project</OutputKey>\s*<OutputValue>([^<]+)</OutputValue>`)
	stackParameter = regexp.MustCompile(`(?s)<ParameterKey>([^<]*)</ParameterKey>\s*<ParameterValue(?:/>|>([^<]*)</)`)
)

// createChangeSet remembers the template, which a stack does not return.
func (a *account) createChangeSet(r *request) answer {
	got := a.server.forward(r)
	if id := stackID.FindSubmatch(got.body); got.status == http.StatusOK && id != nil {
		template := r.form.Get("TemplateBody")
		if from := r.form.Get("TemplateURL"); from != "" {
			template = a.object(r, from)
		}
		a.mu.Lock()
		a.stacks[string(id[1])] = template
		a.mu.Unlock()
	}
	return got
}

// object reads an object at the address that AWS has for it.
func (a *account) object(r *request, from string) string {
	at, err := url.Parse(from)
	if err != nil {
		return ""
	}
	bucket, _, _ := strings.Cut(at.Host, ".s3.")
	own := &request{Request: r.Clone(r.Context()), service: "s3", region: r.region, action: "GetObject", account: a}
	own.Header = http.Header{"Authorization": {place.ReplaceAllString(r.Header.Get("Authorization"), "/"+r.region+"/s3/aws4_request")}}
	own.URL = &url.URL{Path: "/" + bucket + at.Path}
	own.Method = http.MethodGet
	return string(a.server.forward(own).body)
}

// executeChangeSet gives the stack its outputs, which moto does only when a stack is
// updated.
func (a *account) executeChangeSet(r *request) answer {
	set := a.query(r, "cloudformation", "DescribeChangeSet", url.Values{"ChangeSetName": {r.form.Get("ChangeSetName")}, "StackName": {r.form.Get("StackName")}})
	got := a.server.forward(r)
	id := stackID.FindSubmatch(set.body)
	if got.status != http.StatusOK || id == nil {
		return got
	}
	a.mu.Lock()
	template := a.stacks[string(id[1])]
	a.mu.Unlock()
	update := url.Values{"StackName": {string(id[1])}, "TemplateBody": {template}}
	described := mendParameters(a.query(r, "cloudformation", "DescribeStacks", url.Values{"StackName": {string(id[1])}}))
	for n, m := range stackParameter.FindAllSubmatch(described.body, -1) {
		at := "Parameters.member." + strconv.Itoa(n+1)
		update.Set(at+".ParameterKey", string(m[1]))
		update.Set(at+".ParameterValue", string(m[2]))
	}
	a.query(r, "cloudformation", "UpdateStack", update)
	a.bootstrapped(r, string(id[1]), template)
	a.makeProjects(a.query(r, "cloudformation", "DescribeStacks", url.Values{"StackName": {string(id[1])}}))
	return got
}

// makeProjects makes the projects of CodeBuild that a stack's outputs name: moto's
// CloudFormation has none.
func (a *account) makeProjects(stack answer) {
	for _, m := range projectOutput.FindAllSubmatch(stack.body, -1) {
		a.cloud.SetProject(string(m[1]), Project{})
	}
}

func (a *account) describeStacks(r *request) answer { return mendParameters(a.server.forward(r)) }

// mendParameters writes lists as AWS does; moto writes them as Python does.
func mendParameters(got answer) answer {
	got.body = parameterValue.ReplaceAllFunc(got.body, func(b []byte) []byte { return []byte(pythonList.Replace(string(b))) })
	return got
}
