// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// account is where the route is taken: on AWS, or on the test cloud.
type account struct {
	id, alias      string     // the alias may be empty
	caller         string     // the ARN of who asks
	own            aws.Config // of its owner
	region, second string     // images are published to the second
	stack          string     // of the program alone
	flags          []string   // of bootstrap
	instanceType   string
	architecture   string // of Go, for programs of instances
	image          string // the SSM parameter that names the AMI to begin with
	outside        bool   // instances are reached from outside of their network
	pause          string // of a shift of traffic
	load           string // duration of each load
	// extra is more of an environment with a load balancer.
	extra string
	edits [][2]string   // of examples/aws, beside those of every account
	look  time.Duration // between two looks at what there is
	// environ returns the variables by which programs work with a role of the stack.
	environ func(ctx context.Context, role string) ([]string, error)
	// pass lets at least a time pass.
	pass func(ctx context.Context, d time.Duration) error
}

// at returns the owner's configuration for a region.
func (a *account) at(region string) aws.Config {
	c := a.own.Copy()
	c.Region = region
	return c
}

// simulated returns an account of the test cloud.
func simulated(t *testing.T) *account {
	t.Helper()
	c := cloudtest.New(t)
	const image = "/penstock/team/base"
	_, err := ssm.NewFromConfig(c.Own()).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(image), Value: aws.String(cloudtest.BaseImage), Type: ssmtypes.ParameterTypeString})
	if err != nil {
		t.Fatal(err)
	}
	return &account{
		id: c.ID, own: c.Own(), region: cloudtest.Region, second: "us-east-1", stack: defaultStack,
		instanceType: "t3.small", architecture: runtime.GOARCH, image: image, pause: "1s", load: "1s", look: 500 * time.Millisecond, extra: `, drain_timeout = "1s"`,
		// What an image has is below a directory of the instance's.
		edits:   [][2]string{{`"exec ./shop --port`, `"exec env SHOP_CONFIG=\"$PENSTOCK_SYSROOT/etc/shop.json\" ./shop --port`}},
		environ: func(_ context.Context, role string) ([]string, error) { return c.EnvironAs(role), nil },
		pass: func(_ context.Context, d time.Duration) error {
			c.RunSchedules(time.Now().Add(d))
			return nil
		},
	}
}

// assumed returns the variables of somebody who has just assumed a role, for an hour. A
// role that was just made can't be assumed at once.
func (a *account) assumed(ctx context.Context, role string) ([]string, error) {
	env := []string{"AWS_REGION=" + a.region}
	if role == cloudtest.Owner {
		return env, nil
	}
	r, err := bootstrap.Find(ctx, cloudformation.NewFromConfig(a.own), a.stack)
	if err != nil {
		return nil, err
	}
	arn := map[string]string{cloudtest.Deployer: r.DeployerRole, cloudtest.Approver: r.ApproverRole, cloudtest.Launcher: r.LauncherRole}[role]
	if arn == "" {
		return nil, fmt.Errorf("stack %s has no %s", a.stack, role)
	}
	var got aws.Credentials
	schedule := poll.Schedule{First: 2 * time.Second, Max: 10 * time.Second, Factor: 1.5, Limit: 3 * time.Minute, What: "leave to assume " + arn}
	err = poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
		var err error
		got, err = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(a.own), arn, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.Duration = "acceptance", time.Hour
		}).Retrieve(ctx)
		if cloud.Is(err, "AccessDenied") {
			return poll.Probe{State: err.Error()}, nil
		}
		return poll.Probe{Done: err == nil}, err
	})
	if err != nil {
		return nil, err
	}
	return append(env, "AWS_ACCESS_KEY_ID="+got.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+got.SecretAccessKey, "AWS_SESSION_TOKEN="+got.SessionToken), nil
}

// credentials are the variables that say who somebody is to AWS.
var credentials = []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"}

// without returns variables without those that steer Terraform, Penstock or this test run
// and, for a role, without the credentials of the owner.
func without(environ []string, role string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(kv, "TF_") || strings.HasPrefix(kv, "PENSTOCK_") || role != cloudtest.Owner && slices.Contains(credentials, name)
	})
}

// address returns the address that AWS sees this machine at.
func address(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://checkip.amazonaws.com", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	return strings.TrimSpace(string(text)), err
}
