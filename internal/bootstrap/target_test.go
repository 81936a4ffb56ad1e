// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// targetRole is the role of a target, by its name in the template.
const (
	targetRole       = "TargetRole"
	targetReaderRole = "TargetReaderRole"
)

// asTarget makes a stack a target, too, in tests of all roles.
var asTarget = map[string]string{
	"Target": "yes", "TrustedBy": "arn:aws:iam::111111111111:role/penstock-DeployerRole", "ExternalId": "agreed",
	"Readers": "arn:aws:iam::111111111111:role/penstock-ApproverRole",
}

// The role of a target is for the deployers of the stack that it trusts, with the external ID,
// and for nobody else: no launcher of that stack, no other role of it, and nobody of its account
// whose own policies would allow it. And a deployer may take the roles alone that its stack names.
func TestTargetTrust(t *testing.T) {
	t.Parallel()
	const home, abroad = "111111111111", "222222222222"
	given := map[string]string{"AWS::AccountId": home, "Ci": "yes", "Repository": "https://example.com/acme/pipeline.git"}
	there := deploy(t, map[string]string{"AWS::AccountId": abroad, "Support": "no", "Target": "yes", "TrustedBy": deploy(t, given).Role(cloudtest.Deployer).ARN, "ExternalId": "agreed"})
	role := there.Role(targetRole)
	become := func(who iamtest.Principal, external string) error {
		context := map[string][]string{}
		if external != "" {
			context["sts:ExternalId"] = []string{external}
		}
		return who.May(iamtest.Request{Action: "sts:AssumeRole", Context: context, Resources: []iamtest.Resource{{ARN: role.ARN, Account: role.Account, Policy: role.Trust}}})
	}
	if err := become(deploy(t, given).Role(cloudtest.Deployer), "agreed"); err == nil {
		t.Error("a deployer takes a role that its stack does not name")
	}
	given["TargetRoles"] = "arn:aws:iam::333333333333:role/other," + role.ARN
	from := deploy(t, given)
	for _, name := range from.Roles() {
		for external, right := range map[string]bool{"agreed": true, "wrong": false, "": false} {
			if err := become(from.Role(name), external); (err == nil) != (right && name == cloudtest.Deployer) {
				t.Errorf("%s with the external ID %q takes the role: %v", name, external, err)
			}
		}
	}
	all := iamtest.ParsePolicy(map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}})
	for _, account := range []string{home, abroad} {
		if err := become(iamtest.Principal{ARN: "arn:aws:iam::" + account + ":role/people", Account: account, Policies: all}, "agreed"); err == nil {
			t.Errorf("people of account %s take the role", account)
		}
	}
	// In CI it is taken by way of the deployer role.
	if err := from.Role(cloudtest.Runner).MayBecome(from.Role(cloudtest.Deployer)); err != nil {
		t.Error(err)
	}
	if err := role.MayBecome(from.Role(cloudtest.Deployer)); err == nil {
		t.Error("the role of a target can become a deployer of the ledger's stack")
	}
}

