// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// What a request to AWS names, as IAM sees it: the actions that it needs, the resources of
// each, their tags, and what else the request says that a policy can ask for. All of it is
// taken from the request and from what the simulator has.

// naming finds what one request names.
type naming struct {
	*request
	a *account
}

// needs returns the calls that IAM judges for a request: its own first, then what it needs
// beside, such as the right to hand over a role. An error means that this package does not
// know the request.
func (a *account) needs(r *request) ([]iamtest.Request, error) {
	n := naming{r, a}
	switch r.service {
	case "ec2":
		return n.ec2()
	case "autoscaling":
		return n.autoscaling()
	case "elasticloadbalancing":
		return n.balancing()
	case "dynamodb":
		return n.dynamodb()
	case "s3":
		return n.s3()
	case "ssm":
		return n.ssm()
	case "kms":
		return n.kms()
	case "sts":
		switch r.action {
		case "GetCallerIdentity": // who one is needs no permission
			return nil, nil
		case "AssumeRole":
			return n.assuming(), nil
		}
	case "iam":
		if r.action == "SimulatePrincipalPolicy" {
			return one("iam:"+r.action, r.form.Get("PolicySourceArn")), nil
		}
		if name := r.form.Get("RoleName"); name != "" {
			return one("iam:"+r.action, "arn:aws:iam::"+a.cloud.ID+":role/"+name), nil
		}
	case "servicequotas":
		return one("servicequotas:GetServiceQuota", n.arn("servicequotas", "ec2/L-1216C47A")), nil
	case "scheduler":
		return n.schedule()
	case "monitoring":
		return n.alarms()
	case "route53":
		return n.records()
	case "codebuild", "logs", "sns", "events", "cloudformation":
		return n.others()
	}
	return nil, fmt.Errorf("what %s %s names is not known", r.service, r.action)
}

// one returns a call on resources without tags.
func one(action string, arns ...string) []iamtest.Request {
	call := iamtest.Request{Action: action}
	for _, arn := range arns {
		call.Resources = append(call.Resources, iamtest.Resource{ARN: arn})
	}
	return []iamtest.Request{call}
}

// arn returns the ARN of a resource of the account in the request's region.
func (n naming) arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, n.region, n.a.cloud.ID, resource)
}

// decode reads the JSON of the request.
func (n naming) decode(v any) error {
	if err := json.Unmarshal(n.body, v); err != nil {
		return fmt.Errorf("%s: %w", n.action, err)
	}
	return nil
}

// passing returns the call that hands a role over to a service.
func passing(role, service string) iamtest.Request {
	return iamtest.Request{Action: "iam:PassRole", Resources: []iamtest.Resource{{ARN: role}}, Context: map[string][]string{"iam:PassedToService": {service}}}
}

var tagItem = regexp.MustCompile(`(?s)<Key>([^<]*)</Key>\s*<Value(?:/>|>([^<]*)</Value>)`)

func tagsIn(body []byte) map[string]string {
	tags := map[string]string{}
	for _, m := range tagItem.FindAllSubmatch(body, -1) {
		tags[string(m[1])] = string(m[2])
	}
	return tags
}

// numbered returns the values of a list in a form, as of Key.1 and Key.2, or of
// Key.member.1.
func numbered(form url.Values, key string) (list []string) {
	for i := 1; ; i++ {
		v, ok := form[fmt.Sprintf("%s.%d", key, i)]
		if !ok {
			return list
		}
		list = append(list, v[0])
	}
}

// pairs returns the tags in a form, as of Key.1.Key and Key.1.Value.
func pairs(form url.Values, key string) map[string]string {
	tags := map[string]string{}
	for i := 1; ; i++ {
		name, ok := form[fmt.Sprintf("%s.%d.Key", key, i)]
		if !ok {
			return tags
		}
		tags[name[0]] = form.Get(fmt.Sprintf("%s.%d.Value", key, i))
	}
}

