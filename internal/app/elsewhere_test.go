// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// updated brings the stack of an account up to date with parameters.
func updated(t testing.TB, c *cloudtest.Cloud, p bootstrap.Parameters) {
	t.Helper()
	p.Parts = []bootstrap.Part{bootstrap.PartSupport}
	changes, err := bootstrap.New(c.Own(), bootstrap.DefaultName).Plan(t.Context(), p)
	if err == nil {
		err = changes.Apply(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// as makes this process one of an account's deployers.
func as(t testing.TB, c *cloudtest.Cloud) {
	t.Helper()
	for _, variable := range c.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

// TestViewOfAnotherAccount reads the ledger of a stack in another account by its reader role:
// with few requests, all of them its own, none of which changes anything; and not without the
// external ID, nor when the role is taken away.
func TestViewOfAnotherAccount(t *testing.T) {
	theirs, ours := cloudtest.New(t), cloudtest.New(t)
	updated(t, ours, bootstrap.Parameters{})
	deployer := ours.Stack().Role("DeployerRole").ARN
	updated(t, theirs, bootstrap.Parameters{Readers: []string{deployer}, ReaderExternal: "acme-7"})
	reader := theirs.Stack().Role("ReaderRole").ARN
	updated(t, ours, bootstrap.Parameters{ReaderRoles: []string{reader}})

	as(t, theirs)
	where := app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName, AssumeRoles: []cloud.Role{{ARN: reader, ExternalID: "acme-7"}}}
	a, err := app.Open(t.Context(), app.Options{DataDir: t.TempDir(), AWS: &app.AWS{Region: cloudtest.Region, Stack: bootstrap.DefaultName}})
	if err != nil {
		t.Fatal(err)
	}
	commit := pipeline.Stage{Pipeline: "images", Type: pipeline.TypeCommit}.WithDefaults(nil, nil)
	tested := pipeline.Stage{Pipeline: "images", Name: "tested", Type: pipeline.TypeCustom, After: []string{"commit"}}.WithDefaults(nil, nil)
	append := func(facts ...pipeline.Facts) {
		t.Helper()
		var events []pipeline.Event
		for _, f := range facts {
			events = append(events, pipeline.Event{Kind: pipeline.RunEnded, Actor: "olga", Facts: f})
		}
		if _, err := a.Ledger().Append(t.Context(), pipeline.Batch{Pipeline: "images", Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	passes := func(stage, build string) pipeline.Facts {
		return pipeline.Facts{
			Run:     &pipeline.Run{ID: "r-" + stage + build[2:], Pipeline: "images", Stage: stage, Kind: pipeline.KindStage, Build: build, Status: pipeline.RunPassed, Digest: "d-1"},
			Current: &pipeline.Current{Stage: stage, Build: build},
		}
	}
	const build = "b-00000000a1"
	append(
		pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "images"}}, pipeline.Facts{Stage: &commit}, pipeline.Facts{Stage: &tested},
		pipeline.Facts{Build: &pipeline.Build{ID: build, Pipeline: "images", Stage: "commit", BaseImage: "ami-1"}}, passes("commit", build), passes("tested", build),
	)
	head, err := a.Ledger().Newest(t.Context(), "images")
	if err != nil {
		t.Fatal(err)
	}

	as(t, ours)
	theirs.ResetCalls()
	v, err := app.ViewStack(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // of three data sources
		p, err := v.Passed(t.Context(), "images", "tested")
		if err != nil || p.Build != build || p.Head != head || p.Ledger != a.Identity || p.Images[cloudtest.Region] != "ami-1" {
			t.Fatalf("it has passed %+v: %v", p, err)
		}
	}
	for _, call := range theirs.Calls() {
		if reads := strings.HasPrefix(call.Action, "Get") || call.Action == "Query" || call.Action == "DescribeStacks"; call.Role != "ReaderRole" || !reads {
			t.Errorf("%s is asked to %s as %q", call.Service, call.Action, call.Role)
		}
	}
	if n := len(theirs.Calls()); n > 12 {
		t.Errorf("it takes %d requests: %v", n, theirs.Count())
	}
	t.Logf("%d requests: %v", len(theirs.Calls()), theirs.Count())

	// Another process goes on from what this one has verified, unless that is lost or damaged.
	keep := t.TempDir()
	var takes [4]int // requests
	for n := range takes {
		if n == 3 {
			left, err := filepath.Glob(filepath.Join(keep, "*"))
			if err != nil || len(left) != 1 {
				t.Fatalf("kept is %v: %v", left, err)
			}
			if err := os.WriteFile(left[0], []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		theirs.ResetCalls()
		v, err := app.ViewStack(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		v.KeepIn(keep)
		if p, err := v.Passed(t.Context(), "images", "tested"); err != nil || p.Build != build || p.Head != head {
			t.Fatalf("it has passed %+v: %v", p, err)
		}
		takes[n] = len(theirs.Calls())
	}
	if takes[1] >= takes[0] || takes[2] != takes[1] || takes[3] != takes[0] || takes[1] > 12 {
		t.Errorf("they take %v requests", takes)
	}

	without := where
	without.AssumeRoles = []cloud.Role{{ARN: reader}}
	refused := func(doing string, err error, texts ...string) {
		t.Helper()
		if pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
			t.Fatalf("%s: %v", doing, err)
		}
		for _, text := range texts {
			if said := err.Error() + " " + reason.Hint(err); !strings.Contains(said, text) {
				t.Errorf("%s: %s does not say %q", doing, said, text)
			}
		}
	}
	_, err = app.ViewStack(t.Context(), without)
	refused("without the external ID", err, reader, "account "+theirs.ID, "external ID", "trust")
	// The simulator can't update a stack with other readers, as a role of targets, which is not made, has them, too.
	updated(t, theirs, bootstrap.Parameters{Readers: []string{deployer}, ReaderExternal: "acme-8"})
	_, err = app.ViewStack(t.Context(), where)
	refused("taken away", err, reader, "account "+theirs.ID, "must be there and trust")
	if err := a.Close(t.Context()); err != nil {
		t.Log(err) // it is another account's by now
	}
}
