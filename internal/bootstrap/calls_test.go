// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// rarer are actions that no test on the test cloud has a use for, with what has.
var rarer = map[string]string{
	"iam:CreateServiceLinkedRole": "the first group or load balancer of an account",
	"s3:PutObjectAcl":             "output of commands, by the agent", "s3:GetEncryptionConfiguration": "output of commands, by the agent",
	"kms:GenerateDataKey": "a key of one's own",
}

// What the tests call in a role, the role may; and what a role may, something calls.
func TestPoliciesFitTheCalls(t *testing.T) {
	t.Parallel()
	given := map[string]string{"HostedZones": "arn:aws:route53:::hostedzone/Z0", "RecordNames": "*.shop.example.com", "TargetRoles": "arn:aws:iam::222222222222:role/shop-TargetRole-1", "ReaderRoles": "arn:aws:iam::222222222222:role/shop-TargetReaderRole-1"}
	maps.Copy(given, asTarget)
	d := withCI(t, given)
	calls, anybody := readCalls(t), map[string]bool{}
	for role, actions := range calls {
		may := allowed(d.Role(role).Policies)
		for _, action := range actions {
			anybody[action] = true
			if !slices.Contains(may, action) {
				t.Errorf("%s needs %s, and no statement allows it", role, action)
			}
		}
	}
	for _, role := range []string{cloudtest.Deployer, cloudtest.Launcher, cloudtest.Approver, targetRole, targetReaderRole} {
		for _, action := range allowed(d.Role(role).Policies) {
			if !anybody[action] && rarer[action] == "" {
				t.Errorf("%s allows %s, which nothing calls", role, action)
			}
		}
	}
	for action := range rarer {
		if anybody[action] {
			t.Errorf("%s is called, and need not be listed as rarer", action)
		}
	}
}

// readCalls reads what the tests on the test cloud have recorded: actions by role.
func readCalls(t *testing.T) map[string][]string {
	t.Helper()
	calls := map[string][]string{}
	for line := range strings.Lines(read(t, "testdata/calls.txt")) {
		role, action, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("the line %q names no action", line)
		}
		calls[role] = append(calls[role], action)
	}
	return calls
}

// read returns a file of this package.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	return string(text)
}

// allowed returns the actions that some statement allows.
func allowed(p iamtest.Policy) (actions []string) {
	for _, s := range p {
		if s.Effect == "Allow" {
			actions = append(actions, s.Actions...)
		}
	}
	return actions
}
