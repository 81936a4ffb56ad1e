// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What the template accepts of who may take the deployer role, and of the roles.
var (
	principalARN = regexp.MustCompile(`^arn:[a-z-]+:(iam|sts)::[0-9]{12}:(root|(role|user|assumed-role)/[A-Za-z0-9+=,.@_/-]+)$`)
	providerARN  = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/[A-Za-z0-9._/-]+$`)
	subject      = regexp.MustCompile(`^[A-Za-z0-9_.@-]+[:/|][^\s",\\$]*[^\s",\\$*?][^\s",\\$]*$`)
	audience     = regexp.MustCompile(`^[^\s",\\$]+$`)
	policyARN    = regexp.MustCompile(`^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]+$`)
	rolePath     = regexp.MustCompile(`^/([A-Za-z0-9_.-]+/)*$`)
)

// maxRolePath is what IAM takes of a path.
const maxRolePath = 512

// validateTrust checks who may take the deployer role, and what all roles have.
func (p Parameters) validateTrust() error {
	const op = "check parameters"
	for _, who := range slices.Concat(p.Deployers, p.Trusted, p.Readers) {
		if !principalARN.MatchString(who) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role, a user or an account", who).
				WithHint("Write it like arn:aws:iam::123456789012:role/ci. A pattern will not do.")
		}
	}
	for _, role := range p.TargetRoles {
		if !cloud.IsRoleARN(role) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role", role).
				WithHint("Write it as the target's stack says it, like arn:aws:iam::123456789012:role/penstock-TargetRole-1. A pattern will not do.")
		}
	}
	for _, s := range p.OIDCSubjects {
		if !subject.MatchString(s) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the subject of a token, or would let everybody in", s).
				WithHint("Name your own repository in it, as in repo:acme/pipeline:ref:refs/heads/main.")
		}
	}
	for _, role := range p.ReaderRoles {
		if !cloud.IsRoleARN(role) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role", role).WithHint("Write it like arn:aws:iam::123456789012:role/penstock-ReaderRole-EXAMPLE, as the other stack says it. A pattern will not do.")
		}
	}
	switch {
	case p.ReaderExternal != "" && !cloud.IsExternalID(p.ReaderExternal):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not an external ID", p.ReaderExternal).WithHint("Use %s.", cloud.ExternalIDs)
	case p.ExternalID != "" && !cloud.IsExternalID(p.ExternalID):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not an external ID", p.ExternalID).WithHint("Use %s.", cloud.ExternalIDs)
	case p.OIDCProvider != "" && !providerARN.MatchString(p.OIDCProvider):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of an OpenID Connect provider", p.OIDCProvider).
			WithHint("Write it like arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com, and create the provider in IAM first.")
	case p.OIDCProvider != "" && len(p.OIDCSubjects) == 0:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "provider %s needs subjects: it may have others than yours", p.OIDCProvider).
			WithHint("Pass --oidc-subjects, too, such as repo:acme/pipeline:ref:refs/heads/main.")
	case p.OIDCAudience != "" && !audience.MatchString(p.OIDCAudience):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the audience of a token", p.OIDCAudience).WithHint("Use what the server puts into its tokens, such as sts.amazonaws.com.")
	case p.Boundary != "" && !policyARN.MatchString(p.Boundary):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a policy", p.Boundary).WithHint("Write it like arn:aws:iam::123456789012:policy/boundary.")
	case len(p.RolePath) > maxRolePath || p.RolePath != "" && !rolePath.MatchString(p.RolePath):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a path of roles", p.RolePath).WithHint("Write it like /penstock/, with a slash at both ends, in at most %d characters.", maxRolePath)
	}
	for key := range p.Tags {
		if key == "" || strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, "penstock:") {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q can't be the key of a tag", key).WithHint("Keys that begin with aws: or penstock: are taken.")
		}
	}
	return nil
}

// checkTarget refuses a target that trusts nobody, and trust where there is no target.
func (p Parameters) checkTarget(list []types.Parameter) error {
	const op = "check parameters"
	has := map[string]string{}
	for _, had := range list {
		has[aws.ToString(had.ParameterKey)] = aws.ToString(had.ParameterValue)
	}
	switch {
	case has["Target"] == "yes" && has["TrustedBy"] == "":
		return pipeline.Errorf(pipeline.CodeInvalid, op, "the part %s needs who may take its role", PartTarget).
			WithHint("Pass --trust with the deployer role of the stack that has the ledger, and --external-id.")
	case has["Target"] != "yes" && has["TrustedBy"] != "":
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--trust is about the role of a target, and the stack is none").WithHint("Create the part %s, too, or leave it out.", PartTarget)
	case has["Support"] != "yes" && has["ReaderExternalId"] != "":
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--reader-external-id is about who reads a record, which the stack does not have").
			WithHint("Leave it out: --external-id is for all who may take a role of a target.")
	case has["Support"] != "yes" && has["TargetRoles"] != "":
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--target-roles is about the deployer role, which the stack does not have").WithHint("Pass it to the stack that has the ledger.")
	}
	return nil
}

// checkRunner refuses the part of CI for a stack whose name was made when names could be longer:
// its runner could not take the deployer role.
func (s *Stack) checkRunner(found *types.Stack, list []types.Parameter) error {
	had := func(list []types.Parameter) bool {
		return slices.ContainsFunc(list, func(p types.Parameter) bool {
			return aws.ToString(p.ParameterKey) == "Ci" && aws.ToString(p.ParameterValue) == "yes"
		})
	}
	if len(s.name) <= newNameLength || !had(list) || found != nil && had(found.Parameters) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "the runner of stack %q could not take the deployer role, because AWS shortens the name in that of the runner's role", s.name).
		WithHint("The part %s needs a name of at most %d characters: make another stack with --stack, or name the other parts.", PartCI, newNameLength)
}

// checkPath refuses another path for roles that are there. They would be replaced, with their
// instance profiles: what runs loses its rights then, and groups launch nothing more.
func (p Parameters) checkPath(found *types.Stack) error {
	if p.RolePath == "" || found == nil {
		return nil
	}
	had := map[string]string{"RolePath": "/"}
	for _, v := range found.Parameters {
		had[aws.ToString(v.ParameterKey)] = aws.ToString(v.ParameterValue)
	}
	if outputs(found)["DeployerRole"] == "" || had["RolePath"] == p.RolePath {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "the roles of the stack have the path %s, which can't change: what runs with them would lose its rights", had["RolePath"]).
		WithHint("Leave out --role-path, or make another stack with --stack.")
}

// tags returns the tags of the stack: those that are asked for, else those that it has.
func (p Parameters) tags(name string, stack *types.Stack) []types.Tag {
	list := []types.Tag{{Key: aws.String(tagStack), Value: aws.String(name)}}
	if p.Tags == nil && stack != nil {
		for _, t := range stack.Tags {
			if aws.ToString(t.Key) != tagStack {
				list = append(list, t)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(p.Tags[key])})
	}
	return list
}

// renderTags returns the same text for the same tags.
func renderTags(list []types.Tag) string {
	var b strings.Builder
	for _, t := range list {
		b.WriteString(aws.ToString(t.Key) + "=" + aws.ToString(t.Value) + "\n")
	}
	return b.String()
}
