// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package iamtest

import (
	"errors"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The evaluator is itself code that can be wrong.
func TestOperators(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		operator    string
		wanted, got []string
		want        bool
	}{
		"equal":                      {"StringEquals", []string{"a", "b"}, []string{"b"}, true},
		"equal, of a missing key":    {"StringEquals", []string{"a"}, nil, false},
		"equal, if it is there":      {"StringEqualsIfExists", []string{"a"}, nil, true},
		"equal, and it is there":     {"StringEqualsIfExists", []string{"a"}, []string{"b"}, false},
		"unequal":                    {"StringNotEquals", []string{"a"}, []string{"b"}, true},
		"unequal, of a missing key":  {"StringNotEquals", []string{"a"}, nil, true},
		"equal knows no wildcards":   {"StringEquals", []string{"a*"}, []string{"ab"}, false},
		"like":                       {"StringLike", []string{"decisions#*"}, []string{"decisions#a/b"}, true},
		"like, from the beginning":   {"StringLike", []string{"decisions#*"}, []string{"x-decisions#a"}, false},
		"like, one character":        {"StringLike", []string{"a?c"}, []string{"abc"}, true},
		"like, with the case":        {"StringLike", []string{"A*"}, []string{"abc"}, false},
		"an ARN":                     {"ArnLike", []string{"arn:aws:iam::1:role/*"}, []string{"arn:aws:iam::1:role/x"}, true},
		"all":                        {"ForAllValues:StringLike", []string{"a*"}, []string{"a1", "a2"}, true},
		"all, but one":               {"ForAllValues:StringLike", []string{"a*"}, []string{"a1", "b"}, false},
		"all of none":                {"ForAllValues:StringLike", []string{"a*"}, nil, true},
		"any":                        {"ForAnyValue:StringLike", []string{"a*"}, []string{"b", "a1"}, true},
		"any of none":                {"ForAnyValue:StringLike", []string{"a*"}, nil, false},
		"null, and it is there":      {"Null", []string{"false"}, []string{"x"}, true},
		"null, and it is not there":  {"Null", []string{"false"}, nil, false},
		"must be missing":            {"Null", []string{"true"}, nil, true},
		"an empty value is there":    {"Null", []string{"false"}, []string{""}, true},
		"a boolean":                  {"Bool", []string{"false"}, []string{"false"}, true},
		"a boolean, of none, is not": {"Bool", []string{"false"}, nil, false},
	} {
		if got := holds(tt.operator, tt.wanted, tt.got); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an operator that is new is passed over")
		}
	}()
	holds("NumericLessThan", []string{"1"}, []string{"0"})
}

func policy(t *testing.T, text string) Policy {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return ParsePolicy(doc)
}

const (
	home   = "111111111111"
	abroad = "222222222222"
)

