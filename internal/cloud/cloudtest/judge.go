// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Roles of the bootstrap's template, by their names there. A test's own requests are the
// account's owner's; those of the program are a deployer's where a test says nothing else.
const (
	Owner    = "" // may do everything
	Deployer = "DeployerRole"
	Launcher = "LauncherRole"
	Approver = "ApproverRole"
	Runner   = "RunnerRole"
	Step     = "StepRole"
	Instance = "InstanceRole"
)

// try begins access keys whose requests are judged, and have no effect.
const try = "AKIT"

var accessKey = regexp.MustCompile(`^(AKIA|` + try + `|` + temporary + `)([0-9]{12})([A-Za-z]*)$`)

// As returns the account's configuration for who has a role.
func (c *Cloud) As(role string) aws.Config {
	cfg := c.Config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIA"+c.ID+role, "secret", "")
	return cfg
}

// Try returns the error of a call that who has a role would make; nil when IAM lets it
// pass. The call has no effect.
func (c *Cloud) Try(role string, call func(aws.Config) error) error {
	cfg := c.Config()
	cfg.Credentials, cfg.RetryMaxAttempts = credentials.NewStaticCredentialsProvider(try+c.ID+role, "secret", ""), 1
	err := call(cfg)
	var coded smithy.APIError
	switch {
	case errors.As(err, &coded) && coded.ErrorCode() == tried:
		return nil
	case err == nil:
		return errors.New("the call was made")
	}
	return err
}

// unlisted returns what S3 answers of an object that is not there: who may not list it does
// not learn that. Its name counts as the prefix of a listing.
func (a *account) unlisted(r *request, got answer) answer {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.service != "s3" || r.role == Owner || got.status != http.StatusNotFound || key == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return got
	}
	err := a.roles().by[r.role].May(iamtest.Request{
		Action: "s3:ListBucket", Resources: []iamtest.Resource{{ARN: "arn:aws:s3:::" + bucket, Policy: a.bucketPolicy(bucket)}},
		Context: map[string][]string{"s3:prefix": {key}},
	})
	if err == nil {
		return got
	}
	return r.deny(err.Error())
}

// tried is the code of the error of a call that would have been made.
const tried = "DryRunOperation"

// Given says what the account's stack was given: parameters of the template, and names of
// its resources. What it is not told it has by default. Roles that are in use change.
func (c *Cloud) Given(names map[string]string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.given, names)
	a.stack = nil
}

// SetTemplate makes another template than the bootstrap's the one whose roles are used.
func (c *Cloud) SetTemplate(template string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.template, a.stack = template, nil
}

// Stack returns the stack whose roles the account has: the one that the bootstrap made in
// it, else one that is made up.
func (c *Cloud) Stack() *iamtest.Stack { return c.account().roles().stack }

// roles are those of a stack, evaluated.
type roles struct {
	stack *iamtest.Stack
	by    map[string]iamtest.Principal
}

func (a *account) roles() *roles {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stack != nil {
		return a.stack
	}
	given := map[string]string{
		"AWS::AccountId": a.cloud.ID, "AWS::Region": Region, "BucketName": "penstock-" + a.cloud.ID, "InstanceProfile": "penstock", "TestInstanceProfile": "penstock-test", "BuilderInstanceProfile": "penstock-builder", "Ci": "yes",
		"Repository": "https://example.com/acme/pipeline.git",
	}
	maps.Copy(given, a.given)
	template := a.template
	if template == "" {
		template = bootstrap.Template()
	}
	a.stack = &roles{stack: iamtest.Deploy(template, given), by: map[string]iamtest.Principal{}}
	for _, name := range a.stack.stack.Roles() {
		a.stack.by[name] = a.bounded(a.stack.stack, name)
	}
	return a.stack
}

// roleOf returns the ARN of the role of an instance profile.
func (a *account) roleOf(profile string) string {
	r := a.roles()
	for _, kind := range []string{"", "Test", "Builder"} {
		if r.stack.Outputs[kind+"InstanceProfile"] == profile {
			return r.by[kind+Instance].ARN
		}
	}
	return fmt.Sprintf("arn:aws:iam::%s:role/%s", a.cloud.ID, profile)
}

// bucketPolicy returns the policy of a bucket; nil for none.
func (a *account) bucketPolicy(bucket string) iamtest.Policy {
	s := a.roles().stack
	if _, made := s.Resources["BucketPolicy"]; !made || s.Outputs["Bucket"] != bucket {
		return nil
	}
	return iamtest.ParsePolicy(s.Properties("BucketPolicy")["PolicyDocument"])
}

