// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// targetRole is the role of a target, by its name in the template.
const targetRole = "TargetRole"

// newTarget returns another account, in which home's deployers have environments, and what
// names it. Its requests are made by them, in its role. Images are encrypted with a key of
// home's.
func newTarget(home *bed, key string) (*bed, pipeline.Target) {
	home.Helper()
	return newTargetIn(home, key, cloudtest.Region)
}

// newTargetIn is newTarget in a region.
func newTargetIn(home *bed, key, region string) (*bed, pipeline.Target) {
	home.Helper()
	c := cloudtest.New(home.TB)
	c.Given(map[string]string{
		"Target": "yes", "Support": "no", "AWS::Region": region, "TrustedBy": home.cloud.Stack().Role(cloudtest.Deployer).ARN, "ExternalId": "agreed", "ImageKeys": key,
		"Readers": home.cloud.Stack().Role(cloudtest.Approver).ARN + "," + home.cloud.Stack().Role(cloudtest.Launcher).ARN,
	})
	at := pipeline.Target{Name: "eu", RoleARN: c.Stack().Role(targetRole).ARN, ReaderRoleARN: c.Stack().Role("TargetReaderRole").ARN, ExternalID: "agreed"}
	if region != cloudtest.Region {
		at.Region, at.KMSKey = region, key
	}
	home.cloud.Given(map[string]string{"TargetRoles": at.RoleARN, "ReaderRoles": at.ReaderRoleARN})
	from := &cloud.Cloud{Config: home.cloud.Config()}
	b := &bed{TB: home.TB, cloud: c, log: &syncBuffer{}, leases: &leases{newest: map[string]int64{}}, at: at}
	b.Platform = New(Options{Config: from.In(cloud.Elsewhere{Region: region, Role: cloud.Role{ARN: at.RoleARN, ExternalID: at.ExternalID}}).Config, Settings: awstest.SettingsIn(home.TB, c, region), Pause: 20 * time.Millisecond, Current: b.leases.current})
	b.region = b.in(region)
	return b, at
}

// sharedWith lets the environments of a target be launched from an image, and returns its ID
// there.
func (b *bed) sharedWith(image string, with *bed) string {
	b.Helper()
	ids, err := b.Publish(context.WithoutCancel(b.Context()), pipeline.PublishRequest{
		Image: image, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: b.log,
		Targets: []pipeline.Target{with.at},
	})
	b.must(err)
	return ids[cmp.Or(with.at.Region, cloudtest.Region)]
}

// TestPlatformElsewhere takes persistent environments in another region of another account, of
// images that are baked where the ledger is and copied there, through what every platform
// promises.
func TestPlatformElsewhere(t *testing.T) { conformsIn(t, elsewhere[0]) }

// TestPlatformInAccount does so in the ledger's region of another account, which is a part of the
// same: so it runs for `make soak` alone.
func TestPlatformInAccount(t *testing.T) {
	if os.Getenv("PENSTOCK_SOAK") == "" {
		t.Skip("TestPlatformElsewhere has it, too: `make soak` runs it")
	}
	conformsIn(t, cloudtest.Region)
}

func conformsIn(t *testing.T, region string) {
	t.Helper()
	lacks := platformtest.Lacks{
		"Variables": noSecrets, "Exec": noSecrets, "Data": noData, "DataFrom": noData, "Hooks": noData,
		"BakeTree": noDirectories, "BakeEnvironment": noDirectories, "BakeFails": noDirectories, "Images": noDirectories, "Channel": noDirectories,
		"FailedCommand": "nothing is installed on a lasting fleet; see TestPlatformSingle", "Cancel": "as FailedCommand",
		"Expire": "AWS forgets what has ended: the engine knows by the time that it did",
	}
	platformtest.Run(t, lacks, func(t *testing.T) platformtest.Subject {
		home := newBed(t)
		key := home.key("alias/penstock/images")
		theirs := key
		if region != cloudtest.Region {
			theirs = home.keyIn(region, "alias/penstock/images")
		}
		there, _ := newTargetIn(home, theirs, region)
		t.Cleanup(there.wantNothing)
		base := home.encrypted(key)
		at := home.sharedWith(base, there)
		return platformtest.Subject{
			Platform: &persistent{bed: there, maker: home, images: map[string]string{}, sources: map[string]string{at: base}, leases: map[string]*sync.Mutex{}, mu: &sync.Mutex{}}, Start: platformtest.Start(), Base: at,
		}
	})
}

