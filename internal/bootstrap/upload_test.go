// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// buckets lists the buckets for templates that are in the account.
func buckets(t *testing.T, c *cloudtest.Cloud) (names []string) {
	t.Helper()
	out, err := s3.NewFromConfig(c.Own(), cloud.Objects).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	must(t, err)
	for _, b := range out.Buckets {
		if strings.Contains(*b.Name, "-template-") {
			names = append(names, *b.Name)
		}
	}
	return names
}

// TestLargeTemplate deploys a template that no request takes: it is read from a bucket, which
// is gone then.
func TestLargeTemplate(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	s := simulated(c, bootstrap.DefaultName)
	s.Grow()
	apply(t, s, bootstrap.Parameters{})
	if left := buckets(t, c); len(left) > 0 {
		t.Errorf("buckets are left: %v", left)
	}
	_, err := s.Find(t.Context())
	must(t, err)
}

// TestLargeTemplateFails refuses each request of the way to the bucket and back. The plan
// fails, and the next one removes what that one left.
func TestLargeTemplateFails(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	plan := func() error {
		s := bootstrap.NewWith(newFake(t, types.StackStatusUpdateComplete), bootstrap.UploaderOf(c.Own()), "penstock", 1)
		s.Grow()
		_, err := s.Plan(t.Context(), bootstrap.Parameters{})
		return err
	}
	for _, refused := range []cloudtest.Fault{
		{Action: "GetCallerIdentity", Nth: 1}, {Action: "PUT", Nth: 1}, {Action: "PUT", Nth: 2}, {Action: "DELETE", Nth: 1}, {Action: "DELETE", Nth: 2},
	} {
		refused.Code, refused.Status = "AccessDenied", 403
		c.Fail(refused)
		err := plan()
		c.Mend()
		if err == nil {
			t.Errorf("request %d of %s was refused, and the plan is made", refused.Nth, refused.Action)
		}
		must(t, plan())
		if left := buckets(t, c); len(left) > 0 {
			t.Errorf("after request %d of %s was refused, buckets are left: %v", refused.Nth, refused.Action, left)
		}
	}
}

func TestTemplateBucket(t *testing.T) {
	t.Parallel()
	if got := bootstrap.TemplateBucket("Penstock", "123456789012", "eu-west-1"); got != "penstock-template-123456789012-eu-west-1" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, stack := range []string{strings.Repeat("a", 127) + "b", strings.Repeat("a", 128), strings.Repeat("a-", 64)} {
		name := bootstrap.TemplateBucket(stack, "123456789012", "ap-southeast-2")
		if len(name) > 63 || seen[name] || strings.Contains(name, "--") {
			t.Errorf("bucket %s, of %d characters", name, len(name))
		}
		seen[name] = true
	}
}

// TestUploadIsRemoved asks for removal however the plan ends.
func TestUploadIsRemoved(t *testing.T) {
	t.Parallel()
	for _, fails := range []string{"", "CreateChangeSet", "DescribeChangeSet"} {
		f := newFake(t, types.StackStatusUpdateComplete)
		if fails != "" {
			f.errs[fails] = fault("AccessDenied")
		}
		s := f.stackOf()
		s.Grow()
		_, err := s.Plan(t.Context(), bootstrap.Parameters{})
		if (err == nil) != (fails == "") || !f.called("remove") {
			t.Errorf("%s fails: %v; removed: %t", fails, err, f.called("remove"))
		}
		if fails == "" && (f.made[0].TemplateBody != nil || f.made[0].TemplateURL == nil) {
			t.Error("the template is not read from the bucket")
		}
	}
}
