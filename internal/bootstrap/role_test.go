// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// letters name the roles in the table of what they may.
var letters = map[string]string{
	"A": cloudtest.Approver, "D": cloudtest.Deployer, "L": cloudtest.Launcher, "R": cloudtest.Runner, "T": cloudtest.Step, "I": cloudtest.Instance,
	"X": "TestInstanceRole", "B": "BuilderInstanceRole",
	"S": "SchedulerRole", "E": "LauncherSchedulerRole",
}

// right is a call, and who may make it: roles, by their letters.
type right struct {
	may  string
	call func(aws.Config) error
}

// TestRoles says what each role may do, by calls as the AWS SDK makes them: those that are
// named may, and the others may not. It is in the guide, too.
func TestRoles(t *testing.T) {
	t.Parallel()
	b := newRightsBed(t)
	for name, r := range b.rights() {
		var got []string
		for _, letter := range slices.Sorted(mapKeys(letters)) {
			err := b.cloud.Try(letters[letter], r.call)
			switch {
			case err == nil:
				got = append(got, letter)
			case !refused(err):
				t.Errorf("%s, as %s: %v", name, letters[letter], err)
			}
		}
		want := strings.Fields(r.may)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v may, want %v", name, got, want)
		}
	}
}

// What differs from account to account is given: subnets that another account shares, a
// path of parameters, the key of a token.
func TestRolesInOtherAccounts(t *testing.T) {
	t.Parallel()
	b := newRightsBed(t)
	launch := func(cfg aws.Config) error {
		_, err := ec2.NewFromConfig(cfg).RunInstances(t.Context(), launching(b, stackTag))
		return err
	}
	find := func(cfg aws.Config) error {
		_, err := ssm.NewFromConfig(cfg).GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/acme/images/base"}})
		return err
	}
	b.cloud.BorrowSubnets("999999999999")
	b.must(b.cloud.Try(cloudtest.Launcher, launch))
	if err := b.cloud.Try(cloudtest.Deployer, find); !refused(err) {
		t.Errorf("a deployer finds an image by a name that nobody gave: %v", err)
	}
	b.cloud.Given(map[string]string{"ParameterPath": "/acme/images"})
	b.must(b.cloud.Try(cloudtest.Deployer, find))
	if err := b.cloud.Try(cloudtest.Launcher, find); !refused(err) {
		t.Errorf("a launcher finds it, too: %v", err)
	}
	b.cloud.SetTemplate(read(t, "testdata/template-2.yaml"))
	if err := b.cloud.Try(cloudtest.Launcher, launch); !refused(err) {
		t.Errorf("version 2 of the template lets a launcher use shared subnets: %v", err)
	}

	// Systems Manager decrypts in the name of who reads.
	runner := withCI(t, map[string]string{"RepositoryToken": "/ci/token"}).Role(cloudtest.Runner)
	for parameter, may := range map[string]bool{"/ci/token": true, "/ci/other": false} {
		err := runner.May(iamtest.Request{Action: "kms:Decrypt", Resources: []iamtest.Resource{{ARN: "arn:aws:kms:eu-west-1:123456789012:key/1"}}, Context: map[string][]string{
			"kms:ViaService": {"ssm.eu-west-1.amazonaws.com"}, "kms:EncryptionContext:PARAMETER_ARN": {"arn:aws:ssm:eu-west-1:123456789012:parameter" + parameter},
		}})
		if (err == nil) != may {
			t.Errorf("the runner decrypts %s: %v", parameter, err)
		}
	}
}

