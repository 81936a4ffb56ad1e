// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

// encrypted bakes an image that is encrypted with a key.
func (b *bed) encrypted(key string) string {
	b.Helper()
	r := b.bakeRequest("r-encrypted")
	r.KMSKey = key
	baked, err := b.Bake(b.Context(), r)
	b.must(err)
	return baked.ID
}

// With a key that is disabled, or is to be deleted, nothing is launched in vain where Penstock
// knows the key, and what EC2 ends says which key it was. Each error says how to get it back.
func TestKeyStates(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	key, there := b.key("alias/penstock/images"), kms.NewFromConfig(b.cloud.Own())
	image := b.encrypted(key)
	b.must(b.launch("enabled", image))
	for _, state := range []struct {
		set, back func() error
		says      string
		remedy    string
	}{
		{func() error {
			_, err := there.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String(key)})
			return err
		}, func() error {
			_, err := there.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: aws.String(key)})
			return err
		}, "the KMS key " + key + " is disabled", "aws kms enable-key --region " + cloudtest.Region + " --key-id " + key},
		{func() error {
			_, err := there.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: aws.String(key)})
			return err
		}, func() error {
			if _, err := there.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: aws.String(key)}); err != nil {
				return err
			}
			_, err := there.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: aws.String(key)})
			return err
		}, "the KMS key " + key + " is to be deleted", "aws kms cancel-key-deletion"},
	} {
		b.must(state.set())
		b.cloud.ResetCalls()
		token := strings.Fields(state.remedy)[2]
		b.wantError(b.launch(token, image), pipeline.CodeFailed, "Client.InvalidKMSKey.InvalidState", state.says, state.remedy)
		r := b.bakeRequest("r-" + token)
		r.Inputs = token // those of the image before would be of that
		r.KMSKey = key
		_, err := b.Bake(t.Context(), r)
		b.wantError(err, pipeline.CodeFailed, state.says, state.remedy)
		_, err = b.Prepare(t.Context(), b.persistent("f-"+token, image))
		b.wantError(err, pipeline.CodeFailed, "let Auto Scaling use", state.says, state.remedy)
		b.must(b.Destroy(t.Context(), "e-1"))
		if n := b.cloud.Count(); n["RunInstances"] != 1 || n["CreateAutoScalingGroup"] > 0 {
			t.Errorf("%s: in vain it launched %v", token, n)
		}
		b.must(state.back())
	}
	b.must(b.launch("again", image))
}

// A copy for another region is not begun with a key that is not enabled there.
func TestKeyStateOfCopy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	own := b.cloud.Own()
	own.Region = "us-east-1"
	there := kms.NewFromConfig(own)
	made, err := there.CreateKey(t.Context(), &kms.CreateKeyInput{})
	b.must(err)
	_, err = there.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: made.KeyMetadata.KeyId})
	b.must(err)
	_, err = there.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: made.KeyMetadata.KeyId})
	b.must(err)
	_, err = b.Publish(t.Context(), pipeline.PublishRequest{
		Image: b.base(), Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: b.log,
		Publication: pipeline.Publication{Regions: []string{"us-east-1"}, KMSKeys: map[string]string{"us-east-1": aws.ToString(made.KeyMetadata.Arn)}},
	})
	b.wantError(err, pipeline.CodeFailed, aws.ToString(made.KeyMetadata.Arn)+" is disabled", "--region us-east-1")
	if n := b.cloud.Count()["CopyImage"]; n > 0 {
		t.Errorf("%d copies were begun", n)
	}
}

// KMS itself refuses what needs an enabled key, and says so.
func TestKeyStatesOfKMS(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	key, there := b.key("alias/penstock/images"), kms.NewFromConfig(b.cloud.Own())
	grant := func() error {
		_, err := kms.NewFromConfig(b.cloud.Own()).CreateGrant(t.Context(), &kms.CreateGrantInput{
			KeyId: aws.String(key), GranteePrincipal: aws.String("arn:aws:iam::" + b.cloud.ID + ":root"), Operations: instance.KeyOperations,
		})
		return err
	}
	b.must(grant())
	_, err := there.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String(key)})
	b.must(err)
	err = grant()
	if cloud.Code(err) != "DisabledException" {
		t.Errorf("of a disabled key: %v", err)
	}
	b.wantError(cloud.Fault(t.Context(), "share", err), pipeline.CodeFailed, key, "enable-key")
	_, err = there.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: aws.String(key)})
	b.must(err)
	if err = grant(); cloud.Code(err) != "KMSInvalidStateException" {
		t.Errorf("of a key that is to be deleted: %v", err)
	}
}

// EC2 Spot launches as its own role, which may use no key but by a grant. It gets that for
// single instances and for groups, and only where spot instances are asked for.
func TestSpotWithKeys(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	key := b.key("alias/penstock/images")
	image := b.encrypted(key)
	spot := instance.Launch{Token: "spot", Image: image, Spot: true, Access: b.stack.Settings.Test, Tags: b.stack.TagsOf(pipeline.Labels{}, nil)}
	one, err := b.instances.Run(t.Context(), spot)
	b.must(err)
	_, err = b.instances.AwaitState(t.Context(), instance.ID(one), "running", instance.StartLimit)
	b.wantError(err, pipeline.CodeFailed, "Client.InternalError", key) // without the grant
	grants := func() (to []string) {
		t.Helper()
		out, err := kms.NewFromConfig(b.cloud.Own()).ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: aws.String(key)})
		b.must(err)
		for _, g := range out.Grants {
			_, role, _ := strings.Cut(aws.ToString(g.GranteePrincipal), ":role/aws-service-role/")
			to = append(to, role)
		}
		return to
	}
	r := b.request("e-1", "f-1", image)
	r.Artifact, r.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	if got := grants(); len(got) != 0 {
		t.Errorf("an instance on demand made the grants %v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	r.Fleet, r.Machine.Spot = "f-2", true
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	if got := grants(); len(got) != 1 || got[0] != "spot.amazonaws.com/AWSServiceRoleForEC2Spot" {
		t.Errorf("a spot instance made the grants %v", got)
	}
	app, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "acceptance", Environment: "e-1", Log: b.log})
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-1"))
	// A launcher may make the grant as well.
	launcher := New(Options{Config: b.cloud.As(cloudtest.Launcher), Settings: b.stack.Settings, Pause: b.stack.Pause, Current: b.leases.current})
	own := b.request("s-2", "s-4", app.ID)
	own.Labels, own.Machine.Spot, own.ExpiresAt = pipeline.Labels{Pipeline: "shop"}, true, time.Now().Add(time.Hour)
	_, err = launcher.Prepare(t.Context(), own)
	b.must(err)
	b.must(b.Destroy(t.Context(), "s-2"))
	group := b.persistent("f-3", app.ID)
	group.Machine.Spot = true
	b.must(b.deploy(group))
	if got := grants(); len(got) != 2 {
		t.Errorf("a group of spot instances made the grants %v", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
}
