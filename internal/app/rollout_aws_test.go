// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// american is the region of the second wave.
const american = "us-east-1"

// organization is a pipeline whose production is in two other accounts, a wave for each, and
// the second one in another region. Two builds have passed all before it.
type organization struct {
	*testing.T
	home, eu, us *cloudtest.Cloud
	options      app.Options
	production   pipeline.Stage
	builds       map[string]string // by the version that they serve
}

// newOrganization makes one, with nothing in production.
func newOrganization(t *testing.T) *organization {
	t.Helper()
	home, options := onAWS(t)
	o := &organization{T: t, home: home, eu: cloudtest.New(t), us: cloudtest.New(t), options: options, builds: map[string]string{}}
	keys := map[string]string{cloudtest.Region: o.key(cloudtest.Region), american: o.key(american)}
	targets := []pipeline.StageTarget{{Target: pipeline.Target{Name: "eu"}, Wave: 1}, {Target: pipeline.Target{Name: "us", Region: american, KMSKey: keys[american]}, Wave: 2}}
	for i, there := range []*cloudtest.Cloud{o.eu, o.us} {
		region := []string{cloudtest.Region, american}[i]
		cfg := there.Own()
		cfg.Region = region
		changes, err := bootstrap.New(cfg, "shop").Plan(t.Context(), bootstrap.Parameters{
			Parts: []bootstrap.Part{bootstrap.PartTarget}, Trusted: []string{home.Stack().Role(cloudtest.Deployer).ARN}, ExternalID: "agreed", ImageKeys: []string{keys[region]},
		})
		o.must(err)
		o.must(changes.Apply(t.Context(), nil))
		targets[i].RoleARN, targets[i].ExternalID, targets[i].Stack = there.Stack().Role("TargetRole").ARN, "agreed", "shop"
	}
	allow(t, home, targets[0].RoleARN, targets[1].RoleARN)
	o.fill(targets, keys[cloudtest.Region])
	return o
}

// key makes a key of the ledger's account for images in a region.
func (o *organization) key(region string) string {
	o.Helper()
	cfg := o.home.Own()
	cfg.Region = region
	there := kms.NewFromConfig(cfg)
	made, err := there.CreateKey(o.Context(), &kms.CreateKeyInput{})
	o.must(err)
	_, err = there.CreateAlias(o.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/penstock/images"), TargetKeyId: made.KeyMetadata.KeyId})
	o.must(err)
	return aws.ToString(made.KeyMetadata.Arn)
}

// fill takes two builds to production, and no further.
func (o *organization) fill(targets []pipeline.StageTarget, key string) {
	o.Helper()
	self, err := os.Executable()
	o.must(err)
	repo := o.TempDir()
	git(o.T, repo, "init", "-q", "-b", "main")
	a := o.open()
	defer o.close(a)
	_, err = a.Engine.Pipelines.Create(o.Context(), pipeline.Pipeline{Name: "shop", Owner: a.Owner, Scale: pipeline.Scale{Instances: 1}, Service: pipeline.Service{
		Install: `tar -xzf "$PENSTOCK_ARTIFACT"`, Start: "exec " + self + " serve",
		HealthCheck: &pipeline.HealthCheck{Path: "/", Interval: 50 * time.Millisecond, StartTimeout: 2 * time.Minute},
	}})
	o.must(err)
	o.production = pipeline.Stage{
		Pipeline: "shop", Type: pipeline.TypeProduction, Owner: a.Owner, After: []string{"acceptance"}, Targets: targets,
		Env: &pipeline.EnvironmentSpec{DrainTimeout: time.Second},
	}.WithDefaults(nil, nil)
	var base pipeline.Image
	for _, version := range []string{"1", "2"} {
		commit(o.T, repo, version)
		snapshot, err := source.New(source.Options{Dir: o.TempDir()}).Snapshot(o.Context(), source.Query{Repository: repo, Ref: "main"})
		o.must(err)
		if base.ID == "" {
			base, err = a.Engine.Images.Bake(o.Context(), run.BakeRequest{Create: true, Definition: pipeline.ImageDefinition{
				Pipeline: "shop", Name: "base", From: pipeline.ImageFrom{AMI: cloudtest.BaseImage}, Source: snapshot.Source, KMSKey: key, Owner: a.Owner,
			}})
			o.must(err)
		}
		for _, s := range []pipeline.Stage{
			{Type: pipeline.TypeCommit, Source: &snapshot.Source, BaseImage: base.ID, Artifact: "dist.tar.gz", Steps: []pipeline.Step{{Name: "build", Command: "tar -czf dist.tar.gz version"}}},
			{Type: pipeline.TypeAcceptance, After: []string{"commit"}},
		} {
			s.Pipeline, s.Owner = "shop", a.Owner
			_, err := a.Engine.Stages.Advance(o.Context(), run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)})
			o.must(err)
		}
		at, err := a.Engine.Reports.StageView(o.Context(), "shop", "acceptance")
		o.must(err)
		o.builds[version] = at.Passed
	}
}