// balancing is Elastic Load Balancing. Who creates something there must be able to describe
// what of EC2 it stands in, as its user guide has it.
func (n naming) balancing() ([]iamtest.Request, error) {
	action, form := "elasticloadbalancing:"+n.action, n.form
	if strings.HasPrefix(n.action, "Describe") {
		return one(action), nil
	}
	tags := pairs(form, "Tags.member")
	asked := iamtest.Asking(tags)
	var calls []iamtest.Request
	switch n.action {
	case "CreateLoadBalancer", "CreateTargetGroup":
		kind := map[string]string{"CreateLoadBalancer": "loadbalancer/app/", "CreateTargetGroup": "targetgroup/"}[n.action]
		made := iamtest.Resource{ARN: n.arn("elasticloadbalancing", kind+form.Get("Name")+"/*")}
		calls = append(calls, iamtest.Request{Action: action, Context: asked, Resources: []iamtest.Resource{made}})
		calls = append(calls, n.tagging(made, asked)...)
		for _, what := range dependent[n.action] {
			calls = append(calls, one("ec2:Describe"+what)...)
		}
		return calls, nil
	case "CreateListener":
		balancer := form.Get("LoadBalancerArn")
		calls = append(calls, iamtest.Request{Action: action, Context: asked, Resources: []iamtest.Resource{n.balanced(balancer)}})
		return append(calls, n.tagging(iamtest.Resource{ARN: strings.Replace(balancer, ":loadbalancer/", ":listener/", 1) + "/*"}, asked)...), nil
	}
	if n.action == "CreateRule" {
		listener := form.Get("ListenerArn")
		calls = append(calls, iamtest.Request{Action: action, Context: asked, Resources: []iamtest.Resource{n.balanced(listener)}})
		return append(calls, n.tagging(iamtest.Resource{ARN: strings.Replace(listener, ":listener/", ":listener-rule/", 1) + "/*"}, asked)...), nil
	}
	call := iamtest.Request{Action: action, Context: asked}
	for _, arn := range append(numbered(form, "ResourceArns.member"), form.Get("RuleArn"), form.Get("ListenerArn"), form.Get("LoadBalancerArn"), form.Get("TargetGroupArn")) {
		if arn != "" {
			call.Resources = append(call.Resources, n.balanced(arn))
		}
	}
	if len(call.Resources) > 0 {
		return []iamtest.Request{call}, nil
	}
	return nil, fmt.Errorf("what %s names is not known: %v", action, form)
}

// dependent is what of EC2 a caller must be able to describe, by action of Elastic Load
// Balancing, as its user guide has it.
var dependent = map[string][]string{
	"CreateLoadBalancer": {"AccountAttributes", "Addresses", "InternetGateways", "SecurityGroups", "Subnets", "Vpcs"},
	"CreateTargetGroup":  {"InternetGateways", "Vpcs"},
}

// tagging returns the call by which something gets its tags as it is made.
func (n naming) tagging(made iamtest.Resource, asked map[string][]string) []iamtest.Request {
	if len(asked) == 0 {
		return nil
	}
	call := iamtest.Request{Action: "elasticloadbalancing:AddTags", Resources: []iamtest.Resource{made}, Context: map[string][]string{"elasticloadbalancing:CreateAction": {n.action}}}
	for k, v := range asked {
		call.Context[k] = v
	}
	return []iamtest.Request{call}
}

// balanced returns a load balancer, a listener or a target group with its tags.
func (n naming) balanced(arn string) iamtest.Resource {
	got := n.a.query(n.request, "elasticloadbalancing", "DescribeTags", url.Values{"ResourceArns.member.1": {arn}})
	return iamtest.Resource{ARN: arn, Tags: tagsIn(got.body)}
}