// The reader role of a target is for those whom it names, with the external ID of the target: the
// approvers, launchers and deployers of a stack that names the role, and none of its other
// roles. It can look, and do nothing else.
func TestTargetReader(t *testing.T) {
	t.Parallel()
	const home, abroad = "111111111111", "222222222222"
	if _, made := deploy(t, map[string]string{"Support": "no", "Target": "yes", "TrustedBy": "arn:aws:iam::111111111111:role/d"}).Resources[targetReaderRole]; made {
		t.Error("a role is made that nobody asked for")
	}
	given := map[string]string{"AWS::AccountId": home, "Ci": "yes", "Repository": "https://example.com/acme/pipeline.git"}
	var named []string
	for _, name := range []string{cloudtest.Approver, cloudtest.Deployer, cloudtest.Launcher} {
		named = append(named, deploy(t, given).Role(name).ARN)
	}
	there := deploy(t, map[string]string{
		"AWS::AccountId": abroad, "Support": "no", "Target": "yes", "TrustedBy": named[1], "ExternalId": "agreed", "Readers": strings.Join(named, ","), "OwnKey": "yes",
	})
	role := there.Role(targetReaderRole)
	become := func(who iamtest.Principal, external string) error {
		context := map[string][]string{}
		if external != "" {
			context["sts:ExternalId"] = []string{external}
		}
		return who.May(iamtest.Request{Action: "sts:AssumeRole", Context: context, Resources: []iamtest.Resource{{ARN: role.ARN, Account: role.Account, Policy: role.Trust}}})
	}
	for _, name := range deploy(t, given).Roles() {
		if become(deploy(t, given).Role(name), "agreed") == nil {
			t.Errorf("%s takes a role that its stack does not name", name)
		}
	}
	given["ReaderRoles"] = "arn:aws:iam::333333333333:role/other," + role.ARN
	from := deploy(t, given)
	for _, name := range from.Roles() {
		for external, right := range map[string]bool{"agreed": true, "wrong": false, "": false} {
			if err := become(from.Role(name), external); (err == nil) != (right && slices.Contains(named, from.Role(name).ARN)) {
				t.Errorf("%s with the external ID %q takes the role: %v", name, external, err)
			}
		}
	}
	all := iamtest.ParsePolicy(map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}})
	for _, account := range []string{home, abroad} {
		if err := become(iamtest.Principal{ARN: "arn:aws:iam::" + account + ":role/people", Account: account, Policies: all}, "agreed"); err == nil {
			t.Errorf("people of account %s take the role", account)
		}
	}
	for _, name := range there.Roles() {
		if err := role.MayBecome(there.Role(name)); err == nil {
			t.Errorf("who looks can become %s", name)
		}
	}

	bucket, instance := "arn:aws:s3:::"+there.Outputs["Bucket"], "arn:aws:ec2:eu-west-1:222222222222:instance/i-1"
	stack := "arn:aws:cloudformation:eu-west-1:222222222222:stack/"
	tagged := map[string][]string{"aws:ResourceTag/penstock:stack": {"penstock"}}
	for _, call := range []struct {
		action, arn string
		may         bool
	}{
		{"cloudformation:DescribeStacks", stack + "penstock/1", true}, {"cloudformation:DescribeStacks", stack + "payroll/1", false}, {"cloudformation:UpdateStack", stack + "penstock/1", false},
		{"ec2:DescribeInstances", "*", true}, {"elasticloadbalancing:DescribeTargetGroups", "*", true}, {"elasticloadbalancing:DescribeTargetHealth", "*", true},
		{"autoscaling:DescribeAutoScalingGroups", "*", true}, {"autoscaling:UpdateAutoScalingGroup", "*", false}, {"autoscaling:CreateOrUpdateTags", "*", false},
		{"ec2:TerminateInstances", instance, false}, {"ec2:CreateTags", instance, false}, {"ec2:StopInstances", instance, false}, {"ec2:DescribeInstanceAttribute", instance, false},
		{"ec2:GetConsoleOutput", instance, false}, {"ssm:SendCommand", instance, false}, {"ssm:GetCommandInvocation", "*", false}, {"ssm:StartSession", instance, false}, {"ssm:GetParameter", "*", false},
		{"elasticloadbalancing:ModifyListener", "*", false}, {"elasticloadbalancing:DeregisterTargets", "*", false}, {"iam:PassRole", there.Role("InstanceRole").ARN, false},
		{"s3:GetObject", bucket + "/transfer/stages/e-1/x", false}, {"s3:GetObject", bucket + "/output/stages/e-1/x", false}, {"s3:PutObject", bucket + "/transfer/stages/e-1/x", false},
		{"s3:ListBucket", bucket, false}, {"kms:Decrypt", "arn:aws:kms:eu-west-1:222222222222:key/Key", false}, {"scheduler:DeleteSchedule", "*", false}, {"cloudwatch:PutMetricAlarm", "*", false},
	} {
		r := iamtest.Request{Action: call.action, Context: tagged}
		if call.arn != "*" {
			r.Resources = []iamtest.Resource{{ARN: call.arn}}
		}
		if err := role.May(r); (err == nil) != call.may {
			t.Errorf("who looks calls %s of %s: %v", call.action, call.arn, err)
		}
	}
}