func (o *organization) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatalf("%v (%s)", err, reason.Hint(err))
	}
}

func (o *organization) open() *app.App {
	o.Helper()
	a, err := app.Open(o.Context(), o.options)
	o.must(err)
	return a
}

func (o *organization) close(a *app.App) {
	o.Helper()
	o.must(a.Close(context.WithoutCancel(o.Context())))
}

// deployment is what another process needs for a deployment.
type deployment struct {
	Options app.Options
	Stage   pipeline.Stage
}

// deploy does what the provider does when production is pinned to the build of a version.
func (d deployment) deploy(ctx context.Context) (err error) {
	a, err := app.Open(ctx, d.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(context.WithoutCancel(ctx))) }()
	_, err = a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: d.Stage})
	return err
}

func (o *organization) deployment(version string) deployment {
	d := deployment{o.options, o.production}
	d.Stage.Pin = o.builds[version]
	return d
}

func (o *organization) deploy(version string) error { return o.deployment(version).deploy(o.Context()) }

// deployArg makes the test program a process that deploys what its input says.
const deployArg = "deploy"

func deployMain() {
	var d deployment
	err := json.NewDecoder(os.Stdin).Decode(&d)
	if err == nil {
		err = d.deploy(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// killed deploys in another process, which is killed when an account gets, or has carried out,
// its kth request. It reports whether that came to be.
func (o *organization) killed(version string, at *cloudtest.Cloud, k int, after bool) bool {
	o.Helper()
	self, err := os.Executable()
	o.must(err)
	in, err := json.Marshal(o.deployment(version))
	o.must(err)
	cmd, out := exec.CommandContext(o.Context(), self, deployArg), &bytes.Buffer{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), out, out
	at.Fail(cloudtest.Fault{Nth: k, After: after, Do: func() { _ = cmd.Process.Kill() }})
	err = cmd.Run()
	o.mend()
	if err != nil && cmd.ProcessState.ExitCode() >= 0 {
		o.Fatalf("the deployment to be killed: %v\n%s", err, out)
	}
	return err != nil
}

func (o *organization) clouds() []*cloudtest.Cloud { return []*cloudtest.Cloud{o.home, o.eu, o.us} }

func (o *organization) mend() {
	for _, c := range o.clouds() {
		c.Mend()
	}
}

// requests counts those that an account gets while something is done.
func (o *organization) requests(do func() error) (counts []int) {
	o.Helper()
	for _, c := range o.clouds() {
		c.ResetCalls()
	}
	o.must(do())
	for _, c := range o.clouds() {
		counts = append(counts, len(c.Calls()))
	}
	return counts
}

// inventory counts what there is in each account and region.
func (o *organization) inventory() map[string]int {
	o.Helper()
	all := map[string]int{}
	for i, c := range o.clouds() {
		for _, region := range []string{cloudtest.Region, american} {
			cfg, ctx := c.Own(), context.WithoutCancel(o.Context())
			cfg.Region = region
			add := func(kind string, n int) {
				if n > 0 {
					all[[]string{"home", "eu", "us"}[i]+" "+region+" "+kind] = n
				}
			}
			machines, balancers := ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg)
			images, err := machines.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
			o.must(err)
			add("images", len(images.Images))
			templates, err := machines.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
			o.must(err)
			add("launch templates", len(templates.LaunchTemplates))
			groups, err := autoscaling.NewFromConfig(cfg).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
			o.must(err)
			add("groups", len(groups.AutoScalingGroups))
			targets, err := balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
			o.must(err)
			add("target groups", len(targets.TargetGroups))
			fronts, err := balancers.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
			o.must(err)
			add("load balancers", len(fronts.LoadBalancers))
			schedules, err := scheduler.NewFromConfig(cfg).ListSchedules(ctx, &scheduler.ListSchedulesInput{})
			o.must(err)
			add("schedules", len(schedules.Schedules))
		}
		if n := len(c.Running()); n > 0 {
			all[[]string{"home", "eu", "us"}[i]+" instances"] = n
		}
	}
	return all
}

// serve asserts what both targets serve, and that the ledger says so and holds.
func (o *organization) serve(when, version string) {
	o.Helper()
	a := o.open()
	defer o.close(a)
	v, err := a.Engine.Reports.StageView(o.Context(), "shop", "production")
	o.must(err)
	if v.Current.Build != o.builds[version] || len(v.Current.Targets) != 2 {
		o.Fatalf("%s: production is at %+v, want build %s", when, v.Current, o.builds[version])
	}
	for _, at := range v.Current.Targets {
		if at.Build != o.builds[version] || at.Environment == nil || at.Environment.Status != pipeline.EnvRunning {
			o.Fatalf("%s: target %s runs %q in %+v, want build %s", when, at.Name, at.Build, at.Environment, o.builds[version])
		}
		o.answers(fmt.Sprintf("%s: target %s", when, at.Name), at.Environment.Endpoint, version)
	}
	if _, err := a.Verify(o.Context(), ""); err != nil {
		o.Fatalf("%s: the ledger: %v", when, err)
	}
}

// answers asserts what an endpoint serves, once it does: on a busy machine, checks of targets
// take longer than the balancer waits for them.
func (o *organization) answers(what, endpoint, want string) {
	o.Helper()
	got := ""
	for range 100 {
		if got = get(o.T, endpoint); got == want {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	o.Fatalf("%s serves %q, want %s", what, got, want)
}

// holds asserts that there is what there is after a deployment without trouble.
func (o *organization) holds(when string, want map[string]int) {
	o.Helper()
	if have := o.inventory(); !reflect.DeepEqual(have, want) {
		o.Fatalf("%s: there are %v, want %v", when, have, want)
	}
}

// remove removes the pipeline, and asserts that nothing is left in any account.
func (o *organization) remove() {
	o.Helper()
	a := o.open()
	o.must(poll.Until(o.Context(), poll.Schedule{First: time.Second, Limit: 2 * time.Minute, What: "the removal"}, func(ctx context.Context) (poll.Probe, error) {
		err := a.Engine.Pipelines.Remove(ctx, "shop", "", true)
		if pipeline.CodeOf(err) == pipeline.CodeLocked { // the last strike was at the release of a lease, which runs out
			return poll.Probe{State: err.Error()}, nil
		}
		return poll.Probe{Done: err == nil}, err
	}))
	o.close(a)
	o.holds("after the removal", map[string]int{})
}

// strike is a way in which a deployment goes wrong at one of its requests.
type strike struct {
	name  string
	fault cloudtest.Fault
	kill  bool // the process ends
	// repeated is set where the SDK repeats the request, so that the deployment succeeds.
	repeated bool
}

var strikes = []strike{
	{name: "killed before", kill: true},
	{name: "throttled", fault: cloudtest.Fault{Code: "RequestLimitExceeded", Status: http.StatusServiceUnavailable}, repeated: true},
	{name: "killed after", fault: cloudtest.Fault{After: true}, kill: true},
	{name: "refused", fault: cloudtest.Fault{Code: "AccessDenied", Status: http.StatusForbidden}},
	{name: "timed out", fault: cloudtest.Fault{Code: "RequestTimeout", Status: http.StatusRequestTimeout, After: true}, repeated: true},
	{name: "reset before", repeated: true},
	{name: "reset after", fault: cloudtest.Fault{After: true}, repeated: true},
}

// struck deploys, and is struck at the kth request to an account.
func (o *organization) struck(s strike, version string, at *cloudtest.Cloud, k int) (hit bool, err error) {
	o.Helper()
	if s.kill {
		hit = o.killed(version, at, k, s.fault.After)
		if hit {
			err = errors.New("killed")
		}
		return hit, err
	}
	f, struck := s.fault, atomic.Bool{}
	f.Nth, f.Do = k, func() { struck.Store(true) }
	at.Fail(f)
	err = o.deploy(version)
	o.mend()
	return struck.Load(), err
}

// TestRolloutOnAWS takes builds to two accounts in two waves, and lets it go wrong: at some of all
// requests, and in the ways in which a region or a role is lost in the middle. PENSTOCK_SOAK sets
// at how many requests, and tries all ways. With PENSTOCK_SOAK_FROM it is struck at as many
// successive requests from that one on, counted from 0, so that several runs strike each of them.
func TestRolloutOnAWS(t *testing.T) {
	o, strikes, ways := newOrganization(t), 3, 1
	if testing.Short() {
		strikes, ways = 1, 0
	}
	if n, err := strconv.Atoi(os.Getenv("PENSTOCK_SOAK")); err == nil {
		strikes, ways = n, math.MaxInt
	}
	from, err := strconv.Atoi(os.Getenv("PENSTOCK_SOAK_FROM"))
	if err != nil {
		from = -1
	} else if from > 0 { // another run tries the ways
		ways = 0
	}
	o.copyFails()
	o.must(o.deploy("1"))
	o.serve("the first deployment", "1")
	requests := o.requests(func() error { return o.deploy("2") })
	o.serve("a deployment", "2")
	want := o.inventory()
	o.strikes(strikes, from, requests, want)
	if ways > 1 {
		o.slow(requests[2], want)
	}
	for _, n := range rand.Perm(len(losses))[:min(ways, len(losses))] {
		o.lost(losses[n], requests[2], want)
	}
	o.remove()
}

// copyFails has the copies of an image fail for the second wave: nothing begins, and the error says
// for which target, and why. Once it is over, the next deployment goes on.
func (o *organization) copyFails() {
	o.Helper()
	o.home.FailCopies(american, "no more space")
	o.refused(o.deploy("1"), "target us", "account "+o.us.ID, american, "no more space", "makes another copy", "target eu holds none")
	o.home.FailCopies(american, "")
	if n := len(o.eu.Running()) + len(o.us.Running()); n > 0 {
		o.Errorf("%d instances run though the image is not everywhere", n)
	}
}

// refused asserts what the error of a deployment says.
func (o *organization) refused(err error, texts ...string) {
	o.Helper()
	if err == nil {
		o.Fatal("the deployment did not fail")
	}
	for _, text := range texts {
		if said := err.Error() + " (" + reason.Hint(err) + ")"; !strings.Contains(said, text) {
			o.Errorf("it does not say %q: %s", text, said)
		}
	}
	if reason.Hint(err) == "" {
		o.Errorf("it does not say what to do: %v", err)
	}
}

// strikes deploys the two builds in turn, and is struck each time: at successive requests from
// one on, or else at requests that are distributed over all of them.
func (o *organization) strikes(n, from int, requests []int, want map[string]int) {
	o.Helper()
	versions, total := []string{"1", "2"}, requests[0]+requests[1]+requests[2]
	apart, way, hits, failures := 1, rand.IntN(len(strikes)), 0, 0
	if from < 0 {
		from, apart = rand.IntN(total), max(total/max(n, 1), 1)
	}
	for i := range n {
		at, account := from+i*apart, 0
		k := at % total
		for ; k >= requests[account]; account++ {
			k -= requests[account]
		}
		s, version := strikes[(way+at/apart)%len(strikes)], versions[i%2]
		when := fmt.Sprintf("%s, request %d of %d to %s", s.name, k+1, requests[account], []string{"home", "eu", "us"}[account])
		began := time.Now()
		hit, err := o.struck(s, version, o.clouds()[account], k+1)
		if hit {
			hits++
		}
		if s.repeated && err != nil {
			o.Fatalf("%s: %v (%s)", when, err, reason.Hint(err))
		}
		if err != nil {
			failures++
			if next := o.deploy(version); next != nil {
				o.Fatalf("%s: %v; the next deployment: %v (%s)", when, err, next, reason.Hint(next))
			}
		}
		o.serve(when, version)
		o.holds(when, want)
		o.Logf("%s: hit %t, %s; %v", when, hit, time.Since(began).Round(100*time.Millisecond), err)
	}
	o.Logf("of %d requests, %d were struck, and %d deployments failed or were killed", total, hits, failures)
}

// patience is what tests have with an answer, where a minute is usual.
const patience = 3 * time.Second

// slow deploys while the second wave's region takes longer to answer than is waited for, in the
// middle of its deployment and for some requests. Those are made again.
func (o *organization) slow(requests int, want map[string]int) {
	o.Helper()
	o.must(o.deploy("1"))
	d := o.deployment("2")
	d.Options.AWS = d.Options.AWS.Waiting(patience)
	o.us.Fail(cloudtest.Fault{Region: american, Nth: requests * 2 / 5, Times: 4, Slow: patience + time.Second})
	began := time.Now()
	err := d.deploy(o.Context())
	o.mend()
	o.must(err)
	if took := time.Since(began); took < patience {
		o.Errorf("the region was not slow: the deployment took %s", took)
	}
	o.serve("a slow region", "2")
	o.holds("a slow region", want)
}

// loss is a way in which the second wave's target is lost in the middle of its deployment.
type loss struct {
	name string
	at   func(o *organization, k int)
	says []string
	keep bool // what has moved keeps the new build
}

var losses = []loss{
	{name: "its region is down", at: func(o *organization, k int) {
		o.us.Fail(cloudtest.Fault{Region: american, Nth: k, Times: math.MaxInt})
	}},
	{name: "its region is disturbed", keep: true, at: func(o *organization, k int) {
		o.us.Fail(cloudtest.Fault{Region: american, Nth: k, Times: math.MaxInt, Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable})
	}, says: []string{"ServiceUnavailable"}},
	{name: "its role may do nothing any more", at: func(o *organization, k int) {
		o.us.Fail(cloudtest.Fault{Nth: k, Times: math.MaxInt, Code: "AccessDenied", Status: http.StatusForbidden})
	}, says: []string{"AccessDenied"}},
	{name: "its region does not answer", at: func(o *organization, k int) {
		o.us.Fail(cloudtest.Fault{Region: american, Nth: k, Times: math.MaxInt, Slow: patience + time.Second})
	}},
	{name: "its credentials have expired", keep: true, at: func(o *organization, k int) {
		o.us.Fail(cloudtest.Fault{Nth: k, Do: func() { o.us.SetClock(2 * time.Hour) }})
	}, says: []string{"xpired"}},
}

// lost deploys the other build, and loses a target. What has moved goes back or keeps the build,
// and once the loss is over the next deployment goes on.
func (o *organization) lost(l loss, requests int, want map[string]int) {
	o.Helper()
	from, to := "1", "2"
	o.must(o.deploy(from))
	endpoint := o.endpoint("eu")
	d := o.deployment(to)
	d.Options.AWS = d.Options.AWS.Trying(2).Waiting(patience)
	if l.keep {
		d.Stage.Rollout.OnFailure = pipeline.RolloutKeep
	}
	l.at(o, requests*2/5)
	err := d.deploy(o.Context())
	o.mend()
	o.us.SetClock(0)
	o.Logf("%s: %v (%s)", l.name, err, reason.Hint(err))
	o.refused(err, append(l.says, "target us", "account "+o.us.ID, american)...)
	if l.keep {
		o.answers(l.name+": target eu", endpoint, to)
	} else {
		o.serve(l.name, from)
	}
	o.must(o.deploy(to))
	o.serve("after: "+l.name, to)
	o.holds("after: "+l.name, want)
}

// endpoint returns where a target serves.
func (o *organization) endpoint(target string) string {
	o.Helper()
	a := o.open()
	defer o.close(a)
	v, err := a.Engine.Reports.StageView(o.Context(), "shop", "production")
	o.must(err)
	for _, at := range v.Current.Targets {
		if at.Name == target && at.Environment != nil {
			return at.Environment.Endpoint
		}
	}
	o.Fatalf("target %s is not in %+v", target, v.Current.Targets)
	return ""
}
