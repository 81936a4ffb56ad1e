// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	functionURL    = regexp.MustCompile(`!GetAtt (\w+)\.FunctionUrl`)
	stackID        = regexp.MustCompile(`<StackId>([^<]+)</StackId>`)
	parameterValue = regexp.MustCompile(`(<ParameterValue>)([^<]*)(</ParameterValue>)`)
	pythonList     = strings.NewReplacer("['", "", "', '", ",", "']", "", "[&#39;", "", "&#39;, &#39;", ",", "&#39;]", "")
	projectOutput  = regexp.MustCompile(`<OutputKey>\w*Project</OutputKey>\s*<OutputValue>([^<]+)</OutputValue>`)
	stackParameter = regexp.MustCompile(`(?s)<ParameterKey>([^<]*)</ParameterKey>\s*<ParameterValue(?:/>|>([^<]*)</)`)
)

// createChangeSet remembers the template, which a stack does not return.
func (a *account) createChangeSet(r *request) answer {
	if done := a.rolled(r.form.Get("StackName")); done != nil && done.status == "ROLLBACK_COMPLETE" {
		return r.fail(http.StatusBadRequest, "ValidationError", "Stack:"+r.form.Get("StackName")+" is in ROLLBACK_COMPLETE state and can not be updated.")
	}
	template := r.form.Get("TemplateBody")
	if from := r.form.Get("TemplateURL"); from != "" {
		template = a.object(r, from)
		r.form.Del("TemplateURL")
	}
	template = tagged(template, r.form)
	r.form.Set("TemplateBody", known(template))
	giveDefaults(r.form, template)
	r.body = []byte(r.form.Encode())
	got := a.server.forward(r)
	if id := stackID.FindSubmatch(got.body); got.status == http.StatusOK && id != nil {
		a.mu.Lock()
		a.stacks[string(id[1])] = template
		a.mu.Unlock()
	}
	return got
}

// giveDefaults gives a request the parameters of a template that it leaves at their defaults:
// moto takes those that a later one gives for changed.
func giveDefaults(form url.Values, template string) {
	given, n := map[string]bool{}, 1
	for ; form.Has(parameterName(n)); n++ {
		given[form.Get(parameterName(n))] = true
	}
	var t struct {
		Parameters map[string]struct {
			Default *string `yaml:"Default"`
		} `yaml:"Parameters"`
	}
	if yaml.Unmarshal([]byte(template), &t) != nil {
		return // moto says what is wrong with it
	}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		if p := t.Parameters[name]; p.Default != nil && !given[name] {
			form.Set(parameterName(n), name)
			form.Set("Parameters.member."+strconv.Itoa(n)+".ParameterValue", *p.Default)
			n++
		}
	}
}

func parameterName(n int) string { return "Parameters.member." + strconv.Itoa(n) + ".ParameterKey" }

// known returns a template with the policies of deletion that moto knows, and with addresses
// for functions that have a URL, which moto can't make.
func known(template string) string {
	return functionURL.ReplaceAllString(strings.ReplaceAll(template, "RetainExceptOnCreate", "Retain"), `"https://$1.lambda-url.`+Region+`.on.aws/"`)
}

// tagged returns a template whose buckets and tables have the tags of the stack, as
// CloudFormation gives them to all it makes. Moto does so for things of EC2 alone.
func tagged(template string, form url.Values) string {
	var tags []map[string]string
	for n := 1; form.Has("Tags.member." + strconv.Itoa(n) + ".Key"); n++ {
		tag := "Tags.member." + strconv.Itoa(n)
		tags = append(tags, map[string]string{"Key": form.Get(tag + ".Key"), "Value": form.Get(tag + ".Value")})
	}
	var whole, list yaml.Node
	if len(tags) == 0 || list.Encode(tags) != nil || yaml.Unmarshal([]byte(template), &whole) != nil || len(whole.Content) == 0 {
		return template // moto says what is wrong with it
	}
	resources := valueOf(whole.Content[0], "Resources")
	for i := 1; i < len(resources.Content); i += 2 {
		switch properties := valueOf(resources.Content[i], "Properties"); valueOf(resources.Content[i], "Type").Value {
		case "AWS::S3::Bucket", "AWS::DynamoDB::Table":
			properties.Content = append(properties.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "Tags"}, &list)
		}
	}
	text, err := yaml.Marshal(&whole)
	if err != nil {
		return template
	}
	return string(text)
}

// valueOf returns the value of a mapping's key; an empty node for none.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return &yaml.Node{}
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
	id := stackID.FindSubmatch(set.body)
	if id == nil {
		return a.server.forward(r)
	}
	a.mu.Lock()
	template := a.stacks[string(id[1])]
	a.mu.Unlock()
	exists := !strings.Contains(string(a.query(r, "cloudformation", "DescribeStacks", url.Values{"StackName": {string(id[1])}}).body), "REVIEW_IN_PROGRESS")
	if failed := a.spoils(r, string(id[1]), template, exists); failed != nil {
		return *failed
	}
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		return got
	}
	update := url.Values{"StackName": {string(id[1])}, "TemplateBody": {known(template) + "\n"}} // moto compares texts
	// Moto takes parameters that are at their defaults for changed.
	for n, m := range stackParameter.FindAllSubmatch(mendParameters(set).body, -1) {
		update.Set(parameterName(n+1), string(m[1]))
		update.Set("Parameters.member."+strconv.Itoa(n+1)+".ParameterValue", string(m[2]))
	}
	if updated := a.query(r, "cloudformation", "UpdateStack", update); updated.status != http.StatusOK && !strings.Contains(string(updated.body), "No updates") {
		a.fault("moto can't update stack %s: %s", id[1], updated.body)
		return updated
	}
	a.bootstrapped(r, string(id[1]), template)
	a.bind(r)
	for _, err := range a.roles().stack.Beyond(0) {
		a.fault("IAM refuses what the stack makes: %v", err)
	}
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

func (a *account) describeStacks(r *request) answer {
	got := mendParameters(a.server.forward(r))
	if done := a.rolled(r.form.Get("StackName")); done != nil {
		got.body = stackStatus.ReplaceAll(got.body, []byte("<StackStatus>"+done.status+"</StackStatus>"))
	}
	return got
}

// mendParameters writes lists as AWS does; moto writes them as Python does.
func mendParameters(got answer) answer {
	got.body = parameterValue.ReplaceAllFunc(got.body, func(b []byte) []byte { return []byte(pythonList.Replace(string(b))) })
	return got
}
