// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestMain(m *testing.M) {
	platformtest.Serve()
	os.Exit(cloudtest.Main(m))
}

func request(environment, fleet, image string) pipeline.FleetRequest {
	return pipeline.FleetRequest{
		Environment: environment, Fleet: fleet, Image: image, Instances: 1, Port: 8000,
		Service: pipeline.Service{Start: platformtest.Start(), HealthCheck: &pipeline.HealthCheck{Path: "/healthz", StartTimeout: time.Minute}},
		Env:     map[string]string{"VERSION": fleet}, DrainTimeout: time.Second,
	}
}

// Where no port is set, a load balancer stays where it is, or listens where its protocol
// usually does.
func TestFront(t *testing.T) {
	t.Parallel()
	there := balancer{dns: "lb", live: "arn", liveAt: front{port: 8000}}
	secure := balancer{dns: "lb", live: "arn", liveAt: front{port: 8443, certificate: "cert"}}
	for _, c := range []struct {
		lb          balancer
		port        int
		certificate string
		want        string
	}{
		{balancer{dns: "lb"}, 0, "", "http://lb"}, {balancer{dns: "lb"}, 0, "cert", "https://lb"}, {balancer{dns: "lb"}, 443, "", "http://lb:443"},
		{there, 0, "", "http://lb:8000"}, {there, 0, "cert", "https://lb"}, {there, 8001, "cert", "https://lb:8001"},
		{secure, 0, "other", "https://lb:8443"}, {secure, 0, "", "http://lb"}, {secure, 80, "cert", "https://lb:80"},
	} {
		if got := c.lb.endpoint(c.lb.next(c.port, c.certificate, nil)); got != c.want {
			t.Errorf("port %d and certificate %q lead from %+v to %s, want %s", c.port, c.certificate, c.lb.liveAt, got, c.want)
		}
	}
}

// Auto Scaling is granted the use of an image's key once for each key, however often it is
// asked for.
func TestGrantScaling(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	f := New(b.Stack, b.Instances)
	client := kms.NewFromConfig(b.Cloud.Own())
	key, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	b.Must(err)
	_, err = client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: key.KeyMetadata.KeyId})
	b.Must(err)
	one, err := b.Instances.Run(t.Context(), instance.Launch{
		Token: "r-1", Image: cloudtest.BaseImage, KMSKey: aws.ToString(key.KeyMetadata.Arn), Access: b.Stack.Settings.Test,
		Tags: b.Stack.TagsOf(pipeline.Labels{}, nil),
	})
	b.Must(err)
	t.Cleanup(func() { b.Cloud.Terminate(instance.ID(one)) })
	root, err := b.Instances.RootVolume(t.Context(), b.Image(instance.ID(one)))
	b.Must(err)
	for range 2 {
		b.Must(f.keys.grant(t.Context(), nil, root.Of, scalingRole))
	}
	out, err := client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyMetadata.KeyId})
	b.Must(err)
	const role = ":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
	if len(out.Grants) == 0 || !strings.HasSuffix(aws.ToString(out.Grants[0].GranteePrincipal), role) {
		t.Errorf("the grants are %+v", out.Grants)
	}
}

// A key of another account that allows nothing is waited for, and refused with the remedy.
func TestGrantByKeyOfAnother(t *testing.T) {
	t.Parallel()
	b, other := awstest.New(t), cloudtest.New(t)
	f := New(b.Stack, b.Instances)
	f.keys.limit = 200 * time.Millisecond
	key, err := kms.NewFromConfig(other.Own()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	b.Must(err)
	arn := aws.ToString(key.KeyMetadata.Arn)
	b.Cloud.SetDefaultKey(arn)
	root, err := b.Instances.RootVolume(t.Context(), cloudtest.BaseImage)
	b.Must(err)
	var log strings.Builder
	err = f.keys.grant(t.Context(), &log, root.Of, scalingRole)
	if pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(reason.Hint(err), arn) || !strings.Contains(log.String(), "for up to 200ms") || b.Cloud.Count()["DescribeKey"] < 2 {
		t.Errorf("%v (%s), after %d looks, with the log %q", err, reason.Hint(err), b.Cloud.Count()["DescribeKey"], &log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.keys.grant(ctx, nil, root.Of, scalingRole); pipeline.CodeOf(err) != pipeline.CodeCancelled {
		t.Errorf("cancelled: %v", err)
	}
	root.Of.Public, root.Of.OwnerId = aws.Bool(false), aws.String(other.ID)
	b.Must(f.keys.await(t.Context(), &log, root.Of)) // the launch says why
}

// The kind of an environment follows from what is asked for, and then from what there is.
func TestKind(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	f := New(b.Stack, b.Instances)
	one, persistent, two := request("e-1", "f-1", ""), request("e-1", "f-1", ""), request("e-1", "f-1", "")
	persistent.Persistent, two.Instances = true, 2
	for name, c := range map[string]struct {
		r    pipeline.FleetRequest
		want bool
	}{"one instance": {one, false}, "a lasting one": {persistent, true}, "two instances": {two, true}} {
		if _, got := f.For(c.r).(*group); got != c.want {
			t.Errorf("%s: a group: %v, want %v", name, got, c.want)
		}
	}
	env, err := f.Of(t.Context(), "e-1")
	b.Must(err)
	if _, ok := env.(*single); !ok {
		t.Errorf("without a load balancer it is a %T", env)
	}
	_, err = f.balancers.ensure(t.Context(), persistent)
	b.Must(err)
	env, err = f.Of(t.Context(), "e-1")
	b.Must(err)
	if _, ok := env.(*group); !ok {
		t.Errorf("with a load balancer it is a %T", env)
	}
	b.Must(f.Destroy(t.Context(), "e-1"))
	b.Must(f.Destroy(t.Context(), "e-1"))
}

// How soon it is known that the targets of a group are healthy.
func BenchmarkKnown(b *testing.B) {
	d := awstest.New(b)
	f := New(d.Stack, d.Instances)
	app := request("e-app", "f-app", cloudtest.BaseImage)
	app.Artifact = filepath.Join(b.TempDir(), "artifact")
	d.Must(os.WriteFile(app.Artifact, []byte("the artifact"), 0o600))
	_, err := f.For(app).Prepare(b.Context(), &app)
	d.Must(err)
	installed, err := f.Instances(b.Context(), "e-app")
	d.Must(err)
	r := request("e-1", "f-1", d.Image(instance.ID(installed[0])))
	d.Must(f.Destroy(b.Context(), "e-app"))
	r.Persistent, r.Instances, r.Service.HealthCheck.StartTimeout = true, 2, time.Hour
	_, err = f.For(r).Prepare(b.Context(), &r)
	d.Must(err)
	target, err := f.balancers.target(b.Context(), r.Fleet)
	d.Must(err)
	sick := func(is bool) {
		list, err := f.Instances(context.WithoutCancel(b.Context()), "e-1")
		d.Must(err)
		for _, i := range list {
			file := filepath.Join(d.Cloud.Root(instance.ID(i)), serviceDir, "sick")
			if is {
				d.Must(os.WriteFile(file, nil, 0o600))
			} else {
				d.Must(os.Remove(file))
			}
		}
	}
	awstest.Known(b, "targets", d, func(takes time.Duration) time.Time {
		sick(true)
		d.Cloud.ResetCalls()
		had := awstest.After(takes, func() { sick(false) })
		d.Must(f.group("e-1", nil).awaitTargets(b.Context(), r, rising{target: target, sizes: sizes{desired: r.Instances}}))
		return <-had
	})
	d.Must(f.Destroy(b.Context(), "e-1"))
}