// s3 is Amazon S3.
func (n naming) s3() ([]iamtest.Request, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(n.URL.Path, "/"), "/")
	arn, query := "arn:aws:s3:::"+bucket, n.URL.Query()
	policy := n.a.bucketPolicy(bucket)
	on := func(action, arn string, context map[string][]string) []iamtest.Request {
		return []iamtest.Request{{Action: action, Context: context, Resources: []iamtest.Resource{{ARN: arn, Policy: policy}}}}
	}
	switch {
	case key == "" && (n.Method == http.MethodGet || n.Method == http.MethodHead):
		switch {
		case query.Has("versions"):
			return on("s3:ListBucketVersions", arn, nil), nil
		case query.Has("encryption"):
			return on("s3:GetEncryptionConfiguration", arn, nil), nil
		}
		context := map[string][]string{}
		if query.Has("prefix") {
			context["s3:prefix"] = []string{query.Get("prefix")}
		}
		return on("s3:ListBucket", arn, context), nil
	case key == "" && n.Method == http.MethodPost && query.Has("delete"):
		var calls []iamtest.Request
		for _, m := range objectKey.FindAllSubmatch(n.body, -1) {
			calls = append(calls, on("s3:DeleteObject", arn+"/"+string(m[1]), nil)...)
		}
		return calls, nil
	case key == "" && n.Method == http.MethodPut && query.Has("policy"):
		return on("s3:PutBucketPolicy", arn, nil), nil
	case key == "":
		return nil, fmt.Errorf("%s of bucket %s is not known", n.Method, bucket)
	case n.Method == http.MethodDelete:
		return on("s3:DeleteObject", arn+"/"+key, nil), nil
	case n.Method == http.MethodPut && query.Has("acl"):
		return on("s3:PutObjectAcl", arn+"/"+key, nil), nil
	case n.Method == http.MethodPut || n.Method == http.MethodPost:
		context := map[string][]string{}
		if condition := n.Header.Get("If-None-Match"); condition != "" {
			context["s3:if-none-match"] = []string{condition}
		}
		calls := on("s3:PutObject", arn+"/"+key, context)
		if from := n.Header.Get("x-amz-copy-source"); from != "" {
			calls = append(calls, on("s3:GetObject", "arn:aws:s3:::"+strings.TrimPrefix(from, "/"), nil)...)
		}
		return calls, nil
	case query.Has("versionId"):
		return on("s3:GetObjectVersion", arn+"/"+key, nil), nil
	default:
		return on("s3:GetObject", arn+"/"+key, nil), nil
	}
}

var objectKey = regexp.MustCompile(`<Key>([^<]*)</Key>`)

// ssm is Systems Manager.
func (n naming) ssm() ([]iamtest.Request, error) {
	var in struct {
		Name, ResourceType, ResourceId, DocumentName string
		Names, InstanceIds                           []string
		OutputS3BucketName, OutputS3KeyPrefix        string
		Tags                                         []struct{ Key, Value string }
	}
	if err := n.decode(&in); err != nil {
		return nil, err
	}
	action := "ssm:" + n.action
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[t.Key] = t.Value
	}
	asked := iamtest.Asking(tags)
	switch n.action {
	case "SendCommand":
		call := iamtest.Request{Action: action, Resources: append(n.machines(in.InstanceIds), iamtest.Resource{ARN: n.document(in.DocumentName)})}
		if in.OutputS3BucketName != "" {
			call.Resources = append(call.Resources, iamtest.Resource{ARN: "arn:aws:s3:::" + in.OutputS3BucketName})
		}
		return []iamtest.Request{call}, nil
	case "GetCommandInvocation", "CancelCommand", "DescribeInstanceInformation", "DescribeParameters":
		return one(action), nil
	case "GetParameters":
		var arns []string
		for _, name := range in.Names {
			arns = append(arns, n.parameter(name))
		}
		return one(action, arns...), nil
	case "AddTagsToResource", "ListTagsForResource", "RemoveTagsFromResource":
		if in.ResourceType == "Parameter" {
			return []iamtest.Request{{Action: action, Context: asked, Resources: []iamtest.Resource{{ARN: n.parameter(in.ResourceId)}}}}, nil
		}
	case "GetParameter", "PutParameter", "DeleteParameter", "GetParameterHistory", "LabelParameterVersion", "UnlabelParameterVersion":
		calls := []iamtest.Request{{Action: action, Context: asked, Resources: []iamtest.Resource{{ARN: n.parameter(in.Name)}}}}
		if len(tags) > 0 {
			calls = append(calls, iamtest.Request{Action: "ssm:AddTagsToResource", Context: asked, Resources: calls[0].Resources})
		}
		return calls, nil
	}
	return nil, fmt.Errorf("what %s names is not known: %s", action, n.body)
}

// document returns the ARN of a document; AWS's own have no account.
func (n naming) document(name string) string {
	if strings.HasPrefix(name, "AWS-") {
		return fmt.Sprintf("arn:aws:ssm:%s::document/%s", n.region, name)
	}
	return n.arn("ssm", "document/"+name)
}

// parameter returns the ARN of a parameter; AWS's own have no account.
func (n naming) parameter(name string) string {
	switch {
	case strings.HasPrefix(name, "arn:"):
		return name
	case strings.HasPrefix(name, "/aws/service/"):
		return fmt.Sprintf("arn:aws:ssm:%s::parameter%s", n.region, name)
	}
	return n.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/"))
}

