// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/apitest"
)

// unfit returns the answer of a request that its service would refuse for its form, and
// fails the test: no client of AWS may send such a one. It is nil for the others.
func (a *account) unfit(r *request) *answer {
	err := apitest.Check(r.Request, r.body, r.service, r.action)
	if err == nil && r.service == "scheduler" {
		err = universal(r.body)
	}
	if err == nil {
		return nil
	}
	a.fault("%s %s: %v", r.service, r.action, err)
	got := r.invalid(err)
	return &got
}

// invalid returns the error of a request of the wrong form, as its service says it.
func (r *request) invalid(err error) answer {
	code := "ValidationException"
	var invalid *apitest.Invalid
	errors.As(err, &invalid)
	switch r.service {
	case "ec2":
		code = "InvalidParameterValue"
		if invalid != nil {
			code = map[apitest.Kind]string{apitest.Unfit: code, apitest.Missing: "MissingParameter", apitest.Unknown: "UnknownParameter"}[invalid.Faults[0].Kind]
		}
	case "s3":
		code = "InvalidArgument"
	case "autoscaling", "elasticloadbalancing", "cloudformation", "iam", "sts":
		code = "ValidationError"
	case "monitoring":
		code = "InvalidParameterValue"
	case "sns":
		code = "InvalidParameter"
	case "codebuild":
		code = "InvalidInputException"
	case "logs":
		code = "InvalidParameterException"
	}
	return r.fail(http.StatusBadRequest, code, err.Error())
}

// signed are names by which requests to services are signed, by their names in targets of
// schedules, where they differ.
var signed = map[string]string{"elasticloadbalancingv2": "elasticloadbalancing", "cloudwatch": "monitoring", "cloudwatchlogs": "logs"}

// universal checks what a schedule will send to the service that its target names: AWS
// finds out when it is due, which is too late.
func universal(body []byte) error {
	var s schedule
	if len(body) == 0 || json.Unmarshal(body, &s) != nil {
		return nil
	}
	_, target, is := strings.Cut(s.Target.Arn, ":aws-sdk:")
	service, action, named := strings.Cut(target, ":")
	if !is || !named {
		return nil
	}
	if own, ok := signed[service]; ok {
		service = own
	}
	return apitest.CheckJSON(service, strings.ToUpper(action[:1])+action[1:], []byte(s.Target.Input))
}