// Approvers and launchers see what runs in another account as it is: healthy, with an instance
// that fails, and gone. They can change nothing of it, run nothing on it, and read no file of it.
func TestLookedAtElsewhere(t *testing.T) {
	t.Parallel()
	home := newBed(t)
	key := home.key("alias/penstock/images")
	there, at := newTarget(home, key)
	t.Cleanup(there.wantNothing)
	image := home.appOn(home.encrypted(key))
	home.sharedWith(image, there)
	there.must(there.deploy(there.persistent("f-1", image)))
	there.cloud.ResetCalls()
	for _, role := range []string{cloudtest.Approver, cloudtest.Launcher} {
		from := &cloud.Cloud{Config: home.cloud.As(role)}
		by := from.In(cloud.Elsewhere{Role: cloud.Role{ARN: at.ReaderRoleARN, ExternalID: at.ExternalID}})
		looks := New(Options{Config: by.Config, Settings: there.stack.Settings, Pause: 20 * time.Millisecond, Current: there.leases.current})
		reports, err := looks.Describe(t.Context(), "e-1", "e-none")
		there.must(err)
		if r := reports["e-1"]; r.Status != pipeline.EnvRunning || r.Healthy != 2 || r.Instances != 2 || r.Endpoint == "" || r.Serving != "f-1" || reports["e-none"].Status != pipeline.EnvGone {
			t.Errorf("as %s: %+v", role, reports)
		}
		for _, call := range there.cloud.Calls() {
			if call.Role != "TargetReaderRole" || !strings.HasPrefix(call.Action, "Describe") {
				t.Errorf("as %s, %s is asked to %s as %q", role, call.Service, call.Action, call.Role)
			}
		}
		there.cloud.ResetCalls()
		_, err = looks.Shift(t.Context(), "e-1", "f-1", pipeline.Traffic{})
		there.wantError(err, pipeline.CodeNotAllowed)
		there.wantError(looks.Destroy(t.Context(), "e-1"), pipeline.CodeNotAllowed)
		there.wantError(looks.Resize(t.Context(), "e-1", pipeline.Size{Instances: 1}), pipeline.CodeNotAllowed)
		there.wantError(looks.Discard(t.Context(), "e-1", "f-1"), pipeline.CodeNotAllowed)
		there.wantError(looks.Extend(t.Context(), "e-1", time.Now().Add(time.Hour)), pipeline.CodeNotAllowed)
		_, err = looks.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: "true"}, there.log)
		there.wantError(err, pipeline.CodeNotAllowed)
		_, err = looks.Prepare(t.Context(), there.persistent("f-2", image))
		there.wantError(err, pipeline.CodeNotAllowed)
		after, err := there.Describe(t.Context(), "e-1")
		there.must(err)
		if after["e-1"] != reports["e-1"] {
			t.Errorf("as %s, %+v became %+v", role, reports["e-1"], after["e-1"])
		}
		there.cloud.ResetCalls()
	}
	there.must(there.Destroy(t.Context(), "e-1"))
	own := New(Options{Config: home.cloud.As(cloudtest.Approver), Settings: home.stack.Settings, Pause: 20 * time.Millisecond, Current: home.leases.current})
	reports, err := own.Describe(t.Context(), "e-none")
	home.must(err)
	if reports["e-none"].Status != pipeline.EnvGone {
		t.Errorf("where the ledger is, an approver sees %+v", reports)
	}
}

// A single instance in another account, of an image of the ledger's, is installed, tested and
// ended there.
func TestSingleElsewhere(t *testing.T) {
	t.Parallel()
	home := newBed(t)
	key := home.key("alias/penstock/images")
	there, at := newTarget(home, key)
	t.Cleanup(there.wantNothing)
	image := home.encrypted(key)
	r := there.request("e-1", "f-1", image)
	r.Artifact, r.Service.Install = there.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	_, err := there.Prepare(t.Context(), r)
	there.wantError(err, pipeline.CodeNotFound, image, "this account may not use it")
	ids, err := home.Publish(t.Context(), pipeline.PublishRequest{Image: image, Targets: []pipeline.Target{at}, Log: home.log, Labels: r.Labels})
	home.must(err)
	if len(ids) != 1 || ids[cloudtest.Region] != image {
		t.Errorf("the target in the same region has %v", ids)
	}
	there.must(there.CheckLaunch(t.Context(), image, "", nil))
	f, err := there.Prepare(t.Context(), r)
	there.must(err)
	if got := there.get(f.Endpoint + "/file/version"); got != "the artifact" {
		t.Errorf("it serves %q", got)
	}
	there.must(there.Extend(t.Context(), "e-1", time.Now().Add(time.Hour)))
	there.must(there.Destroy(t.Context(), "e-1"))
	// The image is no longer needed there: nor may anybody there launch it.
	_, err = home.Publish(t.Context(), pipeline.PublishRequest{Image: image, Log: home.log, Labels: r.Labels})
	home.must(err)
	with, err := home.permissions(cloudtest.Region, image)
	home.must(err)
	if len(with) != 0 {
		t.Errorf("the image may be launched by %v", with)
	}
}

