// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package audit

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// rights asks IAM's simulator whether each role may do all that it is for.
func (a *Audit) rights(ctx context.Context) {
	const check = "roles"
	byRole := map[string][]bootstrap.Right{}
	for _, r := range a.made.Rights(a.partition, a.region, a.account) {
		byRole[r.Role] = append(byRole[r.Role], r)
	}
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		refused, asked := map[refusal]bool{}, 0
		for _, r := range byRole[role] {
			list, err := a.simulate(ctx, a.made.RoleARN(role), r)
			if err != nil {
				a.unasked(check, "iam:SimulatePrincipalPolicy", err)
				return
			}
			for _, r := range list {
				refused[r] = true
			}
			asked += len(r.Actions)
		}
		if len(refused) == 0 {
			a.say(check, Good, "", "%s may do all that it is for: %d calls were asked about", role, asked)
			continue
		}
		for by, hint := range hints {
			var actions []string
			for r := range refused {
				if r.by == withholder(by) {
					actions = append(actions, r.action)
				}
			}
			if slices.Sort(actions); len(actions) > 0 {
				a.say(check, Bad, hint, "%s may not call %s%s", a.made.RoleARN(role), strings.Join(actions, ", "), because[by])
			}
		}
	}
}

// withholder is what keeps a role from a call.
type withholder int

const (
	byRole         withholder = iota // its own policies, or something that AWS does not name
	byBoundary                       // its permissions boundary
	byOrganization                   // a policy of the account's organization
)

// What to do about a call that is withheld, and what withholds it.
var (
	hints = []string{
		byRole:         "Update the stack.",
		byBoundary:     "Let the boundary allow these calls, or give the stack another boundary.",
		byOrganization: "Ask who keeps the policies of your organization to allow these calls.",
	}
	because = []string{byBoundary: ": its permissions boundary does not allow it", byOrganization: ": a policy of the organization does not allow it"}
)

// refusal is a call that a role may not make.
type refusal struct {
	action string
	by     withholder
}

// simulate returns the actions of a right that a role does not have.
func (a *Audit) simulate(ctx context.Context, role string, r bootstrap.Right) (refused []refusal, err error) {
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(role), ActionNames: r.Actions, ResourceArns: r.Resources}
	for _, key := range slices.Sorted(maps.Keys(r.Context)) {
		kind := types.ContextKeyTypeEnumString
		if slices.Contains(r.Lists, key) {
			kind = types.ContextKeyTypeEnumStringList
		}
		in.ContextEntries = append(in.ContextEntries, types.ContextEntry{ContextKeyName: aws.String(key), ContextKeyType: kind, ContextKeyValues: r.Context[key]})
	}
	pages := iam.NewSimulatePrincipalPolicyPaginator(a.iam, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, result := range page.EvaluationResults {
			if result.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed {
				continue
			}
			r := refusal{action: aws.ToString(result.EvalActionName)}
			if b := result.PermissionsBoundaryDecisionDetail; b != nil && !b.AllowedByPermissionsBoundary {
				r.by = byBoundary
			} else if o := result.OrganizationsDecisionDetail; o != nil && !o.AllowedByOrganizations {
				r.by = byOrganization
			}
			refused = append(refused, r)
		}
	}
	return refused, nil
}

// names returns the actions of refusals, sorted, each once.
func names(refused []refusal) []string {
	actions := map[string]bool{}
	for _, r := range refused {
		actions[r.action] = true
	}
	return slices.Sorted(maps.Keys(actions))
}

// key asks with which key EBS encrypts, and whether deployers may use it.
func (a *Audit) key(ctx context.Context) {
	const check = "default key"
	out, err := a.ec2.GetEbsDefaultKmsKeyId(ctx, nil)
	if err != nil {
		a.unasked(check, "ec2:GetEbsDefaultKmsKeyId", err)
		return
	}
	id := aws.ToString(out.KmsKeyId)
	if strings.HasSuffix(id, "alias/aws/ebs") {
		a.say(check, Good, "", "EBS encrypts with AWS's own key")
		return
	}
	known, err := a.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(id)})
	if err != nil {
		a.unasked(check, "kms:DescribeKey", err)
		return
	}
	arn := aws.ToString(known.KeyMetadata.Arn)
	if known.KeyMetadata.KeyManager == kmstypes.KeyManagerTypeAws {
		a.say(check, Good, "", "EBS encrypts with AWS's own key")
		return
	}
	_, suffix := cloud.PartitionOf(a.region)
	refused, err := a.simulate(ctx, a.made.DeployerRole, bootstrap.Right{
		Actions: []string{"kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext"}, Resources: []string{arn},
		Context: map[string][]string{"kms:ViaService": {"ec2." + a.region + "." + suffix}, "kms:ResourceAliases": a.aliases(ctx, arn)}, Lists: []string{"kms:ResourceAliases"},
	})
	switch {
	case err != nil:
		a.unasked(check, "iam:SimulatePrincipalPolicy", err)
	case len(refused) > 0:
		a.say(check, Bad, "Give the stack the key's ARN as one of its image keys.",
			"EBS encrypts with %s, with which deployers may not call %s: what they launch would end at once", arn, strings.Join(names(refused), ", "))
	default:
		a.say(check, Good, "", "EBS encrypts with %s, which deployers may use", arn)
	}
}

// aliases returns the aliases of a key; one that is none, where it has none.
func (a *Audit) aliases(ctx context.Context, key string) []string {
	names := []string{"none"}
	if out, err := a.kms.ListAliases(ctx, &kms.ListAliasesInput{KeyId: aws.String(key)}); err == nil {
		for _, alias := range out.Aliases {
			names = append(names, aws.ToString(alias.AliasName))
		}
	}
	return names
}
