// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// rarer are actions that the way of a commit to production on AWS, which wrote
// testdata/calls.txt, has no use for, with what has.
var rarer = map[string]string{
	"codebuild:BatchGetBuilds":           `runner = "codebuild"`,
	"codebuild:BatchGetProjects":         `runner = "codebuild"`,
	"codebuild:StartBuild":               `runner = "codebuild"`,
	"codebuild:StopBuild":                `runner = "codebuild"`,
	"logs:GetLogEvents":                  `runner = "codebuild"`,
	"autoscaling:UpdateAutoScalingGroup": "resize",
	"iam:CreateServiceLinkedRole":        "the first group or load balancer of an account",
	"iam:PassRole":                       "RunInstances, CreateSchedule",
	"scheduler:UpdateSchedule":           "extend",
	"ssm:CancelCommand":                  "cancel",
	"ssm:GetParameters":                  "from.ssm_parameter",
	"sns:Publish":                        "notices",
	"ec2:EnableImageDeprecation":         "deprecation",
	"elasticloadbalancing:AddTags":       "tags at creation",
	"ec2:DisableImageDeprecation":        "publish", "ec2:ModifyImageAttribute": "publish.share_with", "ec2:ModifySnapshotAttribute": "publish.share_with",
	"ssm:AddTagsToResource": "publish.ssm_parameter", "ssm:ListTagsForResource": "publish.ssm_parameter",
	"kms:CreateGrant": "publish.share_with", "kms:DescribeKey": "copies with a key", "kms:GenerateDataKeyWithoutPlaintext": "copies with a key",
	"kms:ReEncryptFrom": "copies with a key", "kms:ReEncryptTo": "copies with a key",
	"kms:Decrypt":         "a key of one's own",
	"kms:GenerateDataKey": "a key of one's own",
}

// What the program calls, a deployer may; and what a deployer or launcher may, the
// program calls.
func TestPoliciesFitTheCalls(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Fields(string(text))
	d := deploy(t, nil)
	var allowed []string
	for _, s := range d.policyOf("DeployerRole") {
		if s.effect == "Allow" {
			allowed = append(allowed, s.actions...)
		}
	}
	for _, action := range calls {
		if !slices.Contains(allowed, action) {
			t.Errorf("a deployer needs %s, and no statement allows it", action)
		}
	}
	for _, role := range []string{"DeployerRole", "LauncherRole", "ApproverRole"} {
		for _, s := range d.policyOf(role) {
			for _, action := range s.actions {
				if s.effect == "Allow" && !slices.Contains(calls, action) && rarer[action] == "" {
					t.Errorf("%s allows %s in %s, which nothing calls", role, action, s.sid)
				}
			}
		}
	}
}
