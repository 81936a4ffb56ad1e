// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// createPolicy remembers what a managed policy says: it can bound the roles of the stack.
func (a *account) createPolicy(r *request) answer {
	got := a.server.forward(r)
	if got.status == http.StatusOK {
		arn := fmt.Sprintf("arn:aws:iam::%s:policy%s%s", a.cloud.ID, cmp.Or(r.form.Get("Path"), "/"), r.form.Get("PolicyName"))
		a.mu.Lock()
		a.policies[arn], a.stack = iamtest.ParsePolicy(r.form.Get("PolicyDocument")), nil
		a.mu.Unlock()
	}
	return got
}

// SetOrganization bounds what the account's roles may do by a policy of its organization.
func (c *Cloud) SetOrganization(policy iamtest.Policy) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.organization, a.stack = policy, nil
}

// bind gives the roles of a stack that was changed their boundaries, which moto gives to new
// ones alone. Another path would make new roles, which no stack of Penstock does.
func (a *account) bind(r *request) {
	stack := a.roles().stack
	for _, name := range stack.Roles() {
		arn := stack.Role(name).ARN
		role := arn[strings.LastIndex(arn, "/")+1:]
		boundary, ok := stack.Properties(name)["PermissionsBoundary"].(string)
		if !ok {
			a.query(r, "iam", "DeleteRolePermissionsBoundary", url.Values{"RoleName": {role}})
		} else if got := a.query(r, "iam", "PutRolePermissionsBoundary", url.Values{"RoleName": {role}, "PermissionsBoundary": {boundary}}); got.status != http.StatusOK {
			a.fault("moto can't bound %s: %s", role, got.body)
		}
		if got := a.query(r, "iam", "GetRole", url.Values{"RoleName": {role}}); !strings.Contains(string(got.body), "<Arn>"+arn+"</Arn>") {
			a.fault("the role %s of the stack is %s", arn, got.body)
		}
	}
}

// bounded returns a role of a stack with what bounds it. One of a policy that
// nobody has made allows nothing.
func (a *account) bounded(stack *iamtest.Stack, name string) iamtest.Principal {
	p := stack.Role(name)
	p.Organization = a.organization
	if arn, ok := stack.Properties(name)["PermissionsBoundary"].(string); ok {
		if p.Boundary = a.policies[arn]; p.Boundary == nil {
			p.Boundary = iamtest.Policy{}
		}
	}
	return p
}
