// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// check fails unless an error has a code, and its text and remedy hold what they should.
func check(t *testing.T, err error, code pipeline.Code, text, hint string) {
	t.Helper()
	if pipeline.CodeOf(err) != code || !strings.Contains(err.Error(), text) || !strings.Contains(reason.Hint(err), hint) {
		t.Errorf("got %q, %v, remedy %q; want %q, …%s…, …%s…", pipeline.CodeOf(err), err, reason.Hint(err), code, text, hint)
	}
}

func TestPlanListsTheChanges(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	want := []bootstrap.Change{
		{Action: "Add", Resource: "Bucket", Type: "AWS::S3::Bucket"},
		{Action: "Modify", Resource: "Table", Type: "AWS::DynamoDB::Table", Physical: "t", Replacement: "True"},
	}
	if changes.New || changes.None() || !reflect.DeepEqual(changes.List, want) {
		t.Errorf("planned %+v, want %+v", changes, want)
	}
	must(t, changes.Discard(t.Context()))
	if len(f.sets) != 0 || f.called("DeleteStack") {
		t.Errorf("after it is discarded there are %d change sets; calls %v", len(f.sets), f.calls)
	}
}

func TestPlanOfNoChange(t *testing.T) {
	for _, reason := range []string{
		"The submitted information didn't contain changes. Submit different information to create a change set.", "No updates are to be performed.",
	} {
		f := newFake(t, types.StackStatusUpdateComplete)
		f.refusal = reason
		changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
		must(t, err)
		if !changes.None() || len(f.sets) != 0 {
			t.Errorf("%q: %+v, and %d change sets are left", reason, changes, len(f.sets))
		}
		must(t, changes.Apply(t.Context(), nil))
		if f.called("ExecuteChangeSet") {
			t.Error("no change was executed")
		}
	}
}

func TestPlanThatAWSRefuses(t *testing.T) {
	f := newFake(t, "")
	f.refusal = "Parameter validation failed: parameter value vpc-1 does not exist"
	_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	check(t, err, pipeline.CodeFailed, "vpc-1 does not exist", "Correct")
	if f.stack.StackStatus != types.StackStatusDeleteComplete {
		t.Errorf("the empty stack is left in %s", f.stack.StackStatus)
	}
}

func TestPlanOfAStackThatCannotChange(t *testing.T) {
	tests := map[types.StackStatus]struct {
		code pipeline.Code
		hint string
	}{
		types.StackStatusRollbackComplete:     {pipeline.CodeConflict, "penstock bootstrap --region eu-west-1 --destroy"},
		types.StackStatusCreateFailed:         {pipeline.CodeConflict, "--destroy"},
		types.StackStatusDeleteFailed:         {pipeline.CodeConflict, "--destroy"},
		types.StackStatusUpdateRollbackFailed: {pipeline.CodeConflict, "continue-update-rollback"},
		types.StackStatusUpdateInProgress:     {pipeline.CodeLocked, "Wait"},
		types.StackStatusDeleteInProgress:     {pipeline.CodeLocked, "Wait"},
	}
	for status, tt := range tests {
		f := newFake(t, status)
		_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
		check(t, err, tt.code, string(status), tt.hint)
		if f.called("CreateChangeSet") {
			t.Errorf("%s: a change set was made", status)
		}
	}
}

func TestAStackThatIsNotOurs(t *testing.T) {
	foreign := func(status types.StackStatus) *fake {
		f := newFake(t, status)
		f.stack.Outputs, f.stack.Tags = nil, nil
		return f
	}
	f := foreign(types.StackStatusCreateComplete)
	_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	check(t, err, pipeline.CodeConflict, "belong to Penstock", "another name")
	_, err = f.stackOf().Find(t.Context())
	check(t, err, pipeline.CodeConflict, "belong to Penstock", "another name")
	for _, status := range []types.StackStatus{types.StackStatusCreateComplete, types.StackStatusRollbackComplete} {
		f := foreign(status)
		_, err = f.stackOf().Delete(t.Context(), none, nil)
		check(t, err, pipeline.CodeConflict, "belong to Penstock", "another name")
		if f.called("DeleteStack") {
			t.Error("somebody else's stack was deleted")
		}
	}
}