// A target has what environments need, and nothing of a ledger. Its role can make no image,
// and hand out no role of builders.
func TestTargetAlone(t *testing.T) {
	t.Parallel()
	d := deploy(t, map[string]string{"Support": "no", "Target": "yes", "TrustedBy": "arn:aws:iam::111111111111:role/penstock-DeployerRole", "OwnKey": "yes", "ImageKeys": "arn:aws:kms:eu-west-1:111111111111:key/1"})
	for _, name := range []string{"Vpc", "Bucket", "Key", "InstanceProfile", "TestInstanceProfile", "InstanceSecurityGroup", "LoadBalancerSecurityGroup", "SchedulerRole", "LauncherSchedulerRole", targetRole} {
		if _, made := d.Resources[name]; !made {
			t.Errorf("a target has no %s", name)
		}
	}
	for _, name := range []string{"Table", "Topic", "ReadPolicy", "ApproverRole", "DeployerRole", "LauncherRole", "RunnerRole", "StepRole", "ApplyTriggerRole"} {
		if _, made := d.Resources[name]; made {
			t.Errorf("a target has %s", name)
		}
	}
	role := d.Role(targetRole)
	for _, action := range allowed(role.Policies) {
		service, verb, _ := strings.Cut(action, ":")
		if service == "dynamodb" || service == "sts" || service == "codebuild" || service == "sns" || strings.HasSuffix(verb, "Image") && !strings.HasPrefix(verb, "Describe") {
			t.Errorf("the role of a target may call %s", action)
		}
	}
	for name, may := range map[string]bool{"InstanceRole": true, "TestInstanceRole": true, "BuilderInstanceRole": false, "SchedulerRole": false, targetRole: false} {
		err := role.May(iamtest.Request{Action: "iam:PassRole", Resources: []iamtest.Resource{{ARN: d.Role(name).ARN}}, Context: map[string][]string{"iam:PassedToService": {"ec2.amazonaws.com"}}})
		if (err == nil) != may {
			t.Errorf("the role of a target gives instances %s: %v", name, err)
		}
	}
	for _, sid := range []string{"UseKey", "LaunchWithKeys", "ScaleWithKeys"} {
		if !slices.ContainsFunc(role.Policies, func(s iamtest.Statement) bool { return s.Sid == sid }) {
			t.Errorf("the role of a target lacks the statement %s, of keys that the stack was given", sid)
		}
	}
}

// What a target needs is asked for before anything is planned, and a target stays what it is.
func TestTargetParameters(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, bootstrap.DefaultName)
	target := bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartTarget}}
	_, err := s.Plan(t.Context(), target)
	check(t, err, pipeline.CodeInvalid, "the part target needs who may take its role", "--trust")
	_, err = s.Plan(t.Context(), bootstrap.Parameters{Trusted: []string{"arn:aws:iam::111111111111:role/x"}})
	check(t, err, pipeline.CodeInvalid, "--trust", "target")
	_, err = s.Plan(t.Context(), bootstrap.Parameters{TargetRoles: []string{"arn:aws:iam::111111111111:role/*"}})
	check(t, err, pipeline.CodeInvalid, "role/*\" is not the ARN of a role", "A pattern will not do")
	_, err = s.Plan(t.Context(), bootstrap.Parameters{Parts: target.Parts, Trusted: []string{"arn:aws:iam::111111111111:role/x"}, Readers: []string{"arn:aws:iam::111111111111:role/x"}, ReaderExternal: "acme-7"})
	check(t, err, pipeline.CodeInvalid, "--reader-external-id", "--external-id is for all")
	target.Trusted, target.ExternalID = []string{"arn:aws:iam::111111111111:role/penstock-DeployerRole"}, "agreed"
	withRoles := target
	withRoles.TargetRoles = []string{"arn:aws:iam::333333333333:role/x"}
	_, err = s.Plan(t.Context(), withRoles)
	check(t, err, pipeline.CodeInvalid, "--target-roles", "the stack that has the ledger")
	target.Readers = []string{"arn:aws:iam::111111111111:role/penstock-ApproverRole"}
	apply(t, s, target)
	r, err := s.Find(t.Context())
	must(t, err)
	if r.TargetReaderRole == "" || r.ReaderRole != "" || r.TargetRole == "" || r.ExternalID != "agreed" || r.Region() != cloudtest.Region || len(r.Lacks()) > 0 || r.Table != "" || r.DeployerRole != "" {
		t.Errorf("found %+v, which lacks %v", r, r.Lacks())
	}
	again, err := s.Plan(t.Context(), bootstrap.Parameters{}) // no part is asked for: none is added
	must(t, err)
	if !again.None() {
		t.Errorf("a second plan has changes: %+v", again.List)
	}
	must(t, again.Discard(t.Context()))
}
