// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package iamtest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Request is a call as IAM sees it. What IAM sees beside, and what the action does not
// support of it, is decided here: callers say all that the call says.
type Request struct {
	Action    string              // as in "ec2:CopyImage"
	Resources []Resource          // all that the call names; none for an action on no resource
	Context   map[string][]string // of the whole call, by condition key
}

// Resource is a resource that a call names.
type Resource struct {
	ARN     string
	Tags    map[string]string   // that it has
	Context map[string][]string // of it alone, by condition key; the tags that the call asks for among it
	Account string              // that owns it, where the ARN does not say so; empty is the caller's
	Policy  Policy              // of its own; nil for none
	Grants  Policy              // of a key: enough for the roles that they name, also across accounts
}

// Asking returns the context of a call that asks for tags.
func Asking(tags map[string]string) map[string][]string {
	c := map[string][]string{}
	for k, v := range tags {
		c["aws:RequestTag/"+k] = []string{v}
		c["aws:TagKeys"] = append(c["aws:TagKeys"], k)
	}
	slices.Sort(c["aws:TagKeys"])
	return c
}

// Principal is who makes calls: a role, a service of AWS, or who has a token of an identity
// provider.
type Principal struct {
	ARN          string            // of the role; "" for the others
	Service      string            // as in "scheduler.amazonaws.com"; "" for the others
	Federated    string            // ARN of the provider; "" for the others
	Account      string            // 12 digits; "" for a token
	Tags         map[string]string // of its session
	Policies     Policy            // of its identity
	Boundary     Policy            // of its permissions; nil for none
	Organization Policy            // that bounds its account; nil for none
	Trust        Policy            // who may become it
}

// Refusal is the error of a call that IAM refuses.
type Refusal struct {
	Who, Action, Resource string
	Denied                bool   // a statement denies it; else none allows it
	Statement             string // that denies it
	Wanting               string // what does not allow it: "identity", "boundary", "organization's", "resource's own"
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Denied {
		return fmt.Sprintf("%s is not authorized to perform %s on resource %s: the statement %s denies it", r.Who, r.Action, r.Resource, r.Statement)
	}
	return fmt.Sprintf("%s is not authorized to perform %s on resource %s: no statement of the %s policy allows it", r.Who, r.Action, r.Resource, r.Wanting)
}

// May returns nil for a call that IAM lets pass: it must be allowed on every resource that
// it names. Another error than a *Refusal means that the request is none that AWS has: an
// action that it does not know, or resources that are not that action's.
func (p Principal) May(r Request) error {
	t := reference()
	entry := t.Actions[r.Action]
	if entry == nil {
		return fmt.Errorf("AWS has no action %s", r.Action)
	}
	var named []string
	types := make([]string, len(r.Resources))
	for i, resource := range r.Resources {
		if types[i] = t.typeOf(r.Action, resource.ARN); types[i] == "" {
			return fmt.Errorf("%s is not on resources such as %q", r.Action, resource.ARN)
		}
		named = append(named, types[i])
	}
	if lacking := t.lacking(r.Action, named); lacking != "" {
		return fmt.Errorf("%s requires a resource of the type %s, and names %v", r.Action, lacking, r.Resources)
	}
	if len(r.Resources) == 0 {
		return p.mayOn(r.Action, Resource{ARN: "*"}, p.context(r, Resource{}, ""))
	}
	for i, resource := range r.Resources {
		if err := p.mayOn(r.Action, resource, p.context(r, resource, types[i])); err != nil {
			return err
		}
	}
	return nil
}

// context returns the context of a resource: what the action supports of what the call
// says, and what AWS always says.
func (p Principal) context(r Request, resource Resource, of string) map[string][]string {
	all := map[string][]string{
		"aws:PrincipalAccount": {p.Account}, "aws:SecureTransport": {"true"}, "aws:ResourceAccount": {p.owner(resource)},
	}
	if p.ARN != "" {
		all["aws:PrincipalArn"] = []string{p.ARN}
	}
	for k, v := range p.Tags {
		all["aws:PrincipalTag/"+k] = []string{v}
	}
	for k, v := range resource.Tags {
		all["aws:ResourceTag/"+k] = []string{v}
	}
	maps.Copy(all, r.Context)
	maps.Copy(all, resource.Context)
	known := make(map[string][]string, len(all))
	for key, values := range all {
		if reference().supports(r.Action, of, key) || p.claims(key) {
			known[strings.ToLower(key)] = values
		}
	}
	return known
}

// claims reports whether a condition key is a claim of the principal's token: its provider's
// name and that of the claim. AWS's table has those of a few providers alone.
func (p Principal) claims(key string) bool {
	_, provider, _ := strings.Cut(p.Federated, ":oidc-provider/")
	return provider != "" && strings.HasPrefix(key, provider+":")
}

// owner returns the account that a resource is of.
func (p Principal) owner(r Resource) string {
	if r.Account != "" {
		return r.Account
	}
	if parts := strings.SplitN(r.ARN, ":", 6); len(parts) == 6 && parts[4] != "" {
		return parts[4]
	}
	return p.Account
}