func TestVersions(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	f.stack.Outputs = nil
	f.output("TemplateVersion", "0")
	_, err := f.stackOf().Find(t.Context())
	check(t, err, pipeline.CodeInvalid, "version 0", "penstock bootstrap --region eu-west-1")
	f.stack.Outputs = nil
	f.output("TemplateVersion", "99")
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	check(t, err, pipeline.CodeInvalid, "version 99", "newest")
	r, err := f.stackOf().Find(t.Context())
	must(t, err)
	if r.TemplateVersion != 99 {
		t.Errorf("found %+v; a newer stack has all that an older one had", r)
	}
}

func TestFindOfAnUnfinishedStack(t *testing.T) {
	for status, hint := range map[types.StackStatus]string{types.StackStatusRollbackComplete: "--destroy", types.StackStatusCreateInProgress: "Wait"} {
		_, err := newFake(t, status).stackOf().Find(t.Context())
		check(t, err, pipeline.CodeInvalid, string(status), hint)
	}
	_, err := newFake(t, types.StackStatusReviewInProgress).stackOf().Find(t.Context())
	check(t, err, pipeline.CodeNotFound, "no such stack", "penstock bootstrap --region eu-west-1")
	f := newFake(t, types.StackStatusCreateComplete)
	f.errs["DescribeStacks"] = fault("AccessDenied")
	_, err = bootstrap.Find(t.Context(), f, "penstock")
	check(t, err, pipeline.CodeNotAllowed, "AccessDenied", "permission")
	_, err = bootstrap.Find(t.Context(), f, "no name!")
	check(t, err, pipeline.CodeInvalid, "no name!", "letters")
}

// failedCreate is how CloudFormation reports a failed creation: the first failure,
// what was cancelled because of it, and the way back.
func failedCreate() []types.StackEvent {
	return []types.StackEvent{
		event("penstock", types.StackStatusCreateInProgress, "User Initiated"), event("Vpc", types.StackStatusCreateInProgress, ""),
		event("Vpc", types.StackStatusCreateFailed, "The maximum number of VPCs has been reached."), event("Topic", types.StackStatusCreateFailed, "Resource creation cancelled"),
		event("penstock", types.StackStatusRollbackInProgress, "The following resource(s) failed to create: [Vpc, Topic]."),
		event("Table", "DELETE_SKIPPED", ""), event("penstock", types.StackStatusRollbackComplete, ""),
	}
}

func TestFailedCreation(t *testing.T) {
	f := newFake(t, "")
	f.script = failedCreate()
	changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	var reported []string
	err = changes.Apply(t.Context(), func(e bootstrap.Event) { reported = append(reported, e.Resource+" "+e.Status) })
	check(t, err, pipeline.CodeFailed, "Vpc (AWS::Test::Vpc) failed: The maximum number of VPCs has been reached.", "penstock bootstrap --region eu-west-1 --destroy")
	check(t, err, pipeline.CodeFailed, "", "physical-Table")
	want := []string{"penstock CREATE_IN_PROGRESS", "Vpc CREATE_IN_PROGRESS", "Vpc CREATE_FAILED", "Topic CREATE_FAILED", "penstock ROLLBACK_IN_PROGRESS",
		"Table DELETE_SKIPPED", "penstock ROLLBACK_COMPLETE"}
	if !reflect.DeepEqual(reported, want) {
		t.Errorf("told of %v, want %v", reported, want)
	}
}

func TestFailedUpdate(t *testing.T) {
	for status, hint := range map[types.StackStatus]string{
		types.StackStatusUpdateRollbackComplete: "as it was before", types.StackStatusUpdateRollbackFailed: "continue-update-rollback",
	} {
		f := newFake(t, types.StackStatusCreateComplete)
		f.script = []types.StackEvent{event("penstock", types.StackStatusUpdateInProgress, ""), event("Table", types.StackStatusUpdateFailed, "Not that often"), event("penstock", status, "")}
		changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
		must(t, err)
		check(t, changes.Apply(t.Context(), nil), pipeline.CodeFailed, "Table (AWS::Test::Table) failed: Not that often", hint)
	}
}

