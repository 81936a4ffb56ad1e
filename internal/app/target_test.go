// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// elsewhere bootstraps another account for the pipelines of the first, and returns it as a
// target.
func elsewhere(t testing.TB, home *cloudtest.Cloud, stack string) (*cloudtest.Cloud, pipeline.Target) {
	t.Helper()
	return elsewhereIn(t, home, stack, cloudtest.Region)
}

// elsewhereIn is elsewhere in a region.
func elsewhereIn(t testing.TB, home *cloudtest.Cloud, stack, region string) (*cloudtest.Cloud, pipeline.Target) {
	t.Helper()
	c := cloudtest.New(t)
	cfg := c.Own()
	cfg.Region = region
	bootstrappedBy(t, cfg, stack, bootstrap.Parameters{
		Parts: []bootstrap.Part{bootstrap.PartTarget}, Trusted: []string{home.Stack().Role(cloudtest.Deployer).ARN}, ExternalID: "agreed",
		Readers: []string{home.Stack().Role(cloudtest.Approver).ARN},
	})
	return c, pipeline.Target{Name: "eu", RoleARN: c.Stack().Role("TargetRole").ARN, ReaderRoleARN: c.Stack().Role("TargetReaderRole").ARN, ExternalID: "agreed", Stack: stack}
}

// bootstrapped makes a stack in an account what parameters say.
func bootstrapped(t testing.TB, c *cloudtest.Cloud, stack string, p bootstrap.Parameters) {
	t.Helper()
	bootstrappedBy(t, c.Own(), stack, p)
}

func bootstrappedBy(t testing.TB, cfg aws.Config, stack string, p bootstrap.Parameters) {
	t.Helper()
	changes, err := bootstrap.New(cfg, stack).Plan(t.Context(), p)
	if err == nil {
		err = changes.Apply(t.Context(), nil)
	}
	if err != nil {
		t.Fatalf("%v (%s)", err, reason.Hint(err))
	}
}

// allow lets the deployers of an account take roles of targets.
func allow(t testing.TB, home *cloudtest.Cloud, roles ...string) {
	t.Helper()
	bootstrapped(t, home, bootstrap.DefaultName, bootstrap.Parameters{TargetRoles: roles})
}

func open(t *testing.T, o app.Options) *app.App {
	t.Helper()
	a, err := app.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return a
}

// A target is opened once, however many ask for it at the same time, and by one request to its
// account beside that for its role.
func TestTargetIsOpenedOnce(t *testing.T) {
	home, options := onAWS(t)
	there, target := elsewhere(t, home, "prod")
	allow(t, home, target.RoleARN)
	a := open(t, options)
	home.ResetCalls()
	there.ResetCalls()
	platforms := make([]pipeline.Platform, 20)
	var wg sync.WaitGroup
	for n := range platforms {
		wg.Go(func() {
			at := target
			if n%2 == 1 {
				at.KMSKey, at.Name = "arn:aws:kms:eu-west-1:1:key/1", "other" // the same place
			}
			p, err := a.Targets().Open(t.Context(), at)
			if err != nil {
				t.Error(err)
			}
			platforms[n] = p
		})
	}
	wg.Wait()
	for _, p := range platforms {
		if p != platforms[0] {
			t.Error("the target was opened more than once")
		}
	}
	if home.Count()["AssumeRole"] != 1 || len(there.Calls()) != 1 {
		t.Errorf("requests: %v, and in the target %v", home.Count(), there.Count())
	}
	reports, err := platforms[0].Describe(t.Context(), "e-none")
	if err != nil || reports["e-none"].Status == pipeline.EnvRunning {
		t.Errorf("got %+v, %v", reports, err)
	}
}

