// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Resources are what the stack made, or was given. Those of a part that was not made
// are empty.
type Resources struct {
	Stack                     string   `json:"stack"` // name
	ID                        string   `json:"id"`    // ARN; a new stack of the same name has another
	TemplateVersion           int      `json:"template_version"`
	VPC                       string   `json:"vpc,omitempty"`
	PublicSubnets             []string `json:"public_subnets,omitempty"`
	PrivateSubnets            []string `json:"private_subnets,omitempty"`
	PrivateAccess             bool     `json:"private_access"` // the private subnets reach Systems Manager
	Bucket                    string   `json:"bucket,omitempty"`
	Table                     string   `json:"table,omitempty"`
	Topic                     string   `json:"topic,omitempty"`                    // ARN
	InstanceProfile           string   `json:"instance_profile,omitempty"`         // name
	InstanceRole              string   `json:"instance_role,omitempty"`            // ARN, as all roles
	TestInstanceProfile       string   `json:"test_instance_profile,omitempty"`    // empty before version 4, as what else tests and builders have of their own
	TestInstanceRole          string   `json:"test_instance_role,omitempty"`       // empty before version 4
	BuilderInstanceProfile    string   `json:"builder_instance_profile,omitempty"` // of machines that make images
	BuilderInstanceRole       string   `json:"builder_instance_role,omitempty"`    // empty before version 4
	InstanceSecurityGroup     string   `json:"instance_security_group,omitempty"`
	TestSecurityGroup         string   `json:"test_security_group,omitempty"`    // of tests and self-service environments; empty before version 4
	BuilderSecurityGroup      string   `json:"builder_security_group,omitempty"` // empty before version 2
	LoadBalancerSecurityGroup string   `json:"load_balancer_security_group,omitempty"`
	SchedulerRole             string   `json:"scheduler_role,omitempty"`
	LauncherSchedulerRole     string   `json:"launcher_scheduler_role,omitempty"` // empty before version 3
	LauncherScheduleGroup     string   `json:"launcher_schedule_group,omitempty"` // of EventBridge Scheduler; name; empty before version 5
	ApproverRole              string   `json:"approver_role,omitempty"`
	DeployerRole              string   `json:"deployer_role,omitempty"`
	LauncherRole              string   `json:"launcher_role,omitempty"`
	TargetRole                string   `json:"target_role,omitempty"`        // that runs environments of other stacks' pipelines; empty before version 6
	TargetReaderRole          string   `json:"target_reader_role,omitempty"` // that looks at them; empty before version 7, and where nobody may take it
	ExternalID                string   `json:"external_id,omitempty"`        // that who takes a role of the target must pass
	RunnerRole                string   `json:"runner_role,omitempty"`
	ReaderRole                string   `json:"reader_role,omitempty"`    // of those who read from elsewhere; empty where there are none
	RunnerProject             string   `json:"runner_project,omitempty"` // of CodeBuild, that runs steps; name
	StepRole                  string   `json:"step_role,omitempty"`      // of those steps
	ApplyProject              string   `json:"apply_project,omitempty"`  // of CodeBuild, that applies the configuration; name
	WebhookURL                string   `json:"webhook_url,omitempty"`    // where servers of repositories tell of pushes
	CILogGroup                string   `json:"ci_log_group,omitempty"`   // of both projects; name
}

// InstanceSubnets returns the subnets where instances reach Systems Manager: the private
// ones where they can, else the public ones.
func (r Resources) InstanceSubnets() []string {
	if r.PrivateAccess {
		return r.PrivateSubnets
	}
	return r.PublicSubnets
}

// Region returns the region that the stack is in.
func (r Resources) Region() string {
	if parts := strings.SplitN(r.ID, ":", 6); len(parts) == 6 {
		return parts[3]
	}
	return ""
}

// Lacks returns what a stack lacks that environments in its account and region need.
func (r Resources) Lacks() (list []string) {
	for _, part := range []struct {
		what string
		has  bool
	}{
		{"network", r.VPC != "" && len(r.InstanceSubnets()) > 0}, {"bucket", r.Bucket != ""}, {"instance profiles", r.InstanceProfile != "" && r.TestInstanceProfile != ""},
		{"security groups", r.InstanceSecurityGroup != "" && r.LoadBalancerSecurityGroup != ""}, {"scheduler roles", r.SchedulerRole != "" && r.LauncherSchedulerRole != ""},
	} {
		if !part.has {
			list = append(list, part.what)
		}
	}
	return list
}