// An answer that is lost makes the SDK ask again, and then the change is under way.
func TestLostAnswerOfAnExecution(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	f.script = []types.StackEvent{event("penstock", types.StackStatusUpdateInProgress, ""), event("penstock", types.StackStatusUpdateComplete, "")}
	changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	f.errs["ExecuteChangeSet"] = fault("InvalidChangeSetStatus")
	must(t, changes.Apply(t.Context(), nil))

	other, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{Zones: 3})
	must(t, err)
	for _, set := range f.sets { // as CloudFormation does when the stack is changed by somebody else
		set.ExecutionStatus = types.ExecutionStatusObsolete
	}
	check(t, other.Apply(t.Context(), nil), pipeline.CodeConflict, "InvalidChangeSetStatus", "penstock bootstrap")
}

func TestPlanIsMadeOnce(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	for range 2 {
		_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
		must(t, err)
	}
	if len(f.sets) != 1 || aws.ToString(f.made[0].ClientToken) == "" || *f.made[0].ClientToken != *f.made[1].ClientToken {
		t.Errorf("%d change sets", len(f.sets))
	}
	for _, set := range f.sets {
		set.ExecutionStatus = types.ExecutionStatusObsolete
	}
	changes, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	if changes.None() || len(f.sets) != 1 || !f.called("DeleteChangeSet") {
		t.Errorf("a change set that can't be executed was not replaced: %v", f.calls)
	}
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Zones: 3})
	must(t, err)
	if len(f.sets) != 2 {
		t.Error("other parameters, and the same change set")
	}
}

func TestDiscardSparesTheStackOfAnother(t *testing.T) {
	f := newFake(t, "")
	mine, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Zones: 3})
	must(t, err)
	must(t, mine.Discard(t.Context()))
	if f.called("DeleteStack") {
		t.Error("the stack was deleted although another change set waits")
	}
}