// mayOn judges one resource. Within an account the policy of the identity or that of the
// resource must allow it; across accounts, both. A key is used only as its own policy says,
// which leaves it to the account's policies where it allows the account.
func (p Principal) mayOn(action string, r Resource, context map[string][]string) error {
	t := target{action: action, arn: r.ARN, context: context}
	who := cmp.Or(p.ARN, p.Service, p.Federated)
	refusal := &Refusal{Who: who, Action: action, Resource: r.ARN}
	for _, policy := range []Policy{p.Policies, p.Boundary, p.Organization} {
		if s := policy.find("Deny", t, nil); s != nil {
			refusal.Denied, refusal.Statement = true, s.Sid
			return refusal
		}
	}
	if s := r.Policy.find("Deny", t, func(s Statement) bool { return s.names(p) != "" }); s != nil {
		refusal.Denied, refusal.Statement = true, s.Sid
		return refusal
	}
	if r.Grants.find("Allow", t, func(s Statement) bool { return s.names(p) == "self" }) != nil {
		return nil
	}
	var direct, account bool // what the resource's own policy allows
	slices.Concat(r.Policy, r.Grants).find("Allow", t, func(s Statement) bool {
		switch n := s.names(p); {
		case n == "account":
			account = account || s.applies(t)
		case n != "":
			direct = direct || s.applies(t)
		}
		return false
	})
	identity := p.Policies.find("Allow", t, nil) != nil
	foreign := p.owner(r) != p.Account
	strict := foreign || r.Policy != nil && (strings.HasPrefix(action, "kms:") || strings.HasPrefix(action, "sts:"))
	switch {
	case (p.Service != "" || p.Federated != "") && direct:
		return nil
	case !strict && direct:
		return nil
	case strict && !foreign && direct: // it names the role itself
		return nil
	case strict && !direct && !account:
		refusal.Wanting = "resource's own"
	case !identity:
		refusal.Wanting = "identity"
	case !p.Boundary.bounds(t):
		refusal.Wanting = "boundary"
	case !p.Organization.bounds(t):
		refusal.Wanting = "organization's"
	default:
		return nil
	}
	return refusal
}

// bounds reports whether a policy that bounds others lets a call pass; none does.
func (p Policy) bounds(t target) bool {
	return p == nil || p.find("Allow", t, nil) != nil && p.find("Deny", t, nil) == nil
}

// names says how the principals of a statement name one: "account", "self" or "all"; ""
// for not at all.
func (s Statement) names(p Principal) string {
	for kind, list := range s.Principals {
		for _, name := range list {
			switch {
			case name == "*" && p.Federated == "":
				return "all"
			case kind == "Service" && p.Service == name && name != "":
				return "self"
			case kind == "Federated" && p.Federated == name && name != "":
				return "self"
			case kind == "AWS" && p.ARN != "" && name == p.ARN:
				return "self"
			case kind == "AWS" && p.Service == "" && p.Federated == "" && (name == p.Account || strings.HasSuffix(name, ":iam::"+p.Account+":root")):
				return "account"
			}
		}
	}
	return ""
}

// MayBecomeBy returns nil when a web identity of a provider may assume a role, by what its
// token says: the audience and the subject.
func (p Principal) MayBecomeBy(role Principal, audience, subject string) error {
	_, host, _ := strings.Cut(p.Federated, ":oidc-provider/")
	return p.May(Request{
		Action: "sts:AssumeRoleWithWebIdentity", Context: map[string][]string{host + ":aud": {audience}, host + ":sub": {subject}},
		Resources: []Resource{{ARN: role.ARN, Account: role.Account, Policy: role.Trust}},
	})
}

// MayBecome returns nil when a principal may assume a role: the role must trust it, and its
// own policies must allow it where the role trusts the account only.
func (p Principal) MayBecome(role Principal) error {
	context := map[string][]string{}
	if p.Service != "" {
		context["aws:SourceAccount"] = []string{p.Account}
	}
	return p.May(Request{Action: "sts:AssumeRole", Context: context, Resources: []Resource{{ARN: role.ARN, Account: role.Account, Policy: role.Trust}}})
}

// Simulate returns what IAM's simulator says of an action on a resource with a context:
// "allowed", "explicitDeny" or "implicitDeny", and whether the boundary and the organization
// let it pass. It does not ask what the action knows.
func (p Principal) Simulate(action, arn string, context map[string][]string) (decision string, bounded, organized bool) {
	all := map[string][]string{"aws:principalarn": {p.ARN}, "aws:principalaccount": {p.Account}, "aws:securetransport": {"true"}}
	for k, v := range context {
		all[strings.ToLower(k)] = v
	}
	t := target{action: action, arn: arn, context: all}
	bounded, organized = p.Boundary.bounds(t), p.Organization.bounds(t)
	var refusal *Refusal
	switch err := p.mayOn(action, Resource{ARN: arn, Account: p.Account}, all); {
	case err == nil:
		decision = "allowed"
	case errors.As(err, &refusal) && refusal.Denied:
		decision = "explicitDeny"
	default:
		decision = "implicitDeny"
	}
	return decision, bounded, organized
}
