// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

const (
	planStages       = 9
	planImages       = 5
	planEnvironments = 200
)

// onAWS bootstraps an account of the test cloud.
func onAWS(t testing.TB) (*cloudtest.Cloud, app.Options) {
	t.Helper()
	c := cloudtest.New(t)
	for _, variable := range c.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	changes, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Plan(t.Context(), bootstrap.Parameters{})
	if err != nil {
		t.Fatal(err)
	}
	if err := changes.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return c, app.Options{DataDir: t.TempDir(), AWS: &app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName}}
}

// fill makes a pipeline of nine stages, five images and 200 self-service environments,
// with their bodies.
func fill(t testing.TB, c *cloudtest.Cloud, l pipeline.Ledger) {
	t.Helper()
	machines := ec2.NewFromConfig(c.Own())
	events := []pipeline.Event{{Kind: pipeline.PipelineDefined, Facts: pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Owner: "here"}}}}
	for n := range planStages {
		events = append(events, pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &pipeline.Stage{Pipeline: "shop", Name: fmt.Sprintf("stage-%d", n), Type: pipeline.TypeCustom}}})
	}
	tag := func(k, v string) types.Tag { return types.Tag{Key: aws.String(k), Value: aws.String(v)} }
	out, err := machines.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String(cloudtest.BaseImage), MinCount: aws.Int32(planEnvironments), MaxCount: aws.Int32(planEnvironments), InstanceType: types.InstanceTypeT3Small})
	if err != nil {
		t.Fatal(err)
	}
	for n := range planImages {
		image, err := machines.CreateImage(t.Context(), &ec2.CreateImageInput{
			InstanceId: out.Instances[0].InstanceId, Name: aws.String(fmt.Sprint("image ", n)),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{tag("penstock:stack", bootstrap.DefaultName)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		id, name := aws.ToString(image.ImageId), fmt.Sprintf("image-%d", n)
		definition := pipeline.ImageDefinition{Pipeline: "shop", Name: name, Image: id, From: pipeline.ImageFrom{AMI: cloudtest.BaseImage}, Base: cloudtest.BaseImage}
		events = append(events, pipeline.Event{Kind: pipeline.ImageBaked, Facts: pipeline.Facts{ImageDefinition: &definition, Image: &pipeline.Image{ID: id, Pipeline: "shop", Name: name, Key: definition.Key()}}})
	}
	for n, i := range out.Instances {
		env := pipeline.Environment{
			ID: fmt.Sprintf("e-%d", n), Pipeline: "shop", Name: fmt.Sprintf("person-%d", n), Purpose: pipeline.ForPerson, Status: pipeline.EnvRunning, ExpiresAt: time.Now().Add(time.Hour),
		}
		events = append(events, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env}})
		_, err := machines.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{aws.ToString(i.InstanceId)}, Tags: []types.Tag{
			tag("penstock:stack", bootstrap.DefaultName), tag("penstock:role", "instance"), tag("penstock:environment", env.ID), tag("penstock:fleet", "f-1"), tag("penstock:serving", "true"),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for len(events) > 0 {
		n := min(len(events), 20)
		if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: events[:n]}); err != nil {
			t.Fatal(err)
		}
		events = events[n:]
	}
}

// filled returns an account with such a pipeline, and what opens it.
func filled(t testing.TB) (*cloudtest.Cloud, app.Options) {
	t.Helper()
	c, options := onAWS(t)
	a, err := app.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, c, a.Ledger())
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, options
}

// plan does what the provider does for a plan of that pipeline: it reads each resource,
// ten at a time, and plans it.
func plan(t testing.TB, options app.Options) {
	t.Helper()
	a, err := app.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	e := a.Engine
	var work []func() error
	running := sync.Map{}
	for n := range planStages {
		work = append(work, func() error {
			_, err := e.Reports.StageView(t.Context(), "shop", fmt.Sprintf("stage-%d", n))
			return err
		})
	}
	for n := range planImages {
		work = append(work, func() error {
			st, err := e.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			definition, err := e.Images.Rebased(t.Context(), st, st.ImageDefinitions[fmt.Sprintf("image-%d", n)])
			if err != nil {
				return err
			}
			image, found := run.FindBaked(st, definition)
			exists, err := e.Images.Exists(t.Context(), image.ID)
			if err == nil && !(found && exists) {
				err = fmt.Errorf("image %d exists: %v, %v", n, found, exists)
			}
			return err
		})
	}
	for n := range planEnvironments {
		work = append(work, func() error {
			st, err := e.State(t.Context(), "shop")
			if err != nil {
				return err
			}
			if env, ok := st.PersonEnvironment(fmt.Sprintf("person-%d", n)); ok && env.Status == pipeline.EnvRunning {
				running.Store(n, true)
			}
			return nil
		})
	}
	for range 2 { // refresh and plan
		limit := make(chan bool, 10)
		var wg sync.WaitGroup
		for _, do := range work {
			limit <- true
			wg.Go(func() {
				defer func() { <-limit }()
				if err := do(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	n := 0
	running.Range(func(any, any) bool { n++; return true })
	if n != planEnvironments {
		t.Errorf("%d environments are seen running", n)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A plan of nine stages, five images and 200 self-service environments makes at most
// twelve requests in all.
func TestRequestsOfAPlan(t *testing.T) {
	c, options := filled(t)
	c.ResetCalls()
	plan(t, options)
	t.Logf("%d requests: %v", len(c.Calls()), c.Count())
	if len(c.Calls()) > 12 {
		t.Errorf("a plan makes %d requests: %v", len(c.Calls()), c.Count())
	}
}

// The requests of such a plan, and what it takes on the simulator.
func BenchmarkPlanRequests(b *testing.B) {
	c, options := filled(b)
	c.ResetCalls()
	plans := 0
	for b.Loop() {
		plan(b, options)
		plans++
	}
	b.ReportMetric(float64(len(c.Calls()))/float64(plans), "requests/op")
}