// KMS knows a new grant minutes later. Who needs it waits, and is told; single instances and
// groups alike.
func TestGrantIsNew(t *testing.T) {
	t.Parallel()
	home := newBed(t)
	key := home.key("alias/penstock/images")
	there, _ := newTarget(home, key)
	t.Cleanup(there.wantNothing)
	made := home.request("e-acceptance", "f-acceptance", home.encrypted(key))
	made.Artifact, made.Service.Install = home.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	_, err := home.Prepare(t.Context(), made)
	home.must(err)
	image, err := home.Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "acceptance", Environment: "e-acceptance", Log: home.log})
	home.must(err)
	home.must(home.Destroy(t.Context(), "e-acceptance"))
	for name, r := range map[string]pipeline.FleetRequest{"single": there.request("e-1", "f-1", image.ID), "group": there.persistent("f-2", image.ID)} {
		before := len(there.log.String())
		home.cloud.SetPace(cloudtest.Pace{Grant: 2 * time.Second})
		home.sharedWith(image.ID, there)
		home.cloud.SetPace(cloudtest.Pace{}) // that to Auto Scaling is known at once
		_, err = there.Prepare(t.Context(), r)
		there.must(err)
		if log := there.log.String()[before:]; !strings.Contains(log, "AWS KMS does not let account "+there.cloud.ID+" use the key "+key+" yet") {
			t.Errorf("%s: who waits is told: %s", name, log)
		}
		there.must(there.Destroy(t.Context(), "e-1"))
		_, err = home.Publish(t.Context(), pipeline.PublishRequest{Image: image.ID, Log: home.log, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}}) // withdraws the grant
		home.must(err)
	}
}