func TestRolesTrust(t *testing.T) {
	t.Parallel()
	d := withCI(t, nil)
	const home, abroad = "123456789012", "999999999999"
	services := map[string]string{
		"InstanceRole": "ec2.amazonaws.com", "TestInstanceRole": "ec2.amazonaws.com", "BuilderInstanceRole": "ec2.amazonaws.com", "SchedulerRole": "scheduler.amazonaws.com", "LauncherSchedulerRole": "scheduler.amazonaws.com",
		"RunnerRole": "codebuild.amazonaws.com", "StepRole": "codebuild.amazonaws.com", "ApplyTriggerRole": "events.amazonaws.com", "LookRole": "lambda.amazonaws.com", "PipeRole": "pipes.amazonaws.com",
	}
	people := func(account string) iamtest.Principal {
		return iamtest.Principal{ARN: "arn:aws:iam::" + account + ":role/people", Account: account, Policies: iamtest.ParsePolicy(map[string]any{"Statement": []any{
			map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"},
		}})}
	}
	service := func(name, account string) iamtest.Principal {
		return iamtest.Principal{Service: name, Account: account}
	}
	for _, name := range d.Roles() {
		role, of := d.Role(name), services[name]
		for who, tt := range map[string]struct {
			iamtest.Principal
			want bool
		}{
			"people of the account": {people(home), of == ""}, "people of another": {people(abroad), false},
			"its service": {service(of, home), of != ""}, "another service": {service("sns.amazonaws.com", home), false},
			"its service for another account": {service(of, abroad), of == "ec2.amazonaws.com" || of == "lambda.amazonaws.com"}, // they give no role to what is another's
		} {
			if err := tt.MayBecome(role); (err == nil) != tt.want {
				t.Errorf("%s becomes %s: %v", who, name, err)
			}
		}
	}
	if err := d.Role(cloudtest.Runner).MayBecome(d.Role(cloudtest.Deployer)); err != nil {
		t.Errorf("the runner can't become a deployer: %v", err)
	}
	for _, name := range d.Roles() {
		if name != cloudtest.Runner && d.Role(name).MayBecome(d.Role(cloudtest.Deployer)) == nil {
			t.Errorf("%s can become a deployer", name)
		}
	}
}

// No role has a policy that AWS manages: that changes as AWS likes, and that for agents reads
// every parameter of the account.
func TestNoManagedPolicies(t *testing.T) {
	t.Parallel()
	d := withCI(t, nil)
	for _, name := range d.Roles() {
		for _, policy := range iamtest.Strings(d.Properties(name)["ManagedPolicyArns"]) {
			if strings.Contains(policy, ":aws:policy/") {
				t.Errorf("%s has %s", name, policy)
			}
		}
	}
}

// No policy allows all of a service, and what it allows on everything is to look, or
// has a condition.
func TestPoliciesAreNarrow(t *testing.T) {
	t.Parallel()
	d := withCI(t, map[string]string{"RepositoryToken": "/ci/token", "WebhookSecret": "/ci/secret", "ParameterPath": "/acme", "ImageKeys": "arn:aws:kms:eu-west-1:123456789012:key/1", "HostedZones": "arn:aws:route53:::hostedzone/Z0", "RecordNames": "*.shop.example.com", "Target": "yes", "TrustedBy": "arn:aws:iam::111111111111:role/penstock-DeployerRole"})
	for _, name := range d.Roles() {
		for _, s := range d.Role(name).Policies {
			if s.Effect != "Allow" {
				continue
			}
			for _, action := range s.Actions {
				_, verb, _ := strings.Cut(action, ":")
				looks := strings.HasPrefix(verb, "Describe") || strings.HasPrefix(verb, "Get") || action == "cloudwatch:ListTagsForResource" || action == "ssm:CancelCommand" || // which takes no resource
					s.Sid == "Agent" // as AWS's own policy for agents has it
				switch {
				case strings.Contains(action, "*"):
					t.Errorf("%s allows %s in %s", name, action, s.Sid)
				case !iamtest.Known(action):
					t.Errorf("%s allows %s in %s, which AWS does not have", name, action, s.Sid)
				case slices.Contains(s.Resources, "*") && len(s.Conditions) == 0 && !looks:
					t.Errorf("%s allows %s on everything in %s", name, action, s.Sid)
				}
			}
		}
	}
}