// Find returns what the stack of a name made. Errors are CodeNotFound where there is
// none, CodeConflict for a stack that is not Penstock's, and CodeInvalid for one that
// is too old for this program or unfinished.
func Find(ctx context.Context, client Client, stack string) (Resources, error) {
	return (&Stack{name: stack, client: client}).Find(ctx)
}

// Find is the function Find, for the stack.
func (s *Stack) Find(ctx context.Context) (Resources, error) {
	if err := s.check(); err != nil {
		return Resources{}, err
	}
	op := s.op("find")
	found, err := s.describe(ctx, s.name)
	switch {
	case err != nil:
		return Resources{}, err
	case found == nil || found.StackStatus == types.StackStatusReviewInProgress:
		return Resources{}, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no such stack in region %s", s.client.Options().Region).
			WithHint("Correct the name and the region, or create the stack.").WithAdvice(s.advice(pipeline.VerbCreateStack))
	case broken(found.StackStatus):
		return Resources{}, pipeline.Errorf(pipeline.CodeInvalid, op, "it is left over from a failed attempt (%s)", found.StackStatus).
			WithHint("It has to be removed and created again.").WithAdvice(s.advice(pipeline.VerbDestroyStack))
	case found.StackStatus == types.StackStatusCreateInProgress || found.StackStatus == types.StackStatusRollbackInProgress || found.StackStatus == types.StackStatusDeleteInProgress:
		return Resources{}, pipeline.Errorf(pipeline.CodeInvalid, op, "its creation has not finished (%s)", found.StackStatus).WithHint("Wait until AWS has finished the change, and try again.")
	}
	version, err := s.version(found)
	if err != nil {
		return Resources{}, err
	}
	if version < minimumVersion {
		return Resources{}, pipeline.Errorf(pipeline.CodeInvalid, op, "it has version %d of the template, but version %d is needed", version, minimumVersion).
			WithAdvice(s.advice(pipeline.VerbUpdateStack))
	}
	return s.resources(found, version), nil
}

// version returns the version of the template that a stack was made from.
func (s *Stack) version(found *types.Stack) (int, error) {
	version, err := strconv.Atoi(outputs(found)["TemplateVersion"])
	if err != nil {
		return 0, pipeline.Errorf(pipeline.CodeConflict, s.op("find"), "the stack of this name does not belong to Penstock").WithHint("Choose another name for the stack.")
	}
	return version, nil
}

func (s *Stack) resources(found *types.Stack, version int) Resources {
	o := outputs(found)
	external := ""
	for _, p := range found.Parameters {
		if aws.ToString(p.ParameterKey) == "ExternalId" && o["TargetRole"] != "" {
			external = aws.ToString(p.ParameterValue)
		}
	}
	return Resources{
		Stack: s.name, ID: aws.ToString(found.StackId), TemplateVersion: version,
		VPC: o["VpcId"], PublicSubnets: split(o["PublicSubnets"]), PrivateSubnets: split(o["PrivateSubnets"]), PrivateAccess: o["PrivateAccess"] == "yes",
		Bucket: o["Bucket"], Table: o["Table"], Topic: o["Topic"],
		InstanceProfile: o["InstanceProfile"], TestInstanceProfile: o["TestInstanceProfile"], BuilderInstanceProfile: o["BuilderInstanceProfile"], InstanceRole: o["InstanceRole"],
		TestInstanceRole: o["TestInstanceRole"], BuilderInstanceRole: o["BuilderInstanceRole"],
		TestSecurityGroup:     o["TestSecurityGroup"],
		InstanceSecurityGroup: o["InstanceSecurityGroup"], LoadBalancerSecurityGroup: o["LoadBalancerSecurityGroup"], BuilderSecurityGroup: o["BuilderSecurityGroup"],
		SchedulerRole: o["SchedulerRole"], LauncherSchedulerRole: o["LauncherSchedulerRole"], LauncherScheduleGroup: o["LauncherScheduleGroup"], ApproverRole: o["ApproverRole"], DeployerRole: o["DeployerRole"],
		LauncherRole: o["LauncherRole"], RunnerRole: o["RunnerRole"], ReaderRole: o["ReaderRole"], TargetRole: o["TargetRole"], TargetReaderRole: o["TargetReaderRole"], ExternalID: external,
		RunnerProject: o["RunnerProject"], StepRole: o["StepRole"], ApplyProject: o["ApplyProject"], WebhookURL: o["WebhookUrl"], CILogGroup: o["CiLogGroup"],
	}
}

func outputs(found *types.Stack) map[string]string {
	values := map[string]string{}
	for _, o := range found.Outputs {
		values[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return values
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