// A target in another region has a copy there, with the key that it asks for, that its account
// alone may launch. What can't be is refused before anything is copied.
func TestPublishToTargets(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	home, there := b.key("alias/penstock/images"), kms.NewFromConfig(b.inRegion("us-east-1"))
	made, err := there.CreateKey(t.Context(), &kms.CreateKeyInput{})
	b.must(err)
	_, err = there.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: made.KeyMetadata.KeyId})
	b.must(err)
	key := aws.ToString(made.KeyMetadata.Arn)
	role := func(account string) string { return "arn:aws:iam::" + account + ":role/penstock-TargetRole" }
	request := func(image string, targets ...pipeline.Target) pipeline.PublishRequest {
		return pipeline.PublishRequest{Image: image, Targets: targets, Log: b.log, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}}
	}
	us := pipeline.Target{Name: "us", RoleARN: role("222222222222"), Region: "us-east-1", KMSKey: key}

	closed := b.encrypted(home)
	_, err = b.managed().Publish(t.Context(), request(closed, pipeline.Target{Name: "eu", RoleARN: role("222222222222")}))
	b.wantError(err, pipeline.CodeInvalid, closed, "222222222222", "kms_key of the penstock_baked_image")
	bare := us
	bare.KMSKey = ""
	_, err = b.Publish(t.Context(), request(closed, bare))
	b.wantError(err, pipeline.CodeInvalid, "target us", "222222222222", "Set kms_key of the target", "us-east-1")
	other := request(closed, us)
	other.Publication = pipeline.Publication{Regions: []string{"us-east-1"}, KMSKeys: map[string]string{"us-east-1": "arn:aws:kms:us-east-1:1:key/other"}}
	_, err = b.Publish(t.Context(), other)
	b.wantError(err, pipeline.CodeInvalid, "target us", key, "key/other")
	b.cloud.ResetCalls()
	check := func(image, key string, targets ...pipeline.Target) error {
		return b.CheckTargets(t.Context(), pipeline.PublishRequest{Image: image, Targets: targets}, key)
	}
	eu := pipeline.Target{Name: "eu", RoleARN: role("222222222222")}
	b.wantError(check("", "", eu), pipeline.CodeInvalid, "target eu", "222222222222", "the account's default key for EBS", "kms_key")
	b.wantError(check("", "alias/aws/ebs", eu), pipeline.CodeInvalid, "target eu", "222222222222", "alias/aws/ebs, a key of AWS", "kms_key")
	b.must(check("", key, eu))
	b.must(check("", "", us)) // its copy has another key
	b.must(check("", "", pipeline.Target{Region: "us-east-1"}))
	ofAWS := us
	ofAWS.KMSKey = "arn:aws:kms:us-east-1:222222222222:alias/aws/ebs"
	b.wantError(check("", key, ofAWS), pipeline.CodeInvalid, "target us", "222222222222", ofAWS.KMSKey, "Set kms_key of the target")
	shared := pipeline.PublishRequest{Publication: pipeline.Publication{Accounts: []string{"333333333333"}}}
	b.wantError(b.CheckTargets(t.Context(), shared, ""), pipeline.CodeInvalid, "publish.share_with", "kms_key")
	if n := len(b.cloud.Calls()); n > 0 {
		t.Errorf("%d requests were made for images that are not there yet", n)
	}
	for range 3 {
		b.must(check(closed, "", eu))
	}
	if n := len(b.cloud.Calls()); n != 3 {
		t.Errorf("%d requests were made for one image: %v", n, b.cloud.Count())
	}
	b.must(check("ami-0123456789abcdef0", "", eu)) // which is not there
	b.wantError(b.managed().CheckTargets(t.Context(), pipeline.PublishRequest{Image: closed, Targets: []pipeline.Target{eu}}, key), pipeline.CodeInvalid, closed, "target eu", "222222222222", home, "kms_key")
	if n := b.cloud.Count()["CopyImage"]; n > 0 {
		t.Errorf("%d copies were begun in vain", n)
	}

	west := pipeline.Target{Name: "west", Region: "eu-west-2", RoleARN: role(b.cloud.ID)} // of the same account
	eu = pipeline.Target{Name: "eu", RoleARN: role("333333333333")}
	r := request(closed, us, west, eu)
	ids, err := b.Publish(t.Context(), r)
	b.must(err)
	if len(ids) != 3 || ids[cloudtest.Region] != closed {
		t.Fatalf("published as %v", ids)
	}
	for region, accounts := range map[string]string{cloudtest.Region: "333333333333", "us-east-1": "222222222222", "eu-west-2": ""} {
		with, err := b.permissions(region, ids[region])
		b.must(err)
		if len(with) > 1 || accounts != "" && !with[accounts] || accounts == "" && len(with) > 0 {
			t.Errorf("in %s it may be launched by %v, want %q", region, with, accounts)
		}
	}
	grants, err := there.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: aws.String(key)})
	b.must(err)
	if len(grants.Grants) != 1 || !strings.Contains(aws.ToString(grants.Grants[0].GranteePrincipal), "222222222222") {
		t.Errorf("the key in us-east-1 has the grants %+v", grants.Grants)
	}
	again, err := b.Publish(t.Context(), r)
	b.must(err)
	if len(again) != 3 || again["us-east-1"] != ids["us-east-1"] {
		t.Errorf("published again as %v", again)
	}
	b.must(b.RemoveImage(t.Context(), closed))
	if left := b.leftOf(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// managed returns the platform in an account whose keys are all AWS's own.
func (b *bed) managed() *Platform {
	cfg := b.cloud.Config()
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("managed", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			out, meta, err := next.HandleInitialize(ctx, in)
			if key, ok := out.Result.(*kms.DescribeKeyOutput); ok && err == nil {
				key.KeyMetadata.KeyManager = kmstypes.KeyManagerTypeAws
			}
			return out, meta, err
		}), middleware.After)
	})
	return New(Options{Config: cfg, Settings: b.stack.Settings, Pause: b.stack.Pause})
}

// inRegion is the owner's configuration in a region.
func (b *bed) inRegion(region string) aws.Config {
	cfg := b.cloud.Own()
	cfg.Region = region
	return cfg
}
