// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

// With the roles of the template's version 2, of which nobody knew that AWS refuses them
// what they are for, a deployer bakes nothing and copies nothing: a command that stores its
// output in a bucket is judged on the bucket, too, and a copy on the image that it is of,
// whose tags are none of its condition keys. The test cloud finds that, as AWS would.
func TestRightsOfVersion2(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.base()
	b.cloud.SetTemplate(version2(t))
	b.stack.Settings.Builder.Profile = b.stack.Settings.Lasting.Profile // which is the only one there
	r := b.bakeRequest("r-1")
	r.Inputs = "k-2" // else it is the image that is there
	_, err := b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed, "ssm:SendCommand", "arn:aws:s3:::penstock-"+b.cloud.ID)
	_, err = b.Publish(t.Context(), pipeline.PublishRequest{
		Image: id, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: b.log, Publication: pipeline.Publication{Regions: []string{"us-east-1"}},
	})
	b.wantError(err, pipeline.CodeNotAllowed, "ec2:CopyImage", "arn:aws:ec2:"+cloudtest.Region+"::image/"+id)
}

// version2 returns the template as it was.
func version2(t *testing.T) string {
	t.Helper()
	template, err := os.ReadFile("../../bootstrap/testdata/template-2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(template)
}

// An account that an image is shared with uses the key of the other account: that one must
// grant it, and its own roles must be allowed to. Else EC2 launches an instance that ends
// at once, and says no more than that the client was wrong.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	owner, consumer := newBed(t), newBed(t)
	key := owner.key("alias/penstock/images")
	r := owner.bakeRequest("r-1")
	r.KMSKey = key
	baked, err := owner.Bake(t.Context(), r)
	owner.must(err)
	_, err = owner.Publish(t.Context(), pipeline.PublishRequest{
		Image: baked.ID, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: owner.log, Publication: pipeline.Publication{Accounts: []string{consumer.cloud.ID}},
	})
	owner.must(err)
	consumer.wantError(consumer.launch("before", baked.ID), pipeline.CodeFailed, "Client.InternalError", "image keys")
	consumer.cloud.Given(map[string]string{"ImageKeys": key})
	consumer.cloud.SetTemplate(version2(t)) // which knows no such parameter
	consumer.wantError(consumer.launch("then", baked.ID), pipeline.CodeFailed, "Client.InternalError")
	consumer.cloud.SetTemplate("")
	consumer.must(consumer.launch("after", baked.ID))
	owner.wantError(owner.RemoveImage(t.Context(), baked.ID), pipeline.CodeConflict, "account "+consumer.cloud.ID+" (instances: 1)")
	consumer.cloud.Terminate(consumer.cloud.Running()...)
	owner.must(owner.RemoveImage(t.Context(), baked.ID)) // the grant ends with the sharing
}

// Where an account encrypts with a key of its own by default, its roles must be told of it.
func TestDefaultKey(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	key := b.key("alias/acme/ebs")
	b.cloud.SetDefaultKey(key)
	b.wantError(b.launch("before", cloudtest.BaseImage), pipeline.CodeFailed, "Client.InternalError", "image keys")
	b.cloud.Given(map[string]string{"ImageKeys": key})
	b.must(b.launch("after", cloudtest.BaseImage))
}

// Auto Scaling launches as its own role, which may use no key but by a grant: of an image's
// key, of one of another account, which must let this one grant it, and of the account's
// default, with which EC2 encrypts what comes from another account.
func TestScalingWithKeys(t *testing.T) {
	t.Parallel()
	owner, consumer := newBed(t), newBed(t)
	key, own := owner.key("alias/penstock/images"), consumer.key("alias/acme/ebs")
	r := owner.bakeRequest("r-1")
	r.KMSKey = key
	baked, err := owner.Bake(t.Context(), r)
	owner.must(err)
	_, err = owner.Publish(t.Context(), pipeline.PublishRequest{
		Image: baked.ID, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: owner.log, Publication: pipeline.Publication{Accounts: []string{consumer.cloud.ID}},
	})
	owner.must(err)
	consumer.cloud.SetDefaultKey(own)
	consumer.Platform = New(Options{Config: consumer.cloud.Config(), Settings: consumer.stack.Settings, Pause: consumer.stack.Pause, Current: consumer.leases.current, Grants: time.Second})
	deploy := func(fleet string) error {
		fr := consumer.persistent(fleet, baked.ID)
		fr.Service.HealthCheck.StartTimeout = time.Second
		_, err := consumer.Prepare(t.Context(), fr)
		return err
	}
	consumer.wantError(deploy("f-1"), pipeline.CodeNotAllowed, "let Auto Scaling use the key "+key)
	consumer.cloud.Given(map[string]string{"ImageKeys": key})
	consumer.wantError(deploy("f-2"), pipeline.CodeNotAllowed, own)
	consumer.cloud.Given(map[string]string{"ImageKeys": key + "," + own})
	// What the image lacks is a service, of which a group says so: its instances run.
	consumer.wantError(deploy("f-3"), pipeline.CodeFailed, "healthy instances of penstock-f-3")
	out, err := consumer.groups.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("penstock-f-3")})
	if err != nil || len(out.Activities) != 0 {
		t.Errorf("launches failed: %v, %v", out.Activities, err)
	}
}

// key makes a KMS key with an alias, and returns its ARN.
func (b *bed) key(alias string) string {
	b.Helper()
	return b.keyIn(cloudtest.Region, alias)
}

// keyIn makes a key with an alias in a region.
func (b *bed) keyIn(region, alias string) string {
	b.Helper()
	client := kms.NewFromConfig(b.inRegion(region))
	made, err := client.CreateKey(b.Context(), &kms.CreateKeyInput{})
	b.must(err)
	_, err = client.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: made.KeyMetadata.KeyId})
	b.must(err)
	return aws.ToString(made.KeyMetadata.Arn)
}

// launch launches an instance, and waits until it runs.
func (b *bed) launch(token, image string) error {
	b.Helper()
	one, err := b.instances.Run(b.Context(), instance.Launch{Token: token, Image: image, Access: b.stack.Settings.Lasting, Tags: b.stack.TagsOf(pipeline.Labels{}, nil)})
	b.must(err)
	b.Cleanup(func() { b.cloud.Terminate(instance.ID(one)) })
	_, err = b.instances.AwaitState(b.Context(), instance.ID(one), types.InstanceStateNameRunning, time.Minute)
	return err
}