func TestParametersAreKept(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	for _, p := range []string{"Network=yes", "Support=no", "NatGateway=yes", "Zones=3", "TableName=old"} {
		k, v, _ := strings.Cut(p, "=")
		f.stack.Parameters = append(f.stack.Parameters, types.Parameter{ParameterKey: aws.String(k), ParameterValue: aws.String(v)})
	}
	_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartSupport}, NAT: aws.Bool(false), Bucket: "b"})
	must(t, err)
	got := map[string]string{}
	for _, p := range f.made[0].Parameters {
		got[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	want := map[string]string{"Network": "yes", "Support": "yes", "NatGateway": "no", "Zones": "3", "TableName": "old", "BucketName": "b"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parameters %v, want %v", got, want)
	}
}

func TestParametersThatCannotBe(t *testing.T) {
	yes := true
	for text, p := range map[string]bootstrap.Parameters{
		"not a part":    {Parts: []bootstrap.Part{"cd"}},
		"need the part": {Parts: []bootstrap.Part{bootstrap.PartSupport}, Repository: "https://example.com/a.git"},
		"by HTTPS":      {Repository: "git@example.com:a.git"},
		"https://me:":   {Repository: "https://me:secret@example.com/a.git"},
		"not in the":    {Repository: "https://example.com/a.git", Directory: "../b"},
		"with a path":   {Repository: "https://example.com/a.git", Token: "token"},
		`"hook"`:        {Repository: "https://example.com/a.git", Webhook: "hook"},
		"version":       {Repository: "https://example.com/a.git", Terraform: "1.14"},
		"interval of 1": {Repository: "https://example.com/a.git", Every: 1},
		"4 zones":       {Zones: 4},
		"need their":    {PublicSubnets: []string{"subnet-1"}},
		"needs its":     {VPC: "vpc-1", PublicSubnets: []string{"subnet-1"}},
		"new VPC":       {VPC: "vpc-1", PublicSubnets: []string{"subnet-1"}, PrivateSubnets: []string{"subnet-1"}, NAT: &yes},
		"8.8":           {Addresses: "8.8"},
		"10.1.2":        {Addresses: "10.1.2"},
		"10.0.0.1/8":    {Clients: "10.0.0.1/8"},
		"70000":         {ServicePort: 70000},
		"of a KMS key":  {ImageKeys: []string{"alias/images"}},
		"/aws/service":  {ParameterPath: "/aws/service"},
		"acme/images":   {ParameterPath: "acme/images"},
	} {
		f := newFake(t, "")
		_, err := f.stackOf().Plan(t.Context(), p)
		check(t, err, pipeline.CodeInvalid, text, "")
		if reason.Hint(err) == "" || len(f.calls) != 0 {
			t.Errorf("%s: remedy %q, calls %v", text, reason.Hint(err), f.calls)
		}
	}
}

// How a configuration is applied can be said again without it, but not before it.
func TestParametersOfAConfiguration(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	_, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{Every: 10})
	check(t, err, pipeline.CodeInvalid, "need --repository", "repository")
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Webhook: "/ci/webhook-secret"})
	check(t, err, pipeline.CodeInvalid, "need --repository", "repository")
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Repository: "https://example.com/a.git", Webhook: "/ci/webhook-secret", Table: "old"})
	check(t, err, pipeline.CodeInvalid, "table of the stack's own", "every few minutes")
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartCI}, Repository: "https://example.com/a.git", Ref: "live", Directory: "d", Token: "/t", Terraform: "1.14.0", Every: 10})
	must(t, err)
	f.stack.Parameters = f.made[0].Parameters
	_, err = f.stackOf().Plan(t.Context(), bootstrap.Parameters{Every: 20})
	must(t, err)
	for n, want := range []map[string]string{
		{"Ci": "yes", "Support": "yes", "Network": "no", "Repository": "https://example.com/a.git", "RepositoryRef": "live", "RepositoryDirectory": "d", "RepositoryToken": "/t", "TerraformVersion": "1.14.0", "ApplyMinutes": "10"},
		{"Ci": "yes", "Support": "yes", "Network": "yes", "Repository": "https://example.com/a.git", "RepositoryRef": "live", "RepositoryDirectory": "d", "RepositoryToken": "/t", "TerraformVersion": "1.14.0", "ApplyMinutes": "20"},
	} {
		got := map[string]string{}
		for _, p := range f.made[n].Parameters {
			got[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("parameters %v, want %v", got, want)
		}
	}
}

func TestCancelledPlanLeavesNoChangeSet(t *testing.T) {
	f := newFake(t, types.StackStatusCreateComplete)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.errs["DescribeChangeSet"] = ctx.Err()
	_, err := f.stackOf().Plan(ctx, bootstrap.Parameters{})
	check(t, err, pipeline.CodeCancelled, "", "")
	if len(f.sets) != 0 || !slices.Contains(f.calls, "DeleteChangeSet") {
		t.Errorf("%d change sets are left", len(f.sets))
	}
}

