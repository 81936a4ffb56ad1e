// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"net/http"
	"regexp"
	"strings"
)

var (
	appID = regexp.MustCompile(`\bapp/(\S+)`)
	write = regexp.MustCompile(`"(Put|Update|Delete|ConditionCheck)"\s*:`)
)

// dependent is what of EC2 a caller must be able to describe, by action of Elastic Load
// Balancing, as its user guide has it.
var dependent = map[string][]string{
	"CreateLoadBalancer": {"AccountAttributes", "Addresses", "InternetGateways", "SecurityGroups", "Subnets", "Vpcs"},
	"CreateTargetGroup":  {"InternetGateways", "Vpcs"},
}

// app returns what the client says it is.
func (r *request) app() string {
	if m := appID.FindStringSubmatch(r.Header.Get("User-Agent")); m != nil {
		return m[1]
	}
	return ""
}

// permissions returns the actions of IAM that the request needs, as the Service
// Authorization Reference has them. Most are named like the request.
func (r *request) permissions() []string {
	switch r.service {
	case "sts": // who one is needs no permission
		if r.action == "GetCallerIdentity" {
			return nil
		}
	case "dynamodb":
		if r.action == "TransactWriteItems" {
			var list []string
			for _, m := range write.FindAllStringSubmatch(string(r.body), -1) {
				list = append(list, "dynamodb:"+m[1]+"Item")
			}
			return list
		}
	case "s3":
		return []string{"s3:" + r.objectAction()}
	case "scheduler":
		return []string{"scheduler:" + map[string]string{http.MethodPost: "Create", http.MethodPut: "Update", http.MethodDelete: "Delete", http.MethodGet: "Get"}[r.Method] + "Schedule"}
	case "elasticloadbalancing":
		list := []string{r.service + ":" + r.action}
		for _, what := range dependent[r.action] {
			list = append(list, "ec2:Describe"+what)
		}
		return list
	case "monitoring":
		return []string{"cloudwatch:" + r.action}
	case "":
		return nil
	}
	return []string{r.service + ":" + r.action}
}

// objectAction returns the action of a request to S3.
func (r *request) objectAction() string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case key == "" && r.Method == http.MethodGet:
		return "ListBucket"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		return "PutObject"
	default:
		return "GetObject"
	}
}
