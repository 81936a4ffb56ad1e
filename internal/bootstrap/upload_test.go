// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
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
// fails, and one of a day later removes what that one left.
func TestLargeTemplateFails(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	plan := func(uploader bootstrap.Uploader) error {
		s := bootstrap.NewWith(newFake(t, types.StackStatusUpdateComplete), uploader, "penstock", 1)
		s.Grow()
		_, err := s.Plan(t.Context(), bootstrap.Parameters{})
		return err
	}
	for _, refused := range []cloudtest.Fault{
		{Action: "GetCallerIdentity", Nth: 1}, {Action: "PUT", Nth: 1}, {Action: "PUT", Nth: 2}, {Action: "DELETE", Nth: 1}, {Action: "GET", Nth: 1}, {Action: "DELETE", Nth: 2},
	} {
		refused.Code, refused.Status = "AccessDenied", 403
		c.Fail(refused)
		err := plan(bootstrap.UploaderOf(c.Own()))
		c.Mend()
		if err == nil {
			t.Errorf("request %d of %s was refused, and the plan is made", refused.Nth, refused.Action)
		}
		must(t, plan(bootstrap.LaterUploaderOf(c.Own())))
		if left := buckets(t, c); len(left) > 0 {
			t.Errorf("after request %d of %s was refused, buckets are left: %v", refused.Nth, refused.Action, left)
		}
	}
}

// TestUploadsAtOnce uploads two templates. Each is read as it was written, whichever is removed
// first, and the last removes the bucket. One that comes when the bucket is being removed makes
// it again.
func TestUploadsAtOnce(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	u := bootstrap.UploaderOf(c.Own())
	upload := func(text string) (read func() string, remove func(context.Context) error) {
		t.Helper()
		at, remove, err := u.Upload(t.Context(), "penstock", text)
		must(t, err)
		return func() string {
			t.Helper()
			out, err := s3.NewFromConfig(c.Own(), cloud.Objects).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(buckets(t, c)[0]), Key: aws.String(path.Base(at))})
			must(t, err)
			body, err := io.ReadAll(out.Body)
			must(t, err)
			return string(body)
		}, remove
	}
	one, removeOne := upload("one")
	two, removeTwo := upload("two")
	if one() != "one" || two() != "two" {
		t.Errorf("the templates are %q and %q", one(), two())
	}
	must(t, removeOne(t.Context()))
	if two() != "two" {
		t.Errorf("the second template is %q when the first is removed", two())
	}
	must(t, removeTwo(t.Context()))
	must(t, removeTwo(t.Context()))
	if left := buckets(t, c); len(left) > 0 {
		t.Errorf("buckets are left: %v", left)
	}
	for _, code := range []string{"NoSuchBucket", "OperationAborted"} {
		c.Fail(cloudtest.Fault{Action: "PUT", Nth: 2, Code: code, Status: 404})
		_, remove := upload("three")
		c.Mend()
		must(t, remove(t.Context()))
	}
	if left := buckets(t, c); len(left) > 0 {
		t.Errorf("buckets are left: %v", left)
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