// The deployer role can be for some of the account alone, with an external ID, and for the
// tokens of a CI server with subjects of one's own. The runner may take it all the same.
func TestDeployersTrust(t *testing.T) {
	t.Parallel()
	const provider = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
	d := withCI(t, map[string]string{
		"Deployers": "arn:aws:iam::123456789012:role/ci,arn:aws:iam::999999999999:role/ci", "ExternalId": "shop-1", "OidcProvider": provider,
		"OidcSubjects": "repo:acme/pipeline:ref:refs/heads/main,repo:acme/pipeline:environment:*",
	})
	role := d.Role(cloudtest.Deployer)
	all := iamtest.ParsePolicy(map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}})
	become := func(account, name, external string) error {
		who := iamtest.Principal{ARN: "arn:aws:iam::" + account + ":role/" + name, Account: account, Policies: all}
		return who.May(iamtest.Request{Action: "sts:AssumeRole", Context: map[string][]string{"sts:ExternalId": {external}}, Resources: []iamtest.Resource{{ARN: role.ARN, Account: role.Account, Policy: role.Trust}}})
	}
	for _, tt := range []struct {
		account, name, external string
		may                     bool
	}{
		{"123456789012", "ci", "shop-1", true}, {"999999999999", "ci", "shop-1", true}, {"123456789012", "ci", "shop-2", false},
		{"123456789012", "people", "shop-1", false}, {"999999999999", "people", "shop-1", false}, {"123456789012", "penstock-RunnerRole-1", "", true},
		{"999999999999", "penstock-RunnerRole-1", "", false},
	} {
		if err := become(tt.account, tt.name, tt.external); (err == nil) != tt.may {
			t.Errorf("role/%s of %s with external ID %q becomes a deployer: %v", tt.name, tt.account, tt.external, err)
		}
	}
	for _, tt := range []struct {
		provider, audience, subject string
		may                         bool
	}{
		{provider, "sts.amazonaws.com", "repo:acme/pipeline:ref:refs/heads/main", true}, {provider, "sts.amazonaws.com", "repo:acme/pipeline:environment:production", true},
		{provider, "sts.amazonaws.com", "repo:acme/pipeline:ref:refs/heads/other", false}, {provider, "sts.amazonaws.com", "repo:evil/pipeline:ref:refs/heads/main", false},
		{provider, "other", "repo:acme/pipeline:ref:refs/heads/main", false}, {"arn:aws:iam::123456789012:oidc-provider/example.com", "sts.amazonaws.com", "repo:acme/pipeline:ref:refs/heads/main", false},
	} {
		who := iamtest.Principal{Federated: tt.provider, Account: "123456789012"}
		for _, name := range d.Roles() {
			may := tt.may && name == cloudtest.Deployer
			if err := who.MayBecomeBy(d.Role(name), tt.audience, tt.subject); (err == nil) != may {
				t.Errorf("%s for %s of %s becomes %s: %v", tt.subject, tt.audience, tt.provider, name, err)
			}
		}
	}
	if who := (iamtest.Principal{Federated: provider, Account: "123456789012"}); who.MayBecomeBy(withCI(t, nil).Role(cloudtest.Deployer), "sts.amazonaws.com", "repo:acme/pipeline:ref:refs/heads/main") == nil {
		t.Error("a token of a provider that nobody named makes a deployer")
	}
}

// generated is what CloudFormation calls a role: of the longest names, it cuts that of the stack
// until it and the logical ID fit with 12 or 13 characters of its own, as in
// eksctl-eksworkshop-eksctl-nodegro-NodeInstanceRole-14TKBWBD7KWFH.
func generated(stack, id string) string {
	end := "-" + id + "-14TKBWBD7KWFH"
	return stack[:min(len(stack), 64-len(end))] + end
}

// The runner takes the deployer role, whoever else may, in a stack with the longest name that a new one may have.
func TestRunnerOfLongName(t *testing.T) {
	t.Parallel()
	all := iamtest.ParsePolicy(map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}})
	for n, may := range map[int]bool{7: true, bootstrap.NewNameLength: true, bootstrap.NewNameLength + 1: false} {
		name := strings.Repeat("a", n)
		d := withCI(t, map[string]string{"AWS::StackName": name, "Deployers": "arn:aws:iam::123456789012:role/ci"})
		deployer := d.Role(cloudtest.Deployer)
		runner := iamtest.Principal{ARN: "arn:aws:iam::" + deployer.Account + ":role/" + generated(name, cloudtest.Runner), Account: deployer.Account, Policies: all}
		err := runner.May(iamtest.Request{Action: "sts:AssumeRole", Resources: []iamtest.Resource{{ARN: deployer.ARN, Account: deployer.Account, Policy: deployer.Trust}}})
		if (err == nil) != may {
			t.Errorf("of a name of %d characters: %v", n, err)
		}
	}
}
