// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A launcher adds objects, and adds them again, but replaces none. A deployer replaces what
// was put under its key, and nobody takes a launcher's object for the deployer's.
func TestBlobs(t *testing.T) {
	t.Parallel()
	c, client, bucket := newBucket(t)
	deployer := NewBlobs(client, bucket)
	launcher := NewBlobs(s3.NewFromConfig(c.As(cloudtest.Launcher), func(o *s3.Options) { o.UsePathStyle = true }), bucket)
	holds := func(want string) {
		t.Helper()
		if got, err := launcher.Get(t.Context(), "shop/1/a"); err != nil || string(got) != want {
			t.Errorf("the object is %q, %v; want %q", got, err, want)
		}
	}
	check(t, launcher.Put(t.Context(), "shop/1/a", []byte("forged")))
	check(t, launcher.Put(t.Context(), "shop/1/a", []byte("forged")))
	check(t, deployer.Put(t.Context(), "shop/1/a", []byte("true")))
	holds("true")
	if err := launcher.Put(t.Context(), "shop/1/a", []byte("forged")); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher replaces an object: %v", err)
	}
	if err := launcher.Delete(t.Context(), "shop/1/a"); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher removes an object: %v", err)
	}
	holds("true")
	check(t, deployer.Delete(t.Context(), "shop/1/a"))
	if _, err := deployer.Get(t.Context(), "shop/1/a"); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("a removed object: %v", err)
	}
}

// The logs of runs and those of self-service environments are apart: launchers write the
// latter alone.
func TestLogsAreApart(t *testing.T) {
	t.Parallel()
	c, _, bucket := newBucket(t)
	of := func(role string) *S3Logs {
		return NewS3Logs(s3.NewFromConfig(c.As(role), func(o *s3.Options) { o.UsePathStyle = true }), bucket, t.TempDir(), hclog.NewNullLogger())
	}
	for _, tt := range []struct{ role, run, want string }{
		{cloudtest.Launcher, "e-1", "line\n"}, {cloudtest.Deployer, "e-1", "line\nline\n"}, {cloudtest.Deployer, "r-1", "line\n"}, {cloudtest.Launcher, "r-1", "line\n"},
	} {
		w, err := of(tt.role).Create(t.Context(), "shop", tt.run)
		check(t, err)
		_, err = w.Write([]byte("line\n"))
		check(t, err)
		check(t, w.Close())
		r, err := of(cloudtest.Approver).Open(t.Context(), "shop", tt.run)
		check(t, err)
		got, err := io.ReadAll(r)
		check(t, err)
		if string(got) != tt.want {
			t.Errorf("after %s wrote to the log of %s, it is %q, want %q", tt.role, tt.run, got, tt.want)
		}
	}
	if err := of(cloudtest.Launcher).Remove(t.Context(), "shop", "r-1"); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher removes the log of a run: %v", err)
	}
	check(t, of(cloudtest.Launcher).Remove(t.Context(), "shop", "e-1"))
}