// schedule is EventBridge Scheduler. Who makes a schedule hands over its role.
func (n naming) schedule() ([]iamtest.Request, error) {
	name, isOne := strings.CutPrefix(n.URL.Path, "/schedules/")
	if !isOne {
		return nil, fmt.Errorf("what %s %s names is not known", n.Method, n.URL.Path)
	}
	group := n.URL.Query().Get("groupName")
	var in struct {
		GroupName string
		Target    struct{ RoleArn string }
	}
	action := map[string]string{http.MethodPost: "Create", http.MethodPut: "Update", http.MethodDelete: "Delete", http.MethodGet: "Get"}[n.Method]
	var calls []iamtest.Request
	if action == "Create" || action == "Update" {
		if err := n.decode(&in); err != nil {
			return nil, err
		}
		group = in.GroupName
		calls = append(calls, passing(in.Target.RoleArn, "scheduler.amazonaws.com"))
	}
	if group == "" {
		group = "default"
	}
	return append(one("scheduler:"+action+"Schedule", n.arn("scheduler", "schedule/"+group+"/"+name)), calls...), nil
}

// alarms is CloudWatch.
func (n naming) alarms() ([]iamtest.Request, error) {
	in, err := alarmsAsked(n.request)
	if err != nil {
		return nil, err
	}
	name, _ := in["AlarmName"].(cbor.String)
	if arn, ok := in["ResourceARN"].(cbor.String); ok {
		_, after, _ := strings.Cut(string(arn), ":alarm:")
		name = cbor.String(after)
	}
	if name == "" {
		return one("cloudwatch:"+n.action, n.arn("cloudwatch", "alarm:*")), nil
	}
	of := iamtest.Resource{ARN: n.arn("cloudwatch", "alarm:"+string(name)), Tags: map[string]string{}}
	n.a.mu.Lock()
	defer n.a.mu.Unlock()
	for _, t := range n.a.alarmTags[string(name)] {
		if tag, ok := t.(cbor.Map); ok {
			of.Tags[fmt.Sprint(tag["Key"])] = fmt.Sprint(tag["Value"])
		}
	}
	call := iamtest.Request{Action: "cloudwatch:" + n.action, Resources: []iamtest.Resource{of}, Context: map[string][]string{}}
	for _, kind := range []string{"AlarmActions", "OKActions", "InsufficientDataActions"} {
		actions, _ := in[kind].(cbor.List)
		for _, arn := range actions {
			call.Context["cloudwatch:AlarmActions"] = append(call.Context["cloudwatch:AlarmActions"], fmt.Sprint(arn))
		}
	}
	return []iamtest.Request{call}, nil
}

// others are services of which little is called.
func (n naming) others() ([]iamtest.Request, error) {
	action := n.service + ":" + n.action
	if n.service == "sns" && n.action == "Publish" {
		return one(action, n.form.Get("TopicArn")), nil
	}
	if n.service == "cloudformation" {
		switch name := n.form.Get("StackName"); {
		case strings.HasPrefix(name, "arn:"):
			return one(action, name), nil
		case name != "":
			return one(action, n.arn(n.service, "stack/"+name+"/*")), nil
		}
		return nil, fmt.Errorf("%s of no stack is not known", action)
	}
	var in struct {
		Names, Ids                  []string // of CodeBuild
		ID                          string
		ProjectName                 string
		LogGroupName, LogStreamName string
		Entries                     []struct{ Source, DetailType, EventBusName string }
	}
	if err := n.decode(&in); err != nil {
		return nil, err
	}
	var arns []string
	switch n.service {
	case "codebuild":
		for _, name := range slices.Concat(in.Names, in.Ids, []string{in.ID, in.ProjectName}) {
			if name, _, _ = strings.Cut(name, ":"); name != "" { // builds are named by their project
				arns = append(arns, n.arn(n.service, "project/"+name))
			}
		}
		return one(action, arns...), nil
	case "logs":
		return one(action, n.arn(n.service, "log-group:"+in.LogGroupName+":log-stream:"+in.LogStreamName)), nil
	case "events":
		var calls []iamtest.Request
		for _, e := range in.Entries { // each is judged
			bus := e.EventBusName
			if bus == "" {
				bus = "default"
			}
			calls = append(calls, iamtest.Request{Action: action, Resources: []iamtest.Resource{{ARN: n.arn(n.service, "event-bus/"+bus)}},
				Context: map[string][]string{"events:source": {e.Source}, "events:detail-type": {e.DetailType}}})
		}
		return calls, nil
	}
	return nil, fmt.Errorf("what %s names is not known", action)
}