// judge returns the actions that a request needs, and the answer of a request that IAM
// refuses, or that is only tried. The account's owner may do everything.
func (a *account) judge(r *request) (actions []string, refused *answer) {
	if r.role == Owner {
		return nil, nil
	}
	who, known := a.who(r)
	if !known {
		a.fault("the account has no role %s", r.role)
		got := r.deny("there is no such role")
		return nil, &got
	}
	calls, err := a.needs(r)
	if err != nil {
		a.fault("%s: %v", r.role, err)
	}
	for _, call := range calls {
		actions = append(actions, call.Action)
		err := who.May(call)
		var refusal *iamtest.Refusal
		if errors.As(err, &refusal) {
			got := r.deny(refusal.Error())
			return actions, &got
		}
		if err != nil {
			a.fault("%s: %v", r.role, err)
		}
	}
	if r.tried {
		if r.service == "ec2" && r.action == "RunInstances" {
			if _, err := a.unusable(r); err != nil {
				got := r.deny(err.Error())
				return actions, &got
			}
		}
		got := r.fail(http.StatusPreconditionFailed, tried, "Request would have succeeded")
		return actions, &got
	}
	if a.bootstraps() {
		note(r.role, actions)
	}
	return actions, nil
}

// bootstraps reports whether the account's roles are those of the bootstrap's template, of
// which it is listed who calls what.
func (a *account) bootstraps() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.template == "" || a.template == bootstrap.Template()
}

// fault fails the test for what the test cloud itself can't do, for as long as it runs.
func (a *account) fault(format string, args ...any) {
	if context.Cause(a.cloud.t.Context()) == nil {
		a.cloud.t.Errorf("the test cloud: "+format, args...)
	}
}

// deny returns the error of a request that is not allowed, as its service says it.
func (r *request) deny(message string) answer {
	switch r.service {
	case "ec2":
		return r.fail(http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. "+message)
	case "s3", "autoscaling", "elasticloadbalancing", "cloudformation", "sts", "iam", "monitoring":
		return r.fail(http.StatusForbidden, "AccessDenied", message)
	case "sns":
		return r.fail(http.StatusForbidden, "AuthorizationError", message)
	case "scheduler":
		return r.fail(http.StatusForbidden, "AccessDeniedException", message)
	}
	return r.fail(http.StatusBadRequest, "AccessDeniedException", message)
}

// judgeSchedule returns an error when what a schedule does is not allowed: its role must
// trust the scheduler, and be allowed what the target needs.
func (a *account) judgeSchedule(role string, r *request) error {
	for name, p := range a.roles().by {
		if p.ARN != role {
			continue
		}
		if err := (iamtest.Principal{Service: "scheduler.amazonaws.com", Account: a.cloud.ID}).MayBecome(p); err != nil {
			return err
		}
		r.role = name
		if _, refused := a.judge(r); refused != nil {
			return fmt.Errorf("%s", refused.body)
		}
		return nil
	}
	return fmt.Errorf("there is no role %s", role)
}

var stackResource = regexp.MustCompile(`(?s)<LogicalResourceId>([^<]*)</LogicalResourceId>.*?<PhysicalResourceId>([^<]*)</PhysicalResourceId>`)

// bootstrapped makes the roles of a stack that was made those of the account. They stay
// when another stack is made beside it.
func (a *account) bootstrapped(r *request, stack, template string) {
	described := mendParameters(a.query(r, "cloudformation", "DescribeStacks", url.Values{"StackName": {stack}}))
	given := map[string]string{"AWS::AccountId": a.cloud.ID, "AWS::Region": r.region}
	if parts := strings.Split(stack, "/"); len(parts) > 1 {
		given["AWS::StackName"] = parts[1]
	}
	for _, m := range stackParameter.FindAllSubmatch(described.body, -1) {
		given[string(m[1])] = string(m[2])
	}
	made := a.query(r, "cloudformation", "DescribeStackResources", url.Values{"StackName": {stack}})
	for _, m := range stackResource.FindAllSubmatch(made.body, -1) {
		name, id := string(m[1]), string(m[2])
		switch {
		case strings.HasSuffix(name, "Role"):
			given[name+".Arn"] = fmt.Sprintf("arn:aws:iam::%s:role%s%s", a.cloud.ID, cmp.Or(given["RolePath"], "/"), id)
		case !strings.HasSuffix(name, "Policy") && id != "":
			given[name] = id
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if had := a.given["AWS::StackName"]; had == "" || had == given["AWS::StackName"] {
		a.given, a.template, a.stack = given, template, nil
	}
}

// BorrowSubnets makes the account's subnets those of another one, which shares them.
func (c *Cloud) BorrowSubnets(lender string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lender = lender
}

// SetDefaultKey makes a key the one that EBS encrypts with where none is named.
func (c *Cloud) SetDefaultKey(arn string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.defaultKey = arn
}

// SetKeyPolicy gives a key a policy other than the default, which leaves it to the policies
// of the account.
func (c *Cloud) SetKeyPolicy(arn string, policy iamtest.Policy) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keyPolicies[arn] = policy
}

var appID = regexp.MustCompile(`\bapp/(\S+)`)

// app returns what the client says it is.
func (r *request) app() string {
	if m := appID.FindStringSubmatch(r.Header.Get("User-Agent")); m != nil {
		return m[1]
	}
	return ""
}
