// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// The example of several accounts: one pipeline deploys to two others, wave by wave. Their
// stacks are made by the command, and the image gets there with its key. What production runs
// is in the one ledger, the channel leads to its image, and a destroy leaves nothing in any
// account.
func TestTargetsOnAWS(t *testing.T) {
	c, eu, us := cloudtest.New(t), cloudtest.New(t), cloudtest.New(t)
	example, err := os.ReadFile(filepath.Join(repository(t), "examples/multi-account/main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, string(example)+"\noutput \"by_target\" { value = jsonencode([penstock_stage.production.current_by_target, penstock_stage.production.endpoint_by_target, penstock_stage.production.published.image_id]) }\n")
	for name, text := range map[string]string{
		"build": "#!/bin/sh -e\ntar -czf dist.tar.gz version serve\n", "image/harden.sh": "#!/bin/sh -e\nmkdir -p etc; echo hard > etc/hardened\n",
		"serve": "#!/bin/sh\nexec " + self + " " + serviceArg + "\n",
	} {
		s.must(os.WriteFile(filepath.Join(s.repo, name), []byte(text), 0o755))
	}
	s.commit("1")
	s.bootstrap(c)
	keys := kms.NewFromConfig(c.Own())
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	s.must(err)
	_, err = keys.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: key.KeyMetadata.KeyId})
	s.must(err)
	var places, roles, readers []string
	for i, there := range []*cloudtest.Cloud{eu, us} {
		back := s.as(there, cloudtest.Owner)
		s.penstock("bootstrap", "target", "--region", cloudtest.Region, "--stack", "shop", "--trust", c.Stack().Role(cloudtest.Deployer).ARN, "--readers", c.Stack().Role(cloudtest.Approver).ARN,
			"--external-id", "agreed", "--image-keys", aws.ToString(key.KeyMetadata.Arn), "--yes")
		back()
		roles, readers = append(roles, there.Stack().Role("TargetRole").ARN), append(readers, there.Stack().Role("TargetReaderRole").ARN)
		places = append(places, fmt.Sprintf(`{ name = %q, wave = %d, role_arn = %q, reader_role_arn = %q }`, []string{"eu", "us"}[i], i+1, roles[i], readers[i]))
	}
	back := s.as(c, cloudtest.Owner)
	s.penstock("bootstrap", "--region", cloudtest.Region, "--target-roles", strings.Join(roles, ","), "--reader-roles", strings.Join(readers, ","), "--yes")
	back()
	s.write(filepath.Join(s.dir, "production.auto.tfvars"), fmt.Sprintf("region = %q\nrepository = \"../repo\"\nami = %q\nimage_key = %q\nexternal_id = \"agreed\"\nproduction = [%s]\n",
		cloudtest.Region, cloudtest.BaseImage, aws.ToString(key.KeyMetadata.Arn), strings.Join(places, ", ")))
	parameters := ssm.NewFromConfig(c.Own())
	var last string
	for _, version := range []string{"1", "2"} {
		if version == "2" {
			s.commit(version)
		}
		s.apply()
		var is []json.RawMessage
		var builds, endpoints map[string]string
		var image string
		s.must(json.Unmarshal([]byte(s.output("by_target")), &is))
		s.must(json.Unmarshal(is[0], &builds), json.Unmarshal(is[1], &endpoints), json.Unmarshal(is[2], &image))
		if s.answer(endpoints["eu"]) != version || s.answer(endpoints["us"]) != version || builds["eu"] != builds["us"] {
			t.Fatalf("version %s: %v at %v", version, builds, endpoints)
		}
		got, err := parameters.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/penstock/shop:" + builds["eu"])})
		s.must(err)
		if id := aws.ToString(got.Parameter.Value); id != image || id == last {
			t.Errorf("version %s: the channel leads to %s, want %s, and another than %s", version, id, image, last)
		}
		last = image
		if code, out := s.planned(); code != 0 {
			t.Errorf("version %s: the next plan is not empty:\n%s", version, out)
		}
	}
	for _, there := range []*cloudtest.Cloud{eu, us} {
		if n := there.Count()["CreateAutoScalingGroup"]; n != 2 {
			t.Errorf("in account %s, %d groups were made, want one for each build", there.ID, n)
		}
	}
	s.seenByApprover(c, eu, us)
	s.destroy()
	for _, there := range []*cloudtest.Cloud{c, eu, us} {
		s.wantNothingOnAWS(there)
	}
	if _, err := parameters.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/penstock/shop")}); err == nil {
		t.Error("after the destroy, the channel is there")
	}
}

// seenByApprover checks that an approver sees the environments of targets as they are, by their
// reader roles, and has called nothing else there.
func (s *site) seenByApprover(c *cloudtest.Cloud, targets ...*cloudtest.Cloud) {
	s.t.Helper()
	defer s.as(c, cloudtest.Approver)()
	for _, there := range targets {
		there.ResetCalls()
	}
	if said := s.penstock("status"); !strings.Contains(said, "production") || strings.Contains(said, "degraded") || strings.Contains(said, "targets run:") {
		s.t.Errorf("an approver sees that not all targets serve:\n%s", said) // it names the targets only then
	}
	for _, there := range targets {
		calls := there.Calls()
		for _, call := range calls {
			if call.Role != "TargetReaderRole" || !strings.HasPrefix(call.Action, "Describe") {
				s.t.Errorf("in account %s, %s is asked to %s as %q", there.ID, call.Service, call.Action, call.Role)
			}
		}
		if len(calls) == 0 {
			s.t.Errorf("in account %s, nothing was asked", there.ID)
		}
	}
}
