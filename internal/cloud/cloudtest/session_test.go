// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// trusting has roles that are assumed in each of the ways that there are.
const trusting = `
Parameters: {}
Conditions: {}
Outputs: {}
Resources:
  FirstRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {AWS: !Sub "arn:aws:iam::${AWS::AccountId}:root"}
            Action: "sts:AssumeRole"
            Condition: {StringEquals: {"sts:ExternalId": "agreed"}}
      Policies:
        - PolicyName: own
          PolicyDocument:
            Statement: [{Effect: Allow, Action: ["sts:AssumeRole", "sts:TagSession", "ec2:DescribeVpcs"], Resource: "*"}]
  SecondRole:
    Type: AWS::IAM::Role
    Properties:
      MaxSessionDuration: 43200
      AssumeRolePolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {AWS: !GetAtt FirstRole.Arn}
            Action: ["sts:AssumeRole", "sts:TagSession"]
      Policies:
        - PolicyName: own
          PolicyDocument:
            Statement:
              - Effect: Allow
                Action: "ec2:DescribeSubnets"
                Resource: "*"
                Condition: {StringEquals: {"aws:PrincipalTag/team": "shop"}}
  TokenRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {Federated: !Sub "arn:aws:iam::${AWS::AccountId}:oidc-provider/ci.example.com"}
            Action: "sts:AssumeRoleWithWebIdentity"
            Condition:
              StringEquals: {"ci.example.com:aud": "sts.amazonaws.com"}
              StringLike: {"ci.example.com:sub": "repo:acme/*"}
      Policies:
        - PolicyName: own
          PolicyDocument:
            Statement: [{Effect: Allow, Action: "ec2:DescribeVpcs", Resource: "*"}]
`

func session(cfg aws.Config, c *types.Credentials) aws.Config {
	cfg.Credentials = credentials.NewStaticCredentialsProvider(aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken))
	return cfg
}

func vpcs(t *testing.T, cfg aws.Config) error {
	_, err := ec2.NewFromConfig(cfg).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	return err
}

func subnets(t *testing.T, cfg aws.Config) error {
	_, err := ec2.NewFromConfig(cfg).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	return err
}

// What is asked for with the credentials of a session is judged under the role that was
// assumed, by whom it trusts, for as long as the session lasts.
func TestSessions(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	c.SetTemplate(trusting)
	first, second := c.Stack().Role("FirstRole").ARN, c.Stack().Role("SecondRole").ARN
	assume := func(cfg aws.Config, in sts.AssumeRoleInput) (aws.Config, error) {
		in.RoleSessionName = aws.String("tests")
		out, err := sts.NewFromConfig(cfg).AssumeRole(t.Context(), &in)
		if err != nil {
			return cfg, err
		}
		return session(cfg, out.Credentials), nil
	}
	for id, refused := range map[string]bool{"": true, "other": true, "agreed": false} {
		in := sts.AssumeRoleInput{RoleArn: &first}
		if id != "" {
			in.ExternalId = aws.String(id)
		}
		if _, err := assume(c.Own(), in); cloud.Is(err, "AccessDenied") != refused {
			t.Errorf("with the external ID %q: %v", id, err)
		}
	}
	if _, err := assume(c.Own(), sts.AssumeRoleInput{RoleArn: &second}); !cloud.Is(err, "AccessDenied") {
		t.Errorf("a role that trusts another one alone: %v", err)
	}
	one, err := assume(c.Own(), sts.AssumeRoleInput{RoleArn: &first, ExternalId: aws.String("agreed")})
	must(t, err)
	who, err := sts.NewFromConfig(one).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	must(t, err)
	if want := "arn:aws:sts::" + c.ID + ":assumed-role/penstock-FirstRole/tests"; aws.ToString(who.Arn) != want {
		t.Errorf("it is %s, want %s", aws.ToString(who.Arn), want)
	}
	if err := vpcs(t, one); err != nil {
		t.Error(err)
	}
	if err := subnets(t, one); !cloud.Is(err, "UnauthorizedOperation") {
		t.Errorf("what the role may not do: %v", err)
	}

	// A chain of roles, whose session has tags.
	team := []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}
	plain, err := assume(one, sts.AssumeRoleInput{RoleArn: &second})
	must(t, err)
	if err := subnets(t, plain); !cloud.Is(err, "UnauthorizedOperation") {
		t.Errorf("without the tag: %v", err)
	}
	tagged, err := assume(one, sts.AssumeRoleInput{RoleArn: &second, Tags: team})
	must(t, err)
	if err := subnets(t, tagged); err != nil {
		t.Errorf("with the tag: %v", err)
	}
	if err := vpcs(t, tagged); !cloud.Is(err, "UnauthorizedOperation") {
		t.Errorf("what the role before may do: %v", err)
	}
	if _, err := assume(c.Own(), sts.AssumeRoleInput{RoleArn: &first, ExternalId: aws.String("agreed"), Tags: team}); !cloud.Is(err, "AccessDenied") {
		t.Errorf("tags that the role's trust does not allow: %v", err)
	}
	if _, err := assume(one, sts.AssumeRoleInput{RoleArn: &second, DurationSeconds: aws.Int32(7200)}); !cloud.Is(err, "ValidationError") {
		t.Errorf("a chain of two hours: %v", err)
	}
	var last cloudtest.Call
	for _, call := range c.Calls() {
		if call.Action == "DescribeSubnets" {
			last = call
		}
	}
	if last.Role != "SecondRole" {
		t.Errorf("the call was judged as of %q", last.Role)
	}

	c.SetClock(2 * time.Hour)
	if err := vpcs(t, one); !cloud.Is(err, "ExpiredToken") {
		t.Errorf("after the session: %v", err)
	}
	if _, err := ssm.NewFromConfig(one).GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/a")}); !cloud.Is(err, "ExpiredTokenException") {
		t.Errorf("after the session, of another protocol: %v", err)
	}
	forged := one
	key, err := one.Credentials.Retrieve(t.Context())
	must(t, err)
	forged.Credentials = credentials.NewStaticCredentialsProvider(key.AccessKeyID, "secret", "made up")
	if err := vpcs(t, forged); !cloud.Is(err, "InvalidClientTokenId") {
		t.Errorf("with a token that is none: %v", err)
	}
}