// What IAM does with an allowance, a refusal, a boundary, the policy of a resource, another
// account, and keys that an action does not know.
func TestJudge(t *testing.T) {
	t.Parallel()
	const allowAll = `Statement: [{Effect: Allow, Action: "*", Resource: "*"}]`
	role := Principal{ARN: "arn:aws:iam::" + home + ":role/r", Account: home}
	key := func(of, statements string) Resource {
		return Resource{ARN: "arn:aws:kms:eu-west-1:" + of + ":key/1", Policy: policy(t, statements)}
	}
	trusts := func(who string) string {
		return `Statement: [{Effect: Allow, Principal: {AWS: "` + who + `"}, Action: "kms:*", Resource: "*"}]`
	}
	image, other := Resource{ARN: "arn:aws:ec2:eu-west-1::image/ami-1", Tags: map[string]string{"a": "b"}}, Resource{ARN: "arn:aws:ec2:us-east-1::image/*"}
	snapshot := Resource{ARN: "arn:aws:ec2:us-east-1::snapshot/*"}
	object := Resource{ARN: "arn:aws:s3:::b/k"}
	for name, tt := range map[string]struct {
		identity, boundary string
		request            Request
		wants              string // of the error; "" for none
	}{
		"nothing allows":      {`Statement: []`, "", Request{Action: "s3:GetObject", Resources: []Resource{object}}, "no statement of the identity policy"},
		"it is allowed":       {`Statement: [{Effect: Allow, Action: "s3:get*", Resource: "arn:aws:s3:::b/*"}]`, "", Request{Action: "s3:GetObject", Resources: []Resource{object}}, ""},
		"it is denied":        {`Statement: [{Effect: Allow, Action: "*", Resource: "*"}, {Sid: No, Effect: Deny, Action: "s3:*", Resource: "arn:aws:s3:::b/k"}]`, "", Request{Action: "s3:GetObject", Resources: []Resource{object}}, "the statement No denies it"},
		"within the boundary": {allowAll, `Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]`, Request{Action: "s3:GetObject", Resources: []Resource{object}}, ""},
		"beyond the boundary": {allowAll, `Statement: [{Effect: Allow, Action: "ec2:*", Resource: "*"}]`, Request{Action: "s3:GetObject", Resources: []Resource{object}}, "boundary"},
		"every resource that it names": {
			`Statement: [{Effect: Allow, Action: "ec2:CopyImage", Resource: ["arn:aws:ec2:us-east-1::image/*", "arn:aws:ec2:*::snapshot/*"]}]`, "",
			Request{Action: "ec2:CopyImage", Resources: []Resource{other, snapshot, image}}, image.ARN,
		},
		"a key that the action does not know": {
			`Statement: [{Effect: Allow, Action: "ec2:*", Resource: "*", Condition: {StringEquals: {"aws:ResourceTag/a": b}}}]`, "",
			Request{Action: "ec2:CopyImage", Resources: []Resource{image, snapshot}}, image.ARN,
		},
		"a key that another one knows": {
			`Statement: [{Effect: Allow, Action: "ec2:*", Resource: "*", Condition: {StringEquals: {"aws:resourcetag/a": b}}}]`, "",
			Request{Action: "ec2:DeregisterImage", Resources: []Resource{image}}, "",
		},
		"a resource that it must name":         {allowAll, "", Request{Action: "ec2:CopyImage", Resources: []Resource{image}}, "requires a resource of the type snapshot"},
		"a resource that it can't be on":       {allowAll, "", Request{Action: "ec2:DeregisterImage", Resources: []Resource{object}}, "not on resources such as"},
		"an action that nobody has":            {allowAll, "", Request{Action: "ec2:DoEverything"}, "no action"},
		"a key of another account":             {allowAll, "", Request{Action: "kms:Decrypt", Resources: []Resource{{ARN: "arn:aws:kms:eu-west-1:" + abroad + ":key/1"}}}, "resource's own policy"},
		"one that trusts the account":          {allowAll, "", Request{Action: "kms:Decrypt", Resources: []Resource{key(abroad, trusts("arn:aws:iam::"+home+":root"))}}, ""},
		"and the account does not trust it":    {`Statement: []`, "", Request{Action: "kms:Decrypt", Resources: []Resource{key(abroad, trusts("arn:aws:iam::"+home+":root"))}}, "identity"},
		"nor does a foreign one that names it": {`Statement: []`, "", Request{Action: "kms:Decrypt", Resources: []Resource{key(abroad, trusts(role.ARN))}}, "identity"},
		"an own key that names it":             {`Statement: []`, "", Request{Action: "kms:Decrypt", Resources: []Resource{key(home, trusts(role.ARN))}}, ""},
		"an own key that names others":         {allowAll, "", Request{Action: "kms:Decrypt", Resources: []Resource{key(home, trusts("arn:aws:iam::"+home+":role/other"))}}, "resource's own policy"},
		"a grant that names it":                {`Statement: []`, "", Request{Action: "kms:Decrypt", Resources: []Resource{{ARN: key(abroad, trusts("arn:aws:iam::"+abroad+":root")).ARN, Grants: policy(t, trusts(role.ARN))}}}, ""},
		"a grant that names its account":       {`Statement: []`, "", Request{Action: "kms:Decrypt", Resources: []Resource{{ARN: key(abroad, trusts("x")).ARN, Grants: policy(t, trusts("arn:aws:iam::"+home+":root"))}}}, "identity"},
		"which leaves it to its policies":      {allowAll, "", Request{Action: "kms:Decrypt", Resources: []Resource{{ARN: key(abroad, trusts("x")).ARN, Grants: policy(t, trusts("arn:aws:iam::"+home+":root"))}}}, ""},
		"a grant that a policy denies":         {`Statement: [{Sid: No, Effect: Deny, Action: "*", Resource: "*"}]`, "", Request{Action: "kms:Decrypt", Resources: []Resource{{ARN: key(home, trusts("x")).ARN, Grants: policy(t, trusts(role.ARN))}}}, "No"},
		"an own bucket that allows": {`Statement: []`, "", Request{Action: "s3:GetObject", Resources: []Resource{{ARN: object.ARN, Policy: policy(t,
			`Statement: [{Effect: Allow, Principal: {AWS: "`+role.ARN+`"}, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/*"}]`)}}}, ""},
		"a bucket that denies": {allowAll, "", Request{Action: "s3:GetObject", Resources: []Resource{{ARN: object.ARN, Policy: policy(t,
			`Statement: [{Sid: Tls, Effect: Deny, Principal: "*", Action: "s3:*", Resource: "*", Condition: {Bool: {"aws:SecureTransport": "false"}}}]`)}}, Context: map[string][]string{"aws:SecureTransport": {"false"}}}, "Tls"},
	} {
		p := role
		p.Policies = policy(t, tt.identity)
		if tt.boundary != "" {
			p.Boundary = policy(t, tt.boundary)
		}
		switch err := p.May(tt.request); {
		case tt.wants == "" && err != nil, tt.wants != "" && (err == nil || !strings.Contains(err.Error(), tt.wants)):
			t.Errorf("%s: %v, want %q", name, err, tt.wants)
		}
	}
}