// Who may take the deployer role is checked before AWS is asked.
func TestTrustParameters(t *testing.T) {
	t.Parallel()
	const provider = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
	for want, p := range map[string]bootstrap.Parameters{
		"":                           {OIDCProvider: provider, OIDCSubjects: []string{"repo:acme/pipeline:*"}, Deployers: []string{"arn:aws:iam::123456789012:root"}, Boundary: "arn:aws:iam::aws:policy/PowerUserAccess", RolePath: "/a/b/", ExternalID: strings.Repeat("x", 1224), Tags: map[string]string{"team": "shop"}},
		"needs subjects":             {OIDCProvider: provider},
		"is not the ARN of an":       {OIDCProvider: "https://token.actions.githubusercontent.com", OIDCSubjects: []string{"repo:acme/pipeline:*"}},
		`"*"`:                        {OIDCProvider: provider, OIDCSubjects: []string{"*"}},
		`"repo:*"`:                   {OIDCProvider: provider, OIDCSubjects: []string{"repo:*"}},
		"quoted":                     {OIDCProvider: provider, OIDCSubjects: []string{`repo:acme/x"quoted`}},
		"role/*":                     {Deployers: []string{"arn:aws:iam::123456789012:role/*"}},
		"external ID":                {ExternalID: `x"`},
		"x\" is not an external ID":  {ReaderExternal: strings.Repeat("x", 1225)},
		"audience":                   {OIDCAudience: "a b"},
		"is not the ARN of a policy": {Boundary: "boundary"},
		"path of roles":              {RolePath: "penstock"},
		"a/\" is not a path of":      {RolePath: "/" + strings.Repeat("a", 511) + "/"},
		"key of a tag":               {Tags: map[string]string{"aws:x": "y"}},
	} {
		err := p.Validate()
		if want == "" && err != nil || want != "" && (pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// What is more than CloudFormation takes as a parameter is refused with what to do, and what it
// just takes is not.
func TestLongLists(t *testing.T) {
	t.Parallel()
	roles := func(n int) (list []string) { // of 63 bytes, and a comma
		for i := range n {
			list = append(list, fmt.Sprintf("arn:aws:iam::%012d:role/penstock-TargetRole-14TKBWBD7KWF", i))
		}
		return list
	}
	must(t, bootstrap.Parameters{TargetRoles: roles(64)}.Validate()) // 4095 bytes
	for flag, p := range map[string]bootstrap.Parameters{
		"--target-roles": {TargetRoles: roles(65)}, "--reader-roles": {ReaderRoles: roles(65)}, "--instance-roles": {InstanceRoles: roles(65)}, "--trust": {Trusted: roles(65)},
	} {
		check(t, p.Validate(), pipeline.CodeInvalid, flag+" names 65, which take 4159 bytes", "")
	}
	check(t, bootstrap.Parameters{TargetRoles: roles(65)}.Validate(), pipeline.CodeInvalid, "CloudFormation takes 4096", "sts:AssumeRole")
}

// A hosted zone that is given by its ID is one of the partition of the stack's region.
func TestZoneOfPartition(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{"eu-west-1": "arn:aws:route53:::hostedzone/Z0", "eusc-de-east-1": "arn:aws-eusc:route53:::hostedzone/Z0"} {
		f := newFake(t, "")
		f.region = region
		if _, err := f.stackOf().Plan(t.Context(), bootstrap.Parameters{HostedZones: []string{"Z0"}, RecordNames: []string{"shop.example.com"}}); err != nil {
			t.Fatal(err)
		}
		for _, p := range f.made[0].Parameters {
			if aws.ToString(p.ParameterKey) == "HostedZones" && aws.ToString(p.ParameterValue) != want {
				t.Errorf("in %s it is %s", region, aws.ToString(p.ParameterValue))
			}
		}
	}
}

// A new stack has a name that what it makes can be named after. One that is there keeps its own,
// and gets no runner that could not take the deployer role.
func TestLongName(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("a", 40)
	_, err := bootstrap.NewWith(newFake(t, ""), nil, name, 1).Plan(t.Context(), bootstrap.Parameters{})
	check(t, err, pipeline.CodeInvalid, "40 characters", "at most 39")
	f := newFake(t, types.StackStatusCreateComplete)
	_, err = bootstrap.NewWith(f, f, name, 1).Plan(t.Context(), bootstrap.Parameters{})
	check(t, err, pipeline.CodeInvalid, "runner", "at most 39")
	changes, err := bootstrap.NewWith(f, f, name, 1).Plan(t.Context(), bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartSupport}})
	must(t, err)
	must(t, changes.Discard(t.Context()))
	f.stack.Parameters = []types.Parameter{{ParameterKey: aws.String("Ci"), ParameterValue: aws.String("yes")}}
	changes, err = bootstrap.NewWith(f, f, name, 1).Plan(t.Context(), bootstrap.Parameters{})
	must(t, err)
	must(t, changes.Discard(t.Context()))
}