// CI comes with a token of its identity provider, which the role's trust is about.
func TestWebIdentity(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	c.SetTemplate(trusting)
	anonymous := c.Own()
	anonymous.Credentials = aws.AnonymousCredentials{}
	for claims, refused := range map[string]bool{
		`{"iss": "https://ci.example.com", "sub": "repo:acme/shop", "aud": "sts.amazonaws.com"}`:   false,
		`{"iss": "https://ci.example.com", "sub": "repo:other/shop", "aud": "sts.amazonaws.com"}`:  true,
		`{"iss": "https://ci.example.com", "sub": "repo:acme/shop", "aud": "elsewhere"}`:           true,
		`{"iss": "https://evil.example.com", "sub": "repo:acme/shop", "aud": "sts.amazonaws.com"}`: true,
	} {
		token := "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
		out, err := sts.NewFromConfig(anonymous).AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: aws.String(c.Stack().Role("TokenRole").ARN), RoleSessionName: aws.String("ci-run"), WebIdentityToken: aws.String(token),
		})
		if cloud.Is(err, "AccessDenied") != refused || err != nil && !refused {
			t.Errorf("%s: %v", claims, err)
		}
		if err == nil {
			if err := vpcs(t, session(c.Own(), out.Credentials)); err != nil {
				t.Error(err)
			}
		}
	}
}

// The program's own way to AWS leads through the roles that the provider's block names.
func TestLoadAssumesRoles(t *testing.T) {
	c := cloudtest.New(t)
	c.SetTemplate(trusting)
	for _, v := range c.EnvironAs(cloudtest.Owner) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	first, second := c.Stack().Role("FirstRole").ARN, c.Stack().Role("SecondRole").ARN
	got, err := cloud.Load(t.Context(), cloud.Options{AssumeRoles: []cloud.Role{{ARN: first, ExternalID: "agreed"}, {ARN: second, SessionName: "deploys"}}})
	must(t, err)
	if !strings.HasSuffix(got.ARN, ":assumed-role/penstock-SecondRole/deploys") || got.Account != c.ID {
		t.Errorf("it is %s of %s", got.ARN, got.Account)
	}
	if err := vpcs(t, got.Config); !cloud.Is(err, "UnauthorizedOperation") {
		t.Errorf("what the first role may do: %v", err)
	}
	if _, err := cloud.Load(t.Context(), cloud.Options{AssumeRoles: []cloud.Role{{ARN: first}}}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without the external ID: %v", err)
	}
}
