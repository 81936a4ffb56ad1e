// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// simulatePolicy answers as IAM's simulator does, for the roles of the account's stack.
func (a *account) simulatePolicy(r *request) answer {
	_, _, role := a.roleAt(r.form.Get("PolicySourceArn"))
	if role.ARN == "" {
		return r.fail(http.StatusNotFound, "NoSuchEntity", "There is no role "+r.form.Get("PolicySourceArn"))
	}
	context := map[string][]string{}
	for n := 1; ; n++ {
		at := fmt.Sprintf("ContextEntries.member.%d.", n)
		name := r.form.Get(at + "ContextKeyName")
		if name == "" {
			break
		}
		context[name] = numbered(r.form, at+"ContextKeyValues.member")
	}
	resources := numbered(r.form, "ResourceArns.member")
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	var b strings.Builder
	for _, action := range numbered(r.form, "ActionNames.member") {
		for _, arn := range resources {
			decision, bounded, organized := role.Simulate(action, arn, context)
			fmt.Fprintf(&b, "<member><EvalActionName>%s</EvalActionName><EvalResourceName>%s</EvalResourceName><EvalDecision>%s</EvalDecision>", action, escape(arn), decision)
			if role.Boundary != nil {
				fmt.Fprintf(&b, "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>%t</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>", bounded)
			}
			if role.Organization != nil {
				fmt.Fprintf(&b, "<OrganizationsDecisionDetail><AllowedByOrganizations>%t</AllowedByOrganizations></OrganizationsDecisionDetail>", organized)
			}
			b.WriteString("</member>")
		}
	}
	return xml(http.StatusOK, `<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>`+
		b.String()+"</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>")
}

// SetQuota sets a quota of the account, by its code in Service Quotas.
func (c *Cloud) SetQuota(code string, value float64) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quotas[code] = value
}

// serviceQuota answers GetServiceQuota: what a test says, else plenty.
func (a *account) serviceQuota(r *request) answer {
	var in struct{ ServiceCode, QuotaCode string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "IllegalArgumentException", err.Error())
	}
	a.mu.Lock()
	value, set := a.quotas[in.QuotaCode]
	a.mu.Unlock()
	if !set {
		value = 100
	}
	return reply(http.StatusOK, map[string]any{"Quota": map[string]any{"ServiceCode": in.ServiceCode, "QuotaCode": in.QuotaCode, "Value": value}})
}
