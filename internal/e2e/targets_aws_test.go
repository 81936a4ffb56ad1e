// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// One pipeline deploys to two other accounts, wave by wave: their stacks are made by the
// command, and the image gets there with its key. What production runs is in the one ledger,
// and a destroy leaves nothing in any account.
func TestTargetsOnAWS(t *testing.T) {
	c, eu, us := cloudtest.New(t), cloudtest.New(t), cloudtest.New(t)
	s := newSite(t, faultConfig())
	s.bootstrap(c)
	keys := kms.NewFromConfig(c.Own())
	key, err := keys.CreateKey(context.Background(), &kms.CreateKeyInput{})
	s.must(err)
	_, err = keys.CreateAlias(context.Background(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: key.KeyMetadata.KeyId})
	s.must(err)
	var places, roles []string
	for i, there := range []*cloudtest.Cloud{eu, us} {
		back := s.as(there, cloudtest.Owner)
		s.penstock("bootstrap", "target", "--region", cloudtest.Region, "--stack", "shop", "--trust", c.Stack().Role(cloudtest.Deployer).ARN,
			"--external-id", "agreed", "--image-keys", aws.ToString(key.KeyMetadata.Arn), "--yes")
		back()
		role := there.Stack().Role("TargetRole").ARN
		roles = append(roles, role)
		places = append(places, fmt.Sprintf(`{ name = %q, wave = %d, role_arn = %q, external_id = "agreed", stack = "shop" }`, []string{"eu", "us"}[i], i+1, role))
	}
	back := s.as(c, cloudtest.Owner)
	s.penstock("bootstrap", "--region", cloudtest.Region, "--target-roles", strings.Join(roles, ","), "--yes")
	back()
	config := strings.NewReplacer(
		`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
		`from     = { directory = "image/rootfs" }`, `from     = { ami = "`+cloudtest.BaseImage+`" }
  kms_key  = "`+aws.ToString(key.KeyMetadata.Arn)+`"`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  steps    = [{ name = "smoke", http = { path = "/" } }]
  environment = { instances = 1, drain_timeout = "1s" }
  targets  = [`+strings.Join(places, ", ")+`]
}
output "current" { value = jsonencode(penstock_stage.production.current_by_target) }
output "endpoints" { value = jsonencode(penstock_stage.production.endpoint_by_target) }`,
	).Replace(faultConfig())
	s.write(filepath.Join(s.dir, "main.tf"), config)
	for _, version := range []string{"1", "2"} {
		if version == "2" {
			s.commit(version)
		}
		s.apply()
		s.answers("version "+version, map[string]string{"eu": version, "us": version})
	}
	for name, there := range map[string]*cloudtest.Cloud{"eu": eu, "us": us} {
		if n := there.Count()["CreateAutoScalingGroup"]; n != 2 {
			t.Errorf("in %s, %d groups were made, want one for each build", name, n)
		}
	}
	s.destroy()
	for _, there := range []*cloudtest.Cloud{c, eu, us} {
		s.wantNothingOnAWS(there)
	}
}