// Who only looks takes the reader role, and asks for no other: an approver can't open the target
// for anything else. A deployer who is none of its readers looks with the role that he deploys
// with, and tries the other one once. Who may take neither is told about the reader role.
func TestTargetIsLookedAt(t *testing.T) {
	home, options := onAWS(t)
	there, target := elsewhere(t, home, "prod")
	bootstrapped(t, home, bootstrap.DefaultName, bootstrap.Parameters{TargetRoles: []string{target.RoleARN}, ReaderRoles: []string{target.ReaderRoleARN}})
	look := func(as string) *app.App {
		t.Helper()
		for _, variable := range home.EnvironAs(as) {
			name, value, _ := strings.Cut(variable, "=")
			t.Setenv(name, value)
		}
		options.DataDir = t.TempDir()
		a := open(t, options)
		home.ResetCalls()
		there.ResetCalls()
		for range 3 {
			p, err := a.Targets().Look(t.Context(), target)
			if err != nil {
				t.Fatalf("as %s: %v (%s)", as, err, reason.Hint(err))
			}
			if reports, err := p.Describe(t.Context(), "e-none"); err != nil || reports["e-none"].Status != pipeline.EnvGone {
				t.Errorf("as %s: %+v, %v", as, reports, err)
			}
		}
		return a
	}
	by := func(as string, assumed int, role string) {
		t.Helper()
		if n := home.Count()["AssumeRole"]; n != assumed {
			t.Errorf("as %s, %d roles were asked for, want %d", as, n, assumed)
		}
		for _, call := range there.Calls() {
			if call.Role != role {
				t.Errorf("as %s, it is asked to %s as %q", as, call.Action, call.Role)
			}
		}
	}
	a := look(cloudtest.Approver)
	by(cloudtest.Approver, 1, "TargetReaderRole")
	if _, err := a.Targets().Open(t.Context(), target); pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Errorf("an approver opens the target: %v", err)
	}
	wrong := target
	wrong.ExternalID = "wrong"
	_, err := a.Targets().Look(t.Context(), wrong)
	if said := fmt.Sprint(err) + reason.Hint(err); pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(said, target.ReaderRoleARN) || !strings.Contains(said, "penstock bootstrap --reader-roles "+target.ReaderRoleARN) {
		t.Errorf("with another external ID: %s", said)
	}
	look(cloudtest.Deployer)
	by(cloudtest.Deployer, 2, "TargetRole")
}

// What is wrong with a target is said with the target, its role, account, region and the
// remedy. Once it is mended, the same process opens it.
func TestTargetIsRefused(t *testing.T) {
	home, options := onAWS(t)
	there, target := elsewhere(t, home, "prod")
	a := open(t, options)
	refused := func(at pipeline.Target, code pipeline.Code, says ...string) {
		t.Helper()
		_, err := a.Targets().Open(t.Context(), at)
		if pipeline.CodeOf(err) != code {
			t.Errorf("got %v with code %q, want %q", err, pipeline.CodeOf(err), code)
		}
		for _, text := range says {
			if err != nil && !strings.Contains(err.Error()+"\n"+reason.Hint(err), text) {
				t.Errorf("%q (%s) does not say %q", err, reason.Hint(err), text)
			}
		}
	}
	changed := func(change func(*pipeline.Target)) pipeline.Target {
		at := target
		change(&at)
		return at
	}
	place := []string{"target eu", there.ID}
	refused(target, pipeline.CodeFailed, append(place, target.RoleARN, "sts:AssumeRole", "penstock bootstrap --target-roles")...)
	allow(t, home, target.RoleARN, target.RoleARN+"x")
	refused(changed(func(t *pipeline.Target) { t.ExternalID = "wrong" }), pipeline.CodeFailed, append(place, target.RoleARN, "external ID", "penstock bootstrap target")...)
	refused(changed(func(t *pipeline.Target) { t.RoleARN += "x" }), pipeline.CodeFailed, append(place, target.RoleARN+"x", "AccessDenied")...)
	refused(changed(func(t *pipeline.Target) { t.RoleARN = "penstock-TargetRole" }), pipeline.CodeInvalid, "target eu", "penstock-TargetRole", "arn:aws:iam::")
	refused(changed(func(t *pipeline.Target) { t.Stack = "other" }), pipeline.CodeFailed, append(place, `stack "other"`, "not a role of that stack", cloudtest.Region, "penstock bootstrap target --region "+cloudtest.Region+" --stack other")...)
	there.Fail(cloudtest.Fault{Service: "cloudformation", Code: "ValidationError"}) // as AWS says of one that is not there
	refused(target, pipeline.CodeFailed, append(place, `no stack "prod"`, cloudtest.Region, "penstock bootstrap target --region "+cloudtest.Region+" --stack prod")...)
	bootstrapped(t, there, "prod", bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartSupport}}) // beside the target
	refused(target, pipeline.CodeInvalid, append(place, "prod", "a ledger of its own", "penstock bootstrap target")...)
}

