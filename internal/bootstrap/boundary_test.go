// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// bounding makes a policy that allows all but one action, and returns its ARN.
func bounding(t *testing.T, c *cloudtest.Cloud, not string) string {
	t.Helper()
	out, err := iam.NewFromConfig(c.Own()).CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String("boundary"), Path: aws.String("/limits/"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"Withheld","Effect":"Deny","Action":"` + not + `","Resource":"*"}]}`),
	})
	must(t, err)
	return aws.ToString(out.Policy.Arn)
}

// Roles have their path, and so have instance profiles, from the start, and a boundary from
// when it is given. What a role may do with another follows.
func TestBoundaryAndPath(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, bootstrap.DefaultName)
	boundary := bounding(t, c, "ec2:StopInstances")
	roles := iam.NewFromConfig(c.Own())
	look := func(path, boundary string) {
		t.Helper()
		r, err := s.Find(t.Context())
		must(t, err)
		for _, name := range c.Stack().Roles() {
			arn := r.RoleARN(name)
			if arn == "" { // of no use to anybody but AWS
				continue
			}
			got, err := roles.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(arn[strings.LastIndex(arn, "/")+1:])})
			must(t, err)
			has := ""
			if b := got.Role.PermissionsBoundary; b != nil {
				has = aws.ToString(b.PermissionsBoundaryArn)
			}
			if aws.ToString(got.Role.Path) != path || has != boundary || aws.ToString(got.Role.Arn) != arn || c.Stack().Role(name).ARN != arn {
				t.Errorf("%s is %s, with the path %s and the boundary %q; the stack has %s", name, aws.ToString(got.Role.Arn), aws.ToString(got.Role.Path), has, arn)
			}
		}
		profile, err := roles.GetInstanceProfile(t.Context(), &iam.GetInstanceProfileInput{InstanceProfileName: aws.String(r.TestInstanceProfile)})
		must(t, err)
		if aws.ToString(profile.InstanceProfile.Path) != path || len(profile.InstanceProfile.Roles) != 1 || aws.ToString(profile.InstanceProfile.Roles[0].Arn) != r.TestInstanceRole {
			t.Errorf("the instance profile is %+v", profile.InstanceProfile)
		}
	}
	apply(t, s, bootstrap.Parameters{
		Parts: []bootstrap.Part{bootstrap.PartCI, bootstrap.PartTarget}, Trusted: []string{"arn:aws:iam::" + c.ID + ":root"}, Readers: []string{"arn:aws:iam::" + c.ID + ":root"},
		Repository: "https://example.com/acme/pipeline.git", RolePath: "/acme/penstock/",
	})
	look("/acme/penstock/", "")
	_, err := s.Plan(t.Context(), bootstrap.Parameters{RolePath: "/other/"})
	check(t, err, pipeline.CodeInvalid, "/acme/penstock/, which can't change", "--stack")
	apply(t, s, bootstrap.Parameters{Boundary: boundary, RolePath: "/acme/penstock/"})
	look("/acme/penstock/", boundary)
	apply(t, s, bootstrap.Parameters{Every: 10})
	look("/acme/penstock/", boundary)

	r, err := s.Find(t.Context())
	must(t, err)
	b := &rightsBed{TB: t, cloud: c, subnet: r.PublicSubnets[0], group: r.TestSecurityGroup}
	made, err := ec2.NewFromConfig(c.As(cloudtest.Launcher)).RunInstances(t.Context(), launching(b, stackTag)) // with a role that has the path
	must(t, err)
	stop := func(cfg aws.Config) error {
		_, err := ec2.NewFromConfig(cfg).StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{aws.ToString(made.Instances[0].InstanceId)}})
		return err
	}
	if err := c.Try(cloudtest.Deployer, stop); !refused(err) || !strings.Contains(err.Error(), "Withheld") {
		t.Errorf("a deployer stops instances, beyond the boundary: %v", err)
	}
	if err := c.Stack().Role(cloudtest.Runner).MayBecome(c.Stack().Role(cloudtest.Deployer)); err != nil {
		t.Errorf("the runner can't become a deployer: %v", err)
	}
}