// A role is assumed by whom it trusts, and a chain of roles ends where one does not.
func TestTrust(t *testing.T) {
	t.Parallel()
	role := func(account, name, policies, trust string) Principal {
		return Principal{ARN: "arn:aws:iam::" + account + ":role/" + name, Account: account, Policies: policy(t, policies), Trust: policy(t, trust)}
	}
	const mayAssume = `Statement: [{Effect: Allow, Action: "sts:AssumeRole", Resource: "*"}]`
	const byAccount = `Statement: [{Effect: Allow, Principal: {AWS: "arn:aws:iam::` + home + `:root"}, Action: "sts:AssumeRole"}]`
	const provider = "arn:aws:iam::" + home + ":oidc-provider/ci.example.com"
	byToken := policy(t, `Statement: [{Effect: Allow, Principal: {Federated: "`+provider+`"}, Action: "sts:AssumeRoleWithWebIdentity", Condition: {StringEquals: {"ci.example.com:sub": "me"}}}]`)
	for name, who := range map[string]Principal{"": {Federated: provider, Account: home}, "refused": {Federated: provider + "/other", Account: home}} {
		for claim, refused := range map[string]bool{"me": name != "", "you": true} {
			err := who.May(Request{Action: "sts:AssumeRoleWithWebIdentity", Context: map[string][]string{"ci.example.com:sub": {claim}}, Resources: []Resource{{ARN: "arn:aws:iam::" + home + ":role/b", Account: home, Policy: byToken}}})
			if (err != nil) != refused {
				t.Errorf("by a token of %s, for %s: %v", who.Federated, claim, err)
			}
		}
	}
	tagged := role(home, "t", `Statement: [{Effect: Allow, Action: "ec2:DescribeVpcs", Resource: "*", Condition: {StringEquals: {"aws:PrincipalTag/team": shop}}}]`, byAccount)
	for team, refused := range map[string]bool{"": true, "other": true, "shop": false} {
		if tagged.Tags = map[string]string{"team": team}; (tagged.May(Request{Action: "ec2:DescribeVpcs"}) != nil) != refused {
			t.Errorf("with the tag %q it is judged wrongly", team)
		}
	}
	byService := policy(t, `Statement: [{Effect: Allow, Principal: {Service: scheduler.amazonaws.com}, Action: "sts:AssumeRole", Condition: {StringEquals: {"aws:SourceAccount": "`+home+`"}}}]`)
	a, b := role(home, "a", mayAssume, byAccount), role(home, "b", `Statement: []`, byAccount)
	for name, tt := range map[string]struct {
		who, role Principal
		want      bool
	}{
		"a role of the account":                {a, b, true},
		"one that its policies don't let":      {b, a, false},
		"a role of another account":            {role(abroad, "c", mayAssume, byAccount), b, false},
		"from another account, that trusts it": {a, role(abroad, "c", `Statement: []`, byAccount), true},
		"a service":                            {Principal{Service: "scheduler.amazonaws.com", Account: home}, Principal{ARN: b.ARN, Account: home, Trust: byService}, true},
		"another service":                      {Principal{Service: "lambda.amazonaws.com", Account: home}, Principal{ARN: b.ARN, Account: home, Trust: byService}, false},
		"a service for another account":        {Principal{Service: "scheduler.amazonaws.com", Account: abroad}, Principal{ARN: b.ARN, Account: home, Trust: byService}, false},
		"a token":                              {Principal{Federated: provider, Account: home}, Principal{ARN: b.ARN, Account: home, Trust: byToken}, false}, // by another action
		"a role in place of a service":         {a, Principal{ARN: b.ARN, Account: home, Trust: byService}, false},
	} {
		err := tt.who.MayBecome(tt.role)
		var refusal *Refusal
		if (err == nil) != tt.want || err != nil && !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Policies that IAM would refuse for their size are told, each of its kind.
func TestBeyond(t *testing.T) {
	t.Parallel()
	statement := func(n int) string {
		return `{Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:GetObject", Resource: "` + strings.Repeat("x", n) + `"}]}`
	}
	role := func(trust, inline, more int, managed string) string {
		return `{Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: ` + statement(trust) + `, Policies: [{PolicyDocument: ` + statement(inline) + `}, {PolicyDocument: ` + statement(more) + `}], ManagedPolicyArns: [` + managed + `]}}`
	}
	for name, tt := range map[string]struct {
		resource string
		wants    []string
	}{
		"as large as may be": {"{Type: AWS::IAM::ManagedPolicy, Properties: {PolicyDocument: " + statement(6000) + "}}", nil},
		"a managed policy":   {"{Type: AWS::IAM::ManagedPolicy, Properties: {PolicyDocument: " + statement(6100) + "}}", []string{"the managed policy R has 6"}},
		"a role":             {role(1900, 5000, 5000, `"arn:aws:iam::aws:policy/a"`), nil},
		"inline policies":    {role(1900, 5000, 5200, ""), []string{"the inline policies of the role R have 10"}},
		"trust":              {role(2000, 1, 1, ""), []string{"the trust policy of the role R has 2"}},
		"attached policies":  {role(1, 1, 1, strings.Repeat(`"arn:aws:iam::aws:policy/a", `, 11)), []string{"the role R has 11 managed policies"}},
		"something else":     {"{Type: AWS::EC2::InternetGateway}", nil},
	} {
		s := Deploy("Parameters: {}\nConditions: {}\nOutputs: {}\nResources:\n  R: "+tt.resource+"\n", nil)
		got := s.Beyond(0)
		if len(got) != len(tt.wants) || len(got) == 1 && !strings.HasPrefix(got[0].Error(), tt.wants[0]) {
			t.Errorf("%s: %v, want %v", name, got, tt.wants)
		}
	}
	if s := Deploy("Parameters: {}\nConditions: {}\nOutputs: {}\nResources:\n  R: "+role(1, 5000, 5000, "")+"\n", nil); len(s.Beyond(100)) != 1 {
		t.Error("there is no room to be left")
	}
}