// A region that is not enabled is refused, and opened by the same process once it is.
func TestTargetIsMended(t *testing.T) {
	home, options := onAWS(t)
	there, target := elsewhere(t, home, "prod")
	allow(t, home, target.RoleARN)
	a := open(t, options)
	there.Fail(cloudtest.Fault{Service: "cloudformation", Code: "InvalidClientTokenId", Status: 403})
	_, err := a.Targets().Open(t.Context(), target)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "not enabled") || !strings.Contains(err.Error(), there.ID) || !strings.Contains(reason.Hint(err), "Enable region "+cloudtest.Region) {
		t.Errorf("got %v (%s)", err, reason.Hint(err))
	}
	if _, err := a.Targets().Open(t.Context(), target); err != nil {
		t.Error(err)
	}
}

// STS makes credentials of a role where the account of the role has activated it: a target whose
// account knows its own region alone is opened by that region, and one whose account knows that
// of the ledger alone by that. Where neither is, the error says which to activate.
func TestTargetInRegionOfItsOwn(t *testing.T) {
	const own = "ap-east-1"
	home, options := onAWS(t)
	there, target := elsewhereIn(t, home, "prod", own)
	allow(t, home, target.RoleARN)
	target.Region = own
	a := open(t, options)
	assumed := func() (regions []string) {
		for _, call := range home.Calls() {
			if call.Action == "AssumeRole" {
				regions = append(regions, call.Region)
			}
		}
		home.ResetCalls()
		return regions
	}
	there.CloseRegion(cloudtest.Region)
	there.CloseRegion(own)
	_, err := a.Targets().Open(t.Context(), target)
	for _, text := range []string{"target eu", "account " + there.ID, cloudtest.Region + " or " + own, "activate AWS STS", "RegionDisabledException"} {
		if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error()+"\n"+reason.Hint(err), text) {
			t.Errorf("%v (%s) does not say %q", err, reason.Hint(err), text)
		}
	}
	if got := assumed(); !slices.Equal(got, []string{cloudtest.Region, own}) {
		t.Errorf("STS was asked in %v", got)
	}
	there.OpenRegion(cloudtest.Region)
	_, err = a.Targets().Open(t.Context(), target)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), "probably because it is not enabled there") {
		t.Errorf("the target's region is not enabled: %v", err)
	}
	there.OpenRegion(own)
	there.CloseRegion(cloudtest.Region)
	assumed()
	if _, err := a.Targets().Open(t.Context(), target); err != nil {
		t.Errorf("%v (%s)", err, reason.Hint(err))
	}
	if got := assumed(); !slices.Equal(got, []string{cloudtest.Region, own}) {
		t.Errorf("STS was asked in %v", got)
	}
}

// A target where the ledger is has the ledger's own platform, however it is written.
func TestTargetAtHome(t *testing.T) {
	_, options := onAWS(t)
	a := open(t, options)
	own, err := a.Targets().Open(t.Context(), pipeline.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []pipeline.Target{{Name: "eu"}, {Region: cloudtest.Region}, {Stack: bootstrap.DefaultName}} {
		if p, err := a.Targets().Open(t.Context(), at); err != nil || p != own {
			t.Errorf("%+v is another platform: %v", at, err)
		}
	}
}

// What a module's providers are given is the target's region and credentials, which the SDKs of
// AWS find by themselves, whatever this process has; and nobody else gets them.
func TestTargetLendsCredentials(t *testing.T) {
	home, options := onAWS(t)
	there, target := elsewhere(t, home, "prod")
	allow(t, home, target.RoleARN)
	a := open(t, options)
	set, err := a.TargetEnviron(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range set {
		t.Setenv(name, value)
		if value == "" {
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(who.Account) != there.ID || !strings.Contains(aws.ToString(who.Arn), "TargetRole") || cfg.Region != cloudtest.Region {
		t.Errorf("they are %+v, in %s: %v", who, cfg.Region, err)
	}
	got, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || time.Until(got.Expires) < cloud.SpareLife {
		t.Errorf("they end at %s: %v", got.Expires, err)
	}
	for _, token := range []string{"", "wrong"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, set["AWS_CONTAINER_CREDENTIALS_FULL_URI"], nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("with the token %q: %s", token, resp.Status)
		}
	}
	set, err = a.TargetEnviron(t.Context(), pipeline.Target{Stack: bootstrap.DefaultName}) // without a role
	if err != nil || len(set) != 2 || set["AWS_REGION"] != cloudtest.Region {
		t.Errorf("without a role: %v, %v", set, err)
	}
}
