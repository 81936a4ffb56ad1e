// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// maxParameter is what CloudFormation takes as the value of a parameter, in bytes:
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html.
const maxParameter = 4096

// validateLists refuses lists that are too long for the parameters of the template.
func (p Parameters) validateLists(op string) error {
	const fewer = "Name fewer."
	for _, list := range []struct {
		flag, hint string
		values     []string
	}{
		{"--target-roles", "Name those that fit, and let the deployer role take the others by an inline policy of your own, which allows sts:AssumeRole on them. Or shorten the names of the roles, with shorter names of the targets' stacks and without --role-path.", p.TargetRoles},
		{"--reader-roles", "Name those that fit, and let the roles of approvers, deployers and launchers take the others by an inline policy of your own, which allows sts:AssumeRole on them.", p.ReaderRoles},
		{"--instance-roles", "Name those that fit, and let the deployer role hand out the others by an inline policy of your own, which allows iam:PassRole on them.", p.InstanceRoles},
		{"--image-keys", "Give keys of this account an alias below alias/penstock/ instead.", p.ImageKeys},
		{"--deployers", "Name a role that they all take, or their account.", p.Deployers},
		{"--trust", "Name a role that they all take, or their account.", p.Trusted},
		{"--readers", "Name a role that they all take, or their account.", p.Readers},
		{"--record-names", "Use patterns, such as *.shop.example.com.", ownedNames(p.RecordNames)},
		{"--oidc-subjects", "Use patterns, such as repo:acme/pipeline:*.", p.OIDCSubjects},
		{"--hosted-zones", fewer, zoneARNs(p.HostedZones, "")},
	} {
		if n := len(strings.Join(list.values, ",")); n > maxParameter {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%s names %d, which take %d bytes: CloudFormation takes %d", list.flag, len(list.values), n, maxParameter).WithHint("%s", list.hint)
		}
	}
	return nil
}
